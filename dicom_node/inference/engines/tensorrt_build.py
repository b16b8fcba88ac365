"""From an ONNX network to a TensorRT plan, with progress and cancel; one source for TensorRT 10.16 to 11 and TensorRT-RTX.

Networks are strongly typed: the file's own types decide the precision, version 11 knows no flags for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from dicom_node.errors import BuildCancelledError, ModelError
from dicom_node.inference.engines.build_progress import PhaseTree
from dicom_node.inference.engines.onnx_network import PreparedNetwork
from dicom_node.inference.engines.tensorrt_library import Flavour, TensorRt
from dicom_node.inference.engines.tensorrt_logger import lines_logger
from dicom_node.inference.network import BuildProgress, ShapeRange


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What to build.

    Attributes:
        network: In the precision wanted.
        path: The network's file; read by TensorRT itself when weights lie beside it, and named in messages.
        profiles: By input name; needed for every input with an open length.
        workspace_bytes: Most work space a layer may take.
        for_this_device: Build for the GPU that is here; without one only RTX builds, for its portable targets.
        timing_cache: What an earlier build measured; empty for none. RTX has none.
    """

    network: PreparedNetwork
    path: str
    profiles: Mapping[str, ShapeRange]
    workspace_bytes: int
    for_this_device: bool
    timing_cache: bytes = b""


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan.

    Attributes:
        plan: Serialised engine: executable code for one GPU model and one TensorRT version.
        log: Warnings and errors of the builder.
        seconds: Time of the build.
        timing_cache: For the next build; empty for RTX.
    """

    plan: bytes
    log: tuple[str, ...]
    seconds: float
    timing_cache: bytes


def build_plan(
    library: TensorRt,
    order: BuildOrder,
    *,
    on_progress: Callable[[BuildProgress], None] | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> BuiltPlan:
    """Build.

    Args:
        library: Loaded library.
        order: What to build.
        on_progress: Told about phases, from the builder's threads.
        is_cancelled: Asked after every step.

    Raises:
        BuildCancelledError: `is_cancelled` said so.
        ModelError: TensorRT cannot read the network, a profile is missing or does not fit, or the build failed; in TensorRT's words.
    """
    begin = perf_counter()
    trt = library.module
    logger = lines_logger(trt)
    builder = _builder(trt, logger)
    network = _parsed(library, builder, logger, order)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, order.workspace_bytes)
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default: fp32 would have a mantissa of 10 bit
    phases = PhaseTree(on_progress)
    monitor = _monitor(trt, phases, is_cancelled)
    config.progress_monitor = monitor
    if library.flavour is Flavour.RTX and order.for_this_device:
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.CURRENT, 0)
    cache = None
    if library.flavour is Flavour.FULL:
        cache = config.create_timing_cache(order.timing_cache)
        config.set_timing_cache(cache, ignore_mismatch=False)
    _add_profile(builder, network, config, order)
    plan = builder.build_serialized_network(network, config)
    if monitor.error is not None:
        raise monitor.error
    if plan is None:
        if is_cancelled():
            raise BuildCancelledError(f"{order.path}: the build was cancelled")
        raise ModelError(f"{order.path}: TensorRT {library.version} cannot build the network: {logger.last_error()}")
    phases.complete("Built")
    kept = bytes(memoryview(cache.serialize())) if cache is not None else b""
    return BuiltPlan(bytes(memoryview(plan)), tuple(logger.lines), perf_counter() - begin, kept)


def _builder(trt: Any, logger: Any) -> Any:
    try:
        return trt.Builder(logger)
    except TypeError as error:  # the bindings' words for a null pointer: no driver, or libraries of another version
        raise ModelError(f"TensorRT gives no builder: {logger.last_error() or error}") from error


def _parsed(library: TensorRt, builder: Any, logger: Any, order: BuildOrder) -> Any:
    trt = library.module
    strong = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if library.flavour is Flavour.FULL and library.major < 11 else 0
    network = builder.create_network(strong)
    parser = trt.OnnxParser(network, logger)
    read = parser.parse_from_file(order.path) if order.network.external else parser.parse(order.network.content)
    if not read:
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        words = "; ".join(f"{error.node_operator()} {error.node_name()}: {error.desc()}".strip(" :") for error in errors)
        raise ModelError(f"{order.path}: TensorRT {library.version} cannot read the network: {words or logger.last_error()}")
    return network


def _add_profile(builder: Any, network: Any, config: Any, order: BuildOrder) -> None:
    inputs = {tensor.name: tensor for tensor in (network.get_input(index) for index in range(network.num_inputs))}
    unknown = sorted(order.profiles.keys() - inputs.keys())
    if unknown:
        raise ModelError(f"{order.path}: a profile is given for {', '.join(unknown)}, the network's inputs are {', '.join(inputs)}")
    open_inputs = [name for name, tensor in inputs.items() if any(length < 0 for length in tensor.shape)]
    missing = [name for name in open_inputs if name not in order.profiles]
    if missing:
        raise ModelError(
            f"{order.path}: input {missing[0]} has shape {tuple(inputs[missing[0]].shape)}, where -1 is open, and no profile",
            hint="Give engines.profiles with min, opt and max for it.",
        )
    profile = builder.create_optimization_profile()
    for name, wanted in order.profiles.items():
        shape = tuple(inputs[name].shape)
        if not _fits(shape, wanted):
            raise ModelError(f"{order.path}: the profile of {name} has min {wanted.min} and max {wanted.max}, the network has {shape}")
        profile.set_shape(name, wanted.min, wanted.opt, wanted.max)
    if open_inputs and config.add_optimization_profile(profile) < 0:
        raise ModelError(f"{order.path}: TensorRT refuses the profiles {dict(order.profiles)}")


def _fits(shape: tuple[int, ...], wanted: ShapeRange) -> bool:
    return len(shape) == len(wanted.min) and all(
        length < 0 or low == length == high for length, low, high in zip(shape, wanted.min, wanted.max, strict=True)
    )


def _monitor(trt: Any, tree: PhaseTree, is_cancelled: Callable[[], bool]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Called from the builder's C++ threads: an exception must not pass through them, so it stops the build and is raised after."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.error: Exception | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._guarded(tree.start, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._guarded(tree.step, phase_name, step)
            return self.error is None and not is_cancelled()

        def phase_finish(self, phase_name: str) -> None:
            self._guarded(tree.finish, phase_name)

        def _guarded(self, note: Callable[..., None], *arguments: object) -> None:
            try:
                note(*arguments)
            except Exception as error:  # noqa: BLE001 - see above
                self.error = self.error or error

    return Monitor()
