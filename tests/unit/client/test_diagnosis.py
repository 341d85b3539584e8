"""What is said when nobody, a stranger, or the right server at the wrong door answers."""

import http.server
import socket
import ssl
import subprocess
import threading

import pytest

from services.client.connect import connect
from services.client.protocol import AbsentError, NotTritonError, UnreachableError
from services.core import hints
from services.core.errors import ServerError
from tests.unit.client.servers import grpc_triton, http_triton, web_server


def error_of(settings, timeout=5.0, **urls):
    with connect(settings.model_copy(update=urls), timeout) as transport, pytest.raises(ServerError) as caught:
        transport.is_ready("tiny")
    return caught.value


@pytest.fixture(autouse=True)
def _look_briefly(monkeypatch):
    """The servers here are on this machine."""
    monkeypatch.setattr("services.client.diagnosis.LOOK_SECONDS", 0.3)


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # bound and not listening: connections are refused, and nobody else gets it


@pytest.fixture
def tls_port(tmp_path):
    """A web server with a certificate that nobody trusts, which hangs up on plain text without a word."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            certificate,
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
        ],
        check=True,
        capture_output=True,
    )

    class Silent(http.server.ThreadingHTTPServer):
        def handle_error(self, *_arguments):
            pass

    with Silent(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_nobody_listens(protocol, closed_port, settings_for, monkeypatch):
    monkeypatch.setenv("LAUNCHER", "local")
    error = error_of(settings_for(protocol, closed_port))
    assert isinstance(error, AbsentError)
    assert str(error) == f"no Triton server answers at {protocol}://127.0.0.1:{closed_port}: connection refused"
    assert error.hint.startswith("start the server with `scripts/up`, or correct TRITON_")
    assert "docker" not in error.hint


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_loopback_in_a_container_is_the_container_itself(protocol, closed_port, settings_for, monkeypatch):
    monkeypatch.setattr(hints, "in_container", lambda: True)
    monkeypatch.delenv("LAUNCHER", raising=False)
    hint = error_of(settings_for(protocol, closed_port)).hint
    assert "127.0.0.1 is the container itself" in hint
    assert ("TRITON_URL=triton:8000" if protocol == "http" else "TRITON_GRPC_URL=triton:8001") in hint


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_unknown_host(protocol, settings_for):
    error = error_of(settings_for(protocol, 1), triton_url="nosuch.invalid:8000", triton_grpc_url="nosuch.invalid:8001")
    assert isinstance(error, AbsentError)
    assert "nosuch.invalid" in str(error)


@pytest.mark.parametrize(
    ("server", "protocol", "scheme", "found", "mended"),
    [
        (grpc_triton, "http", "http", "speaks gRPC, not HTTP", "--protocol grpc --grpc-url 127.0.0.1:"),
        (grpc_triton, "http", "https", "speaks gRPC, not HTTP", "--protocol grpc --grpc-url 127.0.0.1:"),
        (grpc_triton, "grpc", "grpcs", "speaks plain gRPC, without encryption", "write grpc:// in TRITON_GRPC_URL"),
        (http_triton, "grpc", "grpc", "speaks HTTP, not gRPC", "--protocol http --url 127.0.0.1:"),
        (http_triton, "grpc", "grpcs", "speaks HTTP, not gRPC", "--protocol http --url 127.0.0.1:"),
        (http_triton, "http", "https", "speaks plain HTTP, without encryption", "write http:// in TRITON_URL"),
    ],
)
def test_the_wrong_door(server, protocol, scheme, found, mended, settings_for):
    with server() as triton:
        address = f"{scheme}://127.0.0.1:{triton.port}"
        error = error_of(settings_for(protocol, triton.port), **{"triton_url" if protocol == "http" else "triton_grpc_url": address})
    assert isinstance(error, NotTritonError)
    assert str(error) == f"{address} {found}"
    assert mended in error.hint


@pytest.mark.parametrize(("protocol", "mended"), [("http", "https://"), ("grpc", "grpcs://")])
def test_plain_text_to_an_encrypted_port(protocol, mended, tls_port, settings_for):
    error = error_of(settings_for(protocol, tls_port))
    assert "expects an encrypted connection" in str(error)
    assert f"write {mended}" in error.hint


@pytest.mark.parametrize(
    ("protocol", "scheme", "variable"), [("http", "https", "SSL_CERT_FILE"), ("grpc", "grpcs", "GRPC_DEFAULT_SSL_ROOTS")]
)
def test_an_untrusted_certificate(protocol, scheme, variable, tls_port, settings_for):
    address = f"{scheme}://127.0.0.1:{tls_port}"
    error = error_of(settings_for(protocol, tls_port), triton_url=address, triton_grpc_url=address)
    assert str(error) == f"{address} has a certificate that is not trusted here"
    assert variable in error.hint


@pytest.mark.parametrize(
    ("status", "body"), [(200, b""), (200, b"<html>"), (200, b"[]"), (200, b"5"), (200, b"null"), (404, b"nothing"), (200, b"{}")]
)
def test_a_stranger_s_web_server(status, body, settings_for):
    with web_server(lambda _path: (status, body)) as port:
        error = error_of(settings_for("http", port))
    assert isinstance(error, NotTritonError)
    assert "is not a Triton server" in str(error)


def test_a_gateway_without_its_server_may_recover(settings_for):
    with web_server(lambda _path: (502, b"<html>")) as port:
        error = error_of(settings_for("http", port))
    assert isinstance(error, UnreachableError)
    assert "HTTP 502" in str(error)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_says_nothing_does_not_hold_the_client(protocol, settings_for):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = error_of(settings_for(protocol, silent.getsockname()[1]), timeout=0.5)
    assert type(error) is UnreachableError
    assert "no answer within 0.5 s" in str(error)


def test_grpc_does_not_chatter_about_it(run_python, tls_port):
    code = """
import sys
from services.client.connect import connect
from services.core.settings import ClientSettings
with connect(ClientSettings(protocol="grpc", triton_grpc_url=sys.argv[1])) as transport:
    try:
        transport.is_ready("tiny")
    except Exception as error:
        print(error)
"""
    done = run_python(code, f"grpcs://127.0.0.1:{tls_port}")
    assert "not trusted" in done.stdout
    assert done.stderr == ""
