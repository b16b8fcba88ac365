"""A server of KServe's protocol v2 with the binary tensor extension, on loopback; ONNX Runtime computes behind it.

`faults` makes it misbehave: `slow` never answers an inference, `error` answers 500, `garbage` answers no JSON,
`other-version` says that another version ran, `lacking` leaves out an output.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

KINDS = {
    "FP32": "float32", "FP64": "float64", "FP16": "float16", "BOOL": "bool", "INT8": "int8", "INT16": "int16", "INT32": "int32",
    "INT64": "int64", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
}  # fmt: skip
OF_ONNX = {"float": "FP32", "double": "FP64", "float16": "FP16", "bool": "BOOL"}


@dataclass
class Served:
    """What the server has and how it behaves."""

    name: str
    content: bytes
    versions: tuple[str, ...] = ("1",)
    ready: bool = True
    faults: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)
    address: str = ""
    tensors_in_json: int = 0
    inferences: int = 0
    token: str = ""
    refused: int = 0

    def __post_init__(self) -> None:
        self.engine = onnxruntime.InferenceSession(self.content, providers=["CPUExecutionProvider"])


class Handler(BaseHTTPRequestHandler):
    """Answers by the protocol's text."""

    protocol_version = "HTTP/1.1"
    served: Served

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def is_let_in(self) -> bool:
        """Answer 401 to whoever lacks the token, if one is wanted."""
        if self.served.token and self.headers.get("Authorization") != f"Bearer {self.served.token}":
            self.served.refused += 1
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.refuse(401, "no token")
            return False
        return True

    def do_GET(self) -> None:
        served = self.served
        if not self.is_let_in():
            return None
        if self.path in ("/v2/health/ready", "/v2/health/live"):
            return self.answer(200, b"")
        matched = re.fullmatch(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready)?", self.path)
        if not matched or matched[1] != served.name or (matched[2] and matched[2] not in served.versions):
            return self.refuse(400, "Request for unknown model: version is not found" if matched else "no such path")
        if matched[3]:
            return self.answer(200 if served.ready else 400, b"")
        described = {"name": served.name, "versions": list(served.versions), "platform": "onnxruntime_onnx"}
        described |= {
            "inputs": list(map(tensor_of, served.engine.get_inputs())),
            "outputs": list(map(tensor_of, served.engine.get_outputs())),
        }
        return self.answer(200, json.dumps(described).encode())

    def do_POST(self) -> None:
        if not self.is_let_in():
            return None
        served, body = self.served, self.rfile.read(int(self.headers["Content-Length"]))
        if "slow" in served.faults:
            served.released.wait(20)
            return self.refuse(503, "was slow")
        if "error" in served.faults:
            return self.refuse(500, "failed to allocate device memory")
        if "garbage" in served.faults:
            return self.answer(200, b"no JSON at all")
        head = int(self.headers.get("Inference-Header-Content-Length", len(body)))
        asked, tail = json.loads(body[:head]), body[head:]
        served.inferences += 1
        try:
            inputs = dict(self.inputs(asked, tail))
            results = served.engine.run(None, inputs)
        except Exception as error:  # noqa: BLE001 - whatever it is, a server answers
            return self.refuse(400, str(error))
        version = "99" if "other-version" in served.faults else served.versions[-1]
        return self.outputs(version, dict(zip((o.name for o in served.engine.get_outputs()), results, strict=True)))

    def inputs(self, asked: Any, tail: bytes) -> Iterator[tuple[str, np.ndarray]]:
        at = 0
        for tensor in asked["inputs"]:
            size = tensor.get("parameters", {}).get("binary_data_size")
            dtype = KINDS[tensor["datatype"]]
            if size is None:
                self.served.tensors_in_json += 1
                array = np.array(tensor["data"], dtype)
            else:
                array = np.frombuffer(tail[at : at + size], dtype)
                at += size
            yield tensor["name"], array.reshape(tensor["shape"])

    def outputs(self, version: str, results: dict[str, np.ndarray]) -> None:
        described, tail = [], b""
        kept = list(results)[:-1] if "lacking" in self.served.faults else list(results)
        for name in kept:
            data = np.ascontiguousarray(results[name]).tobytes()
            kind = next(k for k, dtype in KINDS.items() if results[name].dtype == dtype)
            described.append(
                {"name": name, "datatype": kind, "shape": list(results[name].shape), "parameters": {"binary_data_size": len(data)}}
            )
            tail += data
        head = json.dumps({"model_name": self.served.name, "model_version": version, "outputs": described}).encode()
        self.answer(200, head + tail, {"Inference-Header-Content-Length": str(len(head))})

    def refuse(self, status: int, words: str) -> None:
        self.answer(status, json.dumps({"error": words}).encode())

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


def tensor_of(node: Any) -> dict[str, Any]:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    return {"name": node.name, "datatype": OF_ONNX.get(kind, kind.upper()), "shape": [n if isinstance(n, int) else -1 for n in node.shape]}


@contextmanager
def serving(served: Served, tls: tuple[Path, Path] | None = None) -> Iterator[Served]:
    """Serve on a free port of loopback until the end of the block; `tls`: certificate and key."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"served": served}))
    server.daemon_threads = True
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    served.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
