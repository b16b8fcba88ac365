"""A network that an inference server serves: KServe's protocol v2 over HTTP, as Triton speaks it, with the binary tensor extension."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import EngineUnavailableError, ModelError
from dicom_node.inference.backends.availability import Availability
from dicom_node.inference.backends.owner_thread import OwnerThread
from dicom_node.inference.network import Network, NetworkFormat, Precision, RemoteModel, SessionOptions
from dicom_node.inference.session import Session, Signature, TensorInfo, Tensors

_DTYPES: Mapping[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
_NAMES = {np.dtype(kind): name for name, kind in _DTYPES.items()}


def availability() -> Availability:
    """Tell whether the client is installed; whether a server answers is known when a session is activated."""
    try:
        return Availability(usable=True, reason=f"tritonclient {version('tritonclient')}; the server is asked when a session starts")
    except PackageNotFoundError:
        return Availability(usable=False, reason="the package tritonclient is not installed (extra `triton`)")


class TritonSession(Session):
    """A network on a server. What file the server holds, and in which precision, it does not tell: the gate has to measure it.

    The client library is bound to the thread that made it, so one thread owns it.
    """

    backend = "triton"
    formats = frozenset(NetworkFormat)

    def __init__(self, network: Network, precision: Precision, options: SessionOptions) -> None:
        """Name the network; `activate` asks the server.

        Raises:
            ModelError: the options do not say where the server is.
        """
        super().__init__(network, precision, options)
        if options.remote is None:
            raise ModelError("triton: the options name no server (remote)")
        self._remote: RemoteModel = options.remote
        self._thread: OwnerThread | None = None
        self._client: Any = None
        self._http: Any = None

    @property
    def device(self) -> str:
        """The server's address."""
        return self._remote.url

    @property
    def memory_bytes(self) -> int:
        """0: it is the server's memory."""
        return 0

    def _activate(self) -> Signature:
        self._report("connect", 0.0)
        self._thread = OwnerThread("triton")
        return self._thread.call(self._connect)

    def _infer(self, inputs: Tensors) -> Tensors:
        if self._thread is None:
            raise ModelError("session is not active")
        return self._thread.call(self._ask, inputs)

    def _deactivate(self) -> None:
        if self._thread is not None:
            self._thread.call(self._disconnect)
            self._thread.stop()
            self._thread = None

    def _connect(self) -> Signature:
        try:
            from tritonclient import http  # noqa: PLC0415
        except ImportError as error:
            raise EngineUnavailableError(f"tritonclient cannot be imported: {error}", hint="Install the extra `triton`.") from error

        self._http = http
        secure = self._remote.url.startswith("https://")
        limit = self._remote.timeout_s
        with self._foreign_errors("connect"):
            address = self._remote.url.removeprefix("https://").removeprefix("http://")
            trusted = {"ca_certs": str(self._remote.ca_file)} if secure and self._remote.ca_file else None
            self._client = http.InferenceServerClient(
                address, ssl=secure, connection_timeout=limit, network_timeout=limit, ssl_options=trusted
            )
            if self._remote.token_file is not None:
                self._client.register_plugin(_BearerToken(self._read_token(self._remote.token_file)))
            if not self._client.is_server_ready():
                raise EngineUnavailableError(f"{self._remote.url}: the server is not ready")
            described = self._model_metadata()
        return Signature(_described(described["inputs"]), _described(described["outputs"]))

    def _read_token(self, path: Path) -> str:
        try:
            return path.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise EngineUnavailableError(
                f"{self._remote.url}: the token file {path} cannot be read: {type(error).__name__}", hint="check owner and content"
            ) from error

    def _model_metadata(self) -> Any:
        remote = self._remote
        if not self._client.is_model_ready(remote.name, remote.version):
            served = self._versions()
            if remote.version and served and remote.version not in served:
                raise ModelError(f"{remote.url}: version {remote.version} of {remote.name} is wanted, the server has {', '.join(served)}")
            raise EngineUnavailableError(f"{remote.url}: model {remote.name} {remote.version} is not ready".replace("  ", " "))
        return self._client.get_model_metadata(remote.name, remote.version)

    def _versions(self) -> tuple[str, ...]:
        try:
            return tuple(str(served) for served in self._client.get_model_metadata(self._remote.name).get("versions", ()))
        except self._foreign():
            return ()

    def _ask(self, inputs: Tensors) -> Tensors:
        asked = []
        for name, array in inputs.items():
            tensor = self._http.InferInput(name, list(array.shape), _NAMES[array.dtype])
            tensor.set_data_from_numpy(np.asarray(array, order="C"), binary_data=True)
            asked.append(tensor)
        wanted = [self._http.InferRequestedOutput(name, binary_data=True) for name in self._signature.outputs]
        with self._foreign_errors("infer"):
            answer = self._client.infer(self._remote.name, asked, model_version=self._remote.version, outputs=wanted)
            ran = str(answer.get_response().get("model_version", ""))
            if self._remote.version and ran != self._remote.version:
                raise ModelError(f"{self._remote.url}: version {ran or '?'} answered, {self._remote.version} was asked")
            return {name: self._output(answer, name) for name in self._signature.outputs}

    def _output(self, answer: Any, name: str) -> NDArray[np.generic]:
        array = answer.as_numpy(name)
        if array is None:
            raise ModelError(f"{self._remote.url}: the answer lacks output {name}")
        return np.array(array)

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _foreign(self) -> tuple[type[BaseException], ...]:
        from tritonclient.utils import InferenceServerException  # noqa: PLC0415

        return (InferenceServerException,)

    @contextmanager
    def _foreign_errors(self, action: str) -> Iterator[None]:
        """The one door for the client's exceptions. Its texts name tensors and shapes, never values."""
        try:
            yield
        except (TimeoutError, OSError) as error:
            words = f"no answer within {self._remote.timeout_s:g} s" if isinstance(error, TimeoutError) else type(error).__name__
            raise EngineUnavailableError(f"{self._remote.url}: {action}: {words}") from error
        except self._foreign() as error:
            status, message = error.status(), error.message()  # type: ignore[attr-defined]
            if str(status or "").startswith("5") or "timed out" in str(message):
                raise EngineUnavailableError(f"{self._remote.url}: {action}: {message}") from error
            raise ModelError(f"{self._remote.url}: {action}: {message}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{self._remote.url}: {action}: the answer cannot be read: {type(error).__name__}") from error


class _BearerToken:
    """Adds the token to every request of tritonclient, which calls it as a plug-in."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> None:
        request.headers = {**(request.headers or {}), "Authorization": f"Bearer {self._token}"}


def _described(tensors: Sequence[Mapping[str, Any]]) -> dict[str, TensorInfo]:
    described = {}
    for tensor in tensors:
        kind = tensor["datatype"]
        if kind not in _DTYPES:
            raise ModelError(f"{tensor['name']} is {kind}; inputs and outputs may be {', '.join(sorted(_DTYPES))}")
        shape = tuple(None if int(length) < 0 else int(length) for length in tensor["shape"])
        described[str(tensor["name"])] = TensorInfo(np.dtype(_DTYPES[kind]), shape)
    return described
