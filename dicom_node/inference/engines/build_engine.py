"""An engine for a network on this GPU: out of the cache, or built and kept there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from time import perf_counter

from dicom_node.errors import BuildCancelledError, EngineUnavailableError, ModelError
from dicom_node.inference.engines.build_state import BuildState, BuildStateWriter, BuildStatus
from dicom_node.inference.engines.cache import CachedEngine, EngineCache
from dicom_node.inference.engines.onnx_network import equal_lengths, prepare
from dicom_node.inference.engines.probe import CudaDevice
from dicom_node.inference.engines.tensorrt_build import BuildOrder, build_plan
from dicom_node.inference.engines.tensorrt_library import Flavour, TensorRt
from dicom_node.inference.network import BuildProgress, Network, Precision, SessionOptions

_KEY_FORMAT = 1
"""Raised when the build itself changes, so that older engines are not found."""
NetworkRun = tuple[Network, Precision, SessionOptions]
"""Which network, in which precision, with which options."""


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """A plan ready to be loaded.

    Attributes:
        key: Its name in the cache.
        notes: What was done to the graph, and what the builder warned of.
        equal_lengths: Groups of (input, axis) of one length.
        seconds: Time the build took; 0 out of the cache.
    """

    plan: bytes
    key: str
    notes: tuple[str, ...]
    equal_lengths: tuple[tuple[tuple[str, int], ...], ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class EngineMaker:
    """Makes the engine of one run on one device.

    Attributes:
        library: A plan belongs to its exact version.
        device: A plan belongs to a GPU model and a driver; None only for RTX, whose builder works without one.
        run: Network, precision and options; `options.engines_dir` says where engines are kept.
        is_cancelled: Asked during the build and while waiting for another builder.
    """

    library: TensorRt
    device: CudaDevice | None
    run: NetworkRun
    is_cancelled: Callable[[], bool] = lambda: False

    def parts(self, source_sha256: str) -> Mapping[str, object]:
        """List everything that the engine depends on; `source_sha256` is that of the network's file and the weights beside it."""
        return {
            **_network_parts(self.run, source_sha256),
            "converter": {name: version(name) for name in ("onnx", "onnxruntime")},
            "flavour": str(self.library.flavour),
            "tensorrt": self.library.version,
            "gpu": self.device.name if self.device else "portable",
            "compute_capability": list(self.device.compute_capability) if self.device else [],
            "driver": self.device.driver if self.device else "",
        }

    def make(self) -> BuiltEngine:
        """Give the engine.

        Raises:
            BuildCancelledError: `is_cancelled` said so.
            EngineUnavailableError: the full TensorRT, but no GPU.
            ModelError: the network cannot be read, converted or built.
        """
        if self.device is None and self.library.flavour is Flavour.FULL:
            raise EngineUnavailableError("TensorRT builds on a GPU only, and there is none")
        network, _, options = self.run
        source = prepare(network, Precision.FP32, replace(options, repairs=()))
        equal, parts = equal_lengths(source.model), self.parts(source.sha256)
        key = _digest(parts)
        if options.engines_dir is None:
            return _engine(self._build(options.on_progress, b"")[0], key, equal)
        cache = EngineCache(options.engines_dir, limit_bytes=options.engines_limit_bytes)
        found = cache.find(key)
        if found is None:
            with cache.building(key, self.is_cancelled):
                found = cache.find(key)  # another process may have built it meanwhile
                if found is None:
                    return _engine(self._build_and_keep(cache, key, parts), key, equal)
        return replace(_engine(found, key, equal), seconds=0.0)

    def kept(self) -> tuple[str, bytes | None]:
        """Look up the engine; nothing is built.

        Returns:
            Its key in the cache, and the plan; None if there is none that can be trusted.

        Raises:
            ModelError: the network cannot be read, or the cache not be opened.
        """
        network, _, options = self.run
        key = _digest(self.parts(prepare(network, Precision.FP32, replace(options, repairs=())).sha256))
        if options.engines_dir is None:
            return key, None
        found = EngineCache(options.engines_dir, limit_bytes=options.engines_limit_bytes).find(key)
        return key, found.plan if found else None

    def _build_and_keep(self, cache: EngineCache, key: str, parts: Mapping[str, object]) -> CachedEngine:
        options = self.run[2]
        state = BuildStateWriter(cache.state_path(_digest(_network_parts(self.run, str(parts["network_sha256"])))), key)
        timing = _digest({name: parts[name] for name in ("flavour", "tensorrt", "gpu", "driver")})
        try:
            built, measured = self._build(_both(options.on_progress, state.progress), cache.timing_cache(timing))
        except BuildCancelledError:
            state.end(BuildStatus.CANCELLED)
            raise
        except ModelError as error:
            state.end(BuildStatus.FAILED, str(error))
            raise
        if measured:
            cache.keep_timing_cache(timing, measured)
        kept = CachedEngine(built.plan, {**built.record, "key": key, "parts": parts})
        cache.store(key, kept.plan, kept.record)
        state.end(BuildStatus.DONE)
        return kept

    def _build(self, on_progress: Callable[[BuildProgress], None] | None, measured: bytes) -> tuple[CachedEngine, bytes]:
        network, precision, options = self.run
        begin = perf_counter()
        if on_progress is not None:
            on_progress(BuildProgress("Preparing the network", 0.0))
        prepared = prepare(network, precision, options)
        for_device = self.device is not None
        order = BuildOrder(prepared, str(network.path), options.profiles, options.workspace_bytes, for_device, measured)
        built = build_plan(self.library, order, on_progress=on_progress, is_cancelled=self.is_cancelled)
        record = {
            "notes": list(prepared.notes),
            "log": list(built.log),
            "seconds": round(perf_counter() - begin, 3),
            "plan_bytes": len(built.plan),
            "built_sha256": prepared.sha256,
        }
        return CachedEngine(built.plan, record), built.timing_cache


