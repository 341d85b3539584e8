"""What ``scripts/up`` says at its end: ``python -m services.local.closing MODEL HTTP_PORT GRPC_PORT METRICS_PORT``."""

from __future__ import annotations  # scripts/up --cpu runs it with any Python from 3.9

import http.client
import json
import shlex
import sys

from services.core.names import by_themselves


def served_models(port: int) -> list[str]:
    """The models of the server that one may mean; none where it does not say."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/models/stats")
        found = json.loads(connection.getresponse().read())
        return by_themselves(entry["name"] for entry in found["model_stats"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return []
    finally:
        connection.close()


def closing(model: str, served: list[str], http: str, grpc: str, metrics: str) -> str:
    """The commands that ask and stop the server, as they work when they are copied.

    Args:
        model: the served name of the model.
        served: all models of the server; where they are several, the client has to be told which one to ask.
        http: the HTTP port.
        grpc: the gRPC port.
        metrics: the port of the metrics.
    """
    option = f"--model {shlex.quote(model)} " if served not in ([], [model]) else ""
    return f"""
The server is running. HTTP 127.0.0.1:{http}   gRPC 127.0.0.1:{grpc}   metrics http://127.0.0.1:{metrics}/metrics
  another picture   scripts/classify {option}samples/rocket.jpg
  its versions      scripts/builder list
  what it serves    curl -s {shlex.quote(f"127.0.0.1:{http}/v2/models/{model}")}
  stop it           scripts/down
"""


def main(arguments: list[str]) -> int:
    """Print it."""
    model, port, *others = arguments
    sys.stdout.write(closing(model, served_models(int(port)), port, *others))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
