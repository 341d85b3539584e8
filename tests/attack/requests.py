"""Malformed requests, made from a good one by a seed: the same ones each time.

Left out is what is known to end Triton 24.10, or to fail others there (SECURITY.md): a body in a million chunks, JSON nested tens of
thousands deep, compressed bodies, messages of a gigabyte; data in JSON for a shape of billions; and a shape whose first number is 0 with
data behind it, which spoils the batch that it joins.
"""

import json
import math
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import service_pb2

_SEED = 8
_MOST_ELEMENTS = 1 << 20
_NUMBERS = (-1, 0, 1, 2, 3, 31, 33, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), 1.5, 1e308)
_WORDS = ("", "x", "../..", "%00", "a" * 3000, "\N{RIGHT-TO-LEFT OVERRIDE}x", "\x1b[31m", "\udcff", "null", "0", "[]")
_TYPES = ("UINT8", "FP32", "FP64", "INT64", "BYTES", "BOOL", "uint8", "FP128", "")
_PATHS = ("/v2/models/{}/infer", "/v2/models/{}/versions/1/infer")


@dataclass(frozen=True)
class Http:
    """Bytes of a request; ``whole`` where it promises no more than it sends."""

    name: str
    content: bytes
    whole: bool = True


@dataclass(frozen=True)
class Grpc:
    """A message for ModelInfer."""

    name: str
    content: bytes


def http(model: str, tensor: str, shape: list[int], data: list[Any], count: int) -> Iterator[Http]:
    """So many requests.

    Args:
        model: its name.
        tensor: the name of its input.
        shape: of one good batch.
        data: that batch, as nested lists.
        count: how many.
    """
    chosen = random.Random(_SEED)  # noqa: S311 - no secret
    good = {"inputs": [{"name": tensor, "shape": shape, "datatype": "UINT8", "data": data}], "outputs": [{"name": "scores"}]}
    makers: tuple[Callable[[random.Random, str, dict[str, Any]], Http], ...] = (_json, _json, _json, _binary, _text, _framing)
    for _ in range(count):
        yield chosen.choice(makers)(chosen, model, json.loads(json.dumps(good)))


def _odd(chosen: random.Random) -> Any:
    kind = chosen.randrange(6)
    if kind == 0:
        return chosen.choice(_NUMBERS)
    if kind == 1:
        return chosen.choice(_WORDS)
    if kind == 2:
        return chosen.choice((None, True, False, float("nan"), float("inf")))
    if kind == 3:
        return [_odd(chosen) for _ in range(chosen.randrange(4))]
    return {chosen.choice(_WORDS): _odd(chosen)} if kind == 4 else []


def _shape(chosen: random.Random) -> list[Any]:
    shape: list[Any] = [chosen.choice(_NUMBERS) for _ in range(chosen.randrange(6))]
    if abs(math.prod(shape)) > _MOST_ELEMENTS:
        shape = [number if abs(number) < _MOST_ELEMENTS else chosen.choice((-1, 7, 1.5, "x", None)) for number in shape]
    return [1, *shape[1:]] if shape[:1] == [0] else shape


def _json(chosen: random.Random, model: str, request: dict[str, Any]) -> Http:
    """One to three places of the JSON hold something else, or nothing."""
    tensor, output = request["inputs"][0], request["outputs"][0]
    for _ in range(chosen.randint(1, 3)):
        of_tensor, of_request = ("name", "shape", "datatype", "data", "parameters"), ("inputs", "outputs", "parameters", "id")
        place, keys = chosen.choice(((tensor, of_tensor), (tensor, of_tensor), (output, ("name", "parameters")), (request, of_request)))
        key = chosen.choice(keys)
        if chosen.random() < 0.2:
            place.pop(key, None)
        elif key == "shape":
            place[key] = _shape(chosen)
        elif key == "datatype":
            place[key] = chosen.choice(_TYPES)
        elif key == "parameters":
            name = chosen.choice(("classification", "binary_data", "binary_data_size", "shared_memory_region", "sequence_id", "priority"))
            place[key] = {name: _odd(chosen)}
        else:
            place[key] = _odd(chosen)
    return _post("json", chosen.choice(_PATHS).format(model), json.dumps(request).encode())


def _binary(chosen: random.Random, model: str, request: dict[str, Any]) -> Http:
    """The lengths of the parts of a binary request are not those of the parts."""
    tensor = request["inputs"][0]
    content = bytes(chosen.randbytes(chosen.choice((0, 1, 3071, 3072, 3073, 9000))))
    del tensor["data"]
    tensor["parameters"] = {"binary_data_size": chosen.choice((*_NUMBERS, len(content), len(content) + 1))}
    head = json.dumps(request).encode()
    length = chosen.choice((len(head), len(head) - 1, len(head) + 1, 0, -1, 2**31, 2**63, "x", "", "1e3", " 5"))
    return _post("binary", chosen.choice(_PATHS).format(model), head + content, f"Inference-Header-Content-Length: {length}")


