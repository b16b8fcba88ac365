"""An engine built in a process of its own, while the reference back end goes on serving.

The process builds into the cache and writes its state beside it (`build_engine.build_state` reads it); the session that wants
the engine finds it when it is activated again. A crash of the builder costs that process and nothing else.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from dicom_node.errors import DicomNodeError, EngineUnavailableError, ModelError
from dicom_node.inference.engines.build_engine import EngineMaker, NetworkRun, build_state
from dicom_node.inference.engines.build_state import BuildState
from dicom_node.inference.engines.probe import CudaDevice, probe
from dicom_node.inference.engines.tensorrt_library import Flavour, TensorRt, load_tensorrt
from dicom_node.inference.network import Network, NetworkFormat, Precision, SessionOptions, ShapeRange

_BUILT, _NOT_BUILT = 0, 3


class BackgroundBuild:
    """A build that goes on by itself. Two of one engine are no harm: the second waits and finds it built."""

    def __init__(self, run: NetworkRun, *, flavour: Flavour | None = None) -> None:
        """Start the process.

        Args:
            run: Network, precision and options, with `engines_dir`.
            flavour: Which TensorRT; None takes the full one if it is there.

        Raises:
            ModelError: the options name no folder to build into.
        """
        if run[2].engines_dir is None:
            raise ModelError(f"{run[0].path.name}: a background build needs a folder for its engine (engines_dir)")
        self._run = run
        command = [sys.executable, "-m", "dicom_node.inference.engines.background_build"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        if self._process.stdin is not None:
            with self._process.stdin as stream:
                stream.write(_written(run, flavour))

    @property
    def running(self) -> bool:
        """Whether the process goes on."""
        return self._process.poll() is None

    def state(self) -> BuildState | None:
        """How far it is; None before it has said anything."""
        return build_state(self._run)

    def cancel(self) -> None:
        """Ask it to stop at the builder's next step."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; tell whether the engine is there.

        Raises:
            ModelError: it did not end in time; it goes on.
        """
        try:
            return self._process.wait(timeout_s) == _BUILT
        except subprocess.TimeoutExpired:
            raise ModelError(f"{self._run[0].path.name}: the build goes on after {timeout_s:g} s") from None


def _written(run: NetworkRun, flavour: Flavour | None) -> bytes:
    network, precision, options = run
    return json.dumps(
        {
            "network": {"path": str(network.path), "format": str(network.format), "sha256": network.sha256},
            "precision": str(precision),
            "flavour": None if flavour is None else str(flavour),
            "device": options.device,
            "profiles": {name: asdict(profile) for name, profile in options.profiles.items()},
            "keep_fp32": options.keep_fp32,
            "repairs": options.repairs,
            "workspace_bytes": options.workspace_bytes,
            "engines_dir": str(options.engines_dir),
            "engines_limit_bytes": options.engines_limit_bytes,
        }
    ).encode()


def _read(text: str) -> tuple[NetworkRun, Flavour | None]:
    order = json.loads(text)
    network = Network(Path(order["network"]["path"]), NetworkFormat(order["network"]["format"]), order["network"]["sha256"])
    options = SessionOptions(
        device=order["device"],
        profiles={name: ShapeRange(*(tuple(shape[key]) for key in ("min", "opt", "max"))) for name, shape in order["profiles"].items()},
        keep_fp32=None if order["keep_fp32"] is None else tuple(order["keep_fp32"]),
        repairs=tuple(order["repairs"]),
        workspace_bytes=order["workspace_bytes"],
        engines_dir=Path(order["engines_dir"]),
        engines_limit_bytes=order["engines_limit_bytes"],
    )
    return (network, Precision(order["precision"]), options), Flavour(order["flavour"]) if order["flavour"] else None


def _device(library: TensorRt, name: str) -> CudaDevice | None:
    found = probe()
    if not found.devices and library.flavour is Flavour.RTX:
        return None
    index = 0 if name == "auto" else int(name.removeprefix("cuda:"))
    if index >= len(found.devices):
        raise EngineUnavailableError(f"cuda:{index} is not there: {found.reason or f'{len(found.devices)} devices are'}")
    return found.devices[index]


def _main() -> int:
    """Build what standard input says."""
    cancelled = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    run, flavour = _read(sys.stdin.read())
    try:
        library = load_tensorrt(flavour)
        EngineMaker(library, _device(library, run[2].device), run, cancelled.is_set).make()
    except DicomNodeError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return _NOT_BUILT
    return _BUILT


if __name__ == "__main__":
    sys.exit(_main())