def build_state(run: NetworkRun) -> BuildState | None:
    """Read how far the build of an engine is, from any process, without TensorRT; None when none was begun.

    A build whose process ended without a word is given as failed.

    Raises:
        ModelError: the network cannot be read.
    """
    network, _, options = run
    if options.engines_dir is None:
        return None
    source = prepare(network, Precision.FP32, replace(options, repairs=()))
    cache = EngineCache(options.engines_dir, limit_bytes=options.engines_limit_bytes)
    state = BuildState.read(cache.state_path(_digest(_network_parts(run, source.sha256))))
    if state is not None and state.status is BuildStatus.BUILDING and not cache.being_built(state.key):
        return replace(state, status=BuildStatus.FAILED, message="the process that built it ended without a word")
    return state


def _network_parts(run: NetworkRun, source_sha256: str) -> dict[str, object]:
    _, precision, options = run
    return {
        "format": _KEY_FORMAT,
        "network_sha256": source_sha256,
        "precision": str(precision),
        "keep_fp32": None if options.keep_fp32 is None else sorted(options.keep_fp32),
        "repairs": list(options.repairs),
        "profiles": {name: asdict(profile) for name, profile in sorted(options.profiles.items())},
        "workspace_bytes": options.workspace_bytes,
    }


def _digest(parts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _engine(found: CachedEngine, key: str, equal: tuple[tuple[tuple[str, int], ...], ...]) -> BuiltEngine:
    notes, log, seconds = found.record.get("notes", []), found.record.get("log", []), found.record.get("seconds", 0.0)
    words = (*(notes if isinstance(notes, list) else []), *(log if isinstance(log, list) else []))
    return BuiltEngine(found.plan, key, tuple(map(str, words)), equal, float(seconds) if isinstance(seconds, int | float) else 0.0)


def _both(*listeners: Callable[[BuildProgress], None] | None) -> Callable[[BuildProgress], None]:
    def tell(progress: BuildProgress) -> None:
        for listener in listeners:
            if listener is not None:
                listener(progress)

    return tell