def _text(chosen: random.Random, model: str, request: dict[str, Any]) -> Http:
    """Bytes of the JSON are others, doubled or gone."""
    content = bytearray(json.dumps(request).encode())
    for _ in range(chosen.randint(1, 4)):
        place = chosen.randrange(len(content))
        kind = chosen.randrange(3)
        if kind == 0:
            content[place] = chosen.randrange(256)
        elif kind == 1:
            content[place:place] = content[place : place + chosen.randrange(1, 40)]
        else:
            del content[place : place + chosen.randrange(1, 40)]
    return _post("text", chosen.choice(_PATHS).format(model), bytes(content))


def _framing(chosen: random.Random, model: str, request: dict[str, Any]) -> Http:
    """Lines, methods, paths and lengths as no client sends them."""
    body, path = json.dumps(request).encode(), _PATHS[0].format(model)
    kind = chosen.randrange(6)
    if kind == 0:
        return Http("framing: cut off", _post("", path, body).content[: chosen.randrange(1, 200)], whole=False)
    if kind == 1:
        wrong = chosen.choice(("-1", "x", "1e3", "99999999999999999999", str(len(body) + 7)))
        return Http("framing: length", f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {wrong}\r\n\r\n".encode() + body, whole=False)
    if kind == 2:
        method = chosen.choice(("GET", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "X" * 200, "post"))
        return Http("framing: method", _post("", path, body).content.replace(b"POST", method.encode(), 1), whole=False)
    if kind == 3:
        odd = chosen.choice(("/v2/models//infer", "/v2/models/%2e%2e/infer", "/v2/models/" + "a" * 4000 + "/infer", f"{path}/x", "/v2/%ff"))
        version = f"/v2/models/{model}/versions/{chosen.choice((*_WORDS[:5], '-1', '99', '1e9'))}/infer"
        return _post("framing: path", chosen.choice((odd, version)), body)
    if kind == 4:
        chunk = chosen.choice((b"zz\r\n", b"-1\r\n", b"ffffffffffffffff\r\n", b"5\r\nab", b"0\r\n"))
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        return Http("framing: chunk", head + chunk, whole=False)
    return Http("framing: noise", chosen.randbytes(chosen.randrange(1, 500)) + b"\r\n\r\n", whole=False)


def _post(name: str, path: str, body: bytes, *headers: str) -> Http:
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return Http(name, "\r\n".join(lines).encode("utf-8", "surrogateescape") + body)


def grpc(good: service_pb2.ModelInferRequest, count: int) -> Iterator[Grpc]:
    """So many messages, made from a good one."""
    chosen = random.Random(_SEED)  # noqa: S311 - no secret
    while count:
        request = service_pb2.ModelInferRequest()
        request.CopyFrom(good)
        if chosen.random() < 0.5:
            yield Grpc("fields", _with_odd_fields(chosen, request))
        else:
            yield Grpc("bytes", _with_odd_bytes(chosen, request.SerializeToString()))
        count -= 1


def _with_odd_fields(chosen: random.Random, request: service_pb2.ModelInferRequest) -> bytes:
    tensor = request.inputs[0]
    kind = chosen.randrange(7)
    if kind == 0:
        shape = [number for number in _NUMBERS if isinstance(number, int) and -(2**63) <= number < 2**63]
        tensor.shape[:] = [chosen.choice(shape) or 1, *(chosen.choice(shape) for _ in range(chosen.randrange(5)))]
    elif kind == 1:
        tensor.datatype = chosen.choice([one for one in _TYPES if one != "UINT8"])
    elif kind == 2:
        tensor.name = chosen.choice([word for word in _WORDS if word.isprintable() or word == "\x1b[31m"])
    elif kind == 3:
        request.raw_input_contents[0] = chosen.randbytes(chosen.choice((0, 1, 3071, 3073, 100_000)))
    elif kind == 4:
        request.model_version = chosen.choice(("-1", "99", "x", "1e9", " 1"))
    elif kind == 5:
        request.inputs.add().CopyFrom(tensor)
    else:
        del request.raw_input_contents[:]
        tensor.contents.fp32_contents[:] = [0.0] * chosen.choice((0, 1, 3072))
    return request.SerializeToString()


def _with_odd_bytes(chosen: random.Random, content: bytes) -> bytes:
    odd = bytearray(content[: chosen.choice((len(content), chosen.randrange(len(content))))])
    for _ in range(chosen.randint(1, 6)):
        place = chosen.randrange(min(200, len(odd)))  # the fields stand in front of the pixels
        odd[place : place + 1] = chosen.choice((b"", chosen.randbytes(1), struct.pack("<I", 0xFFFFFFFF)))
        if not odd:
            break
    return bytes(odd)
