"""Engines that are built into plans: which plan a record is of, and the record beside it.

Two builds of one network may take different ways through it, so that a record is of one plan and no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from dicom_node.errors import ModelError
from dicom_node.inference.engines.build_engine import EngineMaker
from dicom_node.inference.engines.cache import EngineCache
from dicom_node.inference.engines.probe import cuda_devices
from dicom_node.inference.engines.tensorrt_library import load_tensorrt
from dicom_node.inference.gate.choice import Candidate
from dicom_node.inference.gate.opening import EngineSettings, open_sessions, session_options
from dicom_node.inference.gate.records import Record, as_json
from dicom_node.inference.gate.subject import Subject
from dicom_node.inference.network import Precision

_BUILT_BY = frozenset({"tensorrt"})


def plan_makers(subject: Subject, candidate: Candidate, settings: EngineSettings) -> tuple[EngineMaker, ...]:
    """Name the plans of a model's networks on an engine; empty for back ends that build none, and where the device is not there.

    Raises:
        EngineUnavailableError: TensorRT cannot be imported.
    """
    if candidate.engine.backend not in _BUILT_BY:
        return ()
    devices = [device for device in cuda_devices() if f"cuda:{device.index}" == candidate.device]
    if not devices:
        return ()
    options, precision = session_options(subject, candidate, settings), Precision(candidate.engine.precision)
    return tuple(EngineMaker(load_tensorrt(), devices[0], (network, precision, options)) for network in subject.networks.values())


def digest_of(makers: Sequence[EngineMaker]) -> str:
    """SHA-256 over the plans, hexadecimal; empty unless all of them are built."""
    plans = [maker.kept()[1] for maker in makers]
    if not plans or None in plans:
        return ""
    return hashlib.sha256(b"".join(hashlib.sha256(plan).digest() for plan in plans if plan is not None)).hexdigest()


def build_plans(subject: Subject, candidate: Candidate, settings: EngineSettings) -> str:
    """Build the plans that are missing.

    Returns:
        Why they cannot be built, in the builder's words; empty if they are.

    Raises:
        EngineUnavailableError: the device is not there.
    """
    if candidate.engine.backend not in _BUILT_BY:
        return ""
    try:
        with open_sessions(subject, candidate, settings):
            return ""
    except ModelError as error:
        if error.retryable:
            raise
        return str(error)


def note_beside(makers: Sequence[EngineMaker], record: Record) -> None:
    """Write a record beside the plans that it is of.

    Raises:
        ModelError: a plan is gone.
    """
    for key, cache in _entries(makers):
        cache.amend(key, {"gate": as_json(record), "gate_record": record.digest})


def _entries(makers: Sequence[EngineMaker]) -> Iterator[tuple[str, EngineCache]]:
    for maker in makers:
        options = maker.run[2]
        if options.engines_dir is not None:
            yield maker.kept()[0], EngineCache(options.engines_dir, limit_bytes=options.engines_limit_bytes)
