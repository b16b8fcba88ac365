"""The engines that a model may run on here, with the key that a record of each has to have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Availability, RemoteModel, SessionOptions, available_backends, open_session
from dicom_node.inference.engines.probe import cuda_devices
from dicom_node.inference.gate.choice import Candidate
from dicom_node.inference.gate.engine_facts import CPU, device_name, library_versions
from dicom_node.inference.gate.records import EngineKey
from dicom_node.inference.gate.subject import Engine, Subject

_ON_GPU_ONLY = frozenset({"tensorrt"})
_ON_GPU_FIRST = frozenset({"torch"})
_ON_SERVERS = frozenset({"triton"})
_SOME_SERVER = "server"

PlanDigest = Callable[[Candidate], str]
"""SHA-256 of an engine's plan, hexadecimal; empty if it is not built yet, or its back end builds none."""


def candidates(subject: Subject, device: str = "auto", plan_digest: PlanDigest | None = None) -> tuple[Candidate, ...]:
    """List the engines of a model in order of preference; the reference comes last unless the model prefers it to others.

    Args:
        subject: The model.
        device: `auto` takes the first GPU for back ends that use one; `cpu` takes none; or `cuda:N`.
        plan_digest: Tells the plan of an engine that is built.
    """
    backends = available_backends()
    found = [_candidate(subject, engine, device, backends) for engine in subject.engines]
    if not any(candidate.reference for candidate in found):
        found.append(_candidate(subject, subject.reference, CPU, backends))
    return tuple(_with_plan(candidate, plan_digest) if plan_digest else candidate for candidate in found)


def _candidate(subject: Subject, engine: Engine, device: str, backends: Mapping[str, Availability]) -> Candidate:
    place, missing = _place(engine.backend, device, subject.remote)
    reference = engine == subject.reference and place == CPU
    missing = missing or _unusable(subject, engine, backends)
    if missing:
        return Candidate(engine, place, None, missing, reference)
    key = EngineKey(
        bundle_digest=subject.bundle.digest,
        networks={name: network.sha256 for name, network in subject.networks.items()},
        backend=engine.backend,
        precision=engine.precision,
        device=device_name(place),
        versions=library_versions(engine.backend, place),
    )
    return Candidate(engine, place, key, "", reference)


def _with_plan(candidate: Candidate, plan_digest: PlanDigest) -> Candidate:
    return replace(candidate, key=replace(candidate.key, plan=plan_digest(candidate))) if candidate.key else candidate


def _unusable(subject: Subject, engine: Engine, backends: Mapping[str, Availability]) -> str:
    """Why a back end cannot take a model's networks here; empty if it can, as far as can be told without loading them."""
    if not subject.networks:
        return ""
    availability = backends.get(engine.backend)
    if availability is None:
        return "this version of the node does not have it"
    if not availability.usable:
        return availability.reason
    try:
        for network in subject.networks.values():
            open_session(engine.backend, engine.precision, network, SessionOptions(remote=subject.remote))
    except ModelError as error:
        return str(error)
    return ""


def _place(backend: str, device: str, remote: RemoteModel | None) -> tuple[str, str]:
    """The device that a back end takes, and why it cannot have it; empty if it can."""
    if backend in _ON_SERVERS:
        return (remote.url, "") if remote else (_SOME_SERVER, "model.yaml names no server (engines.triton)")
    if backend not in _ON_GPU_ONLY | _ON_GPU_FIRST or (device == CPU and backend not in _ON_GPU_ONLY):
        return CPU, ""
    names = [f"cuda:{gpu.index}" for gpu in cuda_devices()]
    wanted = device if device.startswith("cuda:") else "cuda:0"
    if device == CPU:
        return wanted, "only the CPU may be used"
    if wanted in names:
        return wanted, ""
    return (CPU, "") if backend in _ON_GPU_FIRST and device == "auto" else (wanted, "no such GPU is here" if names else "no GPU is here")
