"""Servers that answer as Triton does to the questions that need no model, and strangers."""

import concurrent.futures
import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2, service_pb2_grpc


@dataclass
class Server:
    """Where it listens, the models that it says are ready, and what it was asked."""

    protocol: str
    port: int = 0
    models: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    metadata: object = field(default_factory=lambda: {"name": "triton", "extensions": []})


@contextlib.contextmanager
def web_server(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[int]:
    """Serve GET requests on a port of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet

        def do_GET(self):
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@contextlib.contextmanager
def http_triton() -> Iterator[Server]:
    triton = Server("http")

    def answer(path: str) -> tuple[int, bytes]:
        triton.asked.append(path)
        if path == "/v2":
            return 200, json.dumps(triton.metadata).encode()
        if path == "/v2/models/stats":
            return 200, json.dumps({"model_stats": [{"name": name, "version": "1"} for name in triton.models]}).encode()
        name = path.removeprefix("/v2/models/").removesuffix("/ready")
        return (200 if name in triton.models else 400), b""

    with web_server(answer) as triton.port:
        yield triton


@contextlib.contextmanager
def grpc_triton() -> Iterator[Server]:
    triton = Server("grpc")

    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
        def ModelReady(self, request, _context):  # noqa: N802 - gRPC's name
            return service_pb2.ModelReadyResponse(ready=request.name in triton.models)

        def ModelStatistics(self, _request, _context):  # noqa: N802 - gRPC's name
            return service_pb2.ModelStatisticsResponse(model_stats=[{"name": name, "version": "1"} for name in triton.models])

    with concurrent.futures.ThreadPoolExecutor(2) as workers:
        server = grpc.server(workers)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
        triton.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield triton
        finally:
            server.stop(None).wait()
