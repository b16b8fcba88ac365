"""The engines of a node's models: verified and chosen by the records that data_dir holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.errors import ModelError
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.bundle.inputs_schema import InputSlot
from dicom_node.inference.gate.attempts import Attempts
from dicom_node.inference.gate.candidates import candidates
from dicom_node.inference.gate.case_inputs import CaseInputs
from dicom_node.inference.gate.choice import Candidate, Choice, Standing, State, choose, standings
from dicom_node.inference.gate.engine_facts import CPU
from dicom_node.inference.gate.opening import EngineSettings, open_model_on
from dicom_node.inference.gate.plans import build_plans, digest_of, note_beside, plan_makers
from dicom_node.inference.gate.records import Record, Records
from dicom_node.inference.gate.subject import Engine, Subject, subject_of
from dicom_node.inference.gate.verification import Gate, verify
from dicom_node.inference.model import Model, ModelInput
from dicom_node.inference.network import BuildProgress
from dicom_node.inference.pixels import files_of, images_from_instances, read_instances
from dicom_node.pipeline.headers import header_attributes

_SLOWER_THAN_THE_REFERENCE = {(Engine("onnxruntime", "fp16"), CPU)}
"""It computes in single precision all the same, between casts."""


@dataclass(frozen=True, slots=True)
class NodeEngines:
    """How this node runs engines.

    Attributes:
        data_dir: Of the node; engines and records lie in its `engines` folder.
        threads: Threads on the CPU; 0 takes all cores.
        device: `auto` takes the first GPU where an engine uses one; `cpu` takes none; or `cuda:N`.
        on_build: Told about an engine that is built.
        on_verify: Told about cases that run, and the share that is done, 0 to 1.
    """

    data_dir: Path
    threads: int = 0
    device: str = "auto"
    on_build: Callable[[BuildProgress], None] | None = None
    on_verify: Callable[[str, float], None] = field(default=lambda *_: None)

    def settings(self) -> EngineSettings:
        """Say how sessions are opened."""
        return EngineSettings(self.threads, self.data_dir / "engines", self.on_build)


def open_chosen(
    bundle: ModelBundle, node: NodeEngines, *, without: Mapping[Engine, str] | None = None, now: datetime | None = None
) -> tuple[Model, Choice]:
    """Load a model on the engine that may serve it.

    Where that engine refuses after all, the next one that may serve takes its place, and the choice says why.

    Args:
        bundle: The model.
        node: How this node runs engines.
        without: Engines that must not be taken now, with the reason, such as one whose device was lost; the reference always may.
        now: For clearances that end, UTC; the clock if left out.

    Returns:
        The model, which the caller closes, and the choice: its record's digest is the trace's `verified`, its fallback the trace's.

    Raises:
        ModelError: the model may not serve, or the last engine that may serve refuses it.
    """
    subject = subject_of(bundle)
    lost = dict(without or {})
    while True:
        choice, candidate = _choice(subject, node, lost, now or datetime.now(UTC))
        try:
            return open_model_on(subject, candidate, node.settings()), choice
        except ModelError as error:
            if candidate.reference:
                raise
            lost[candidate.engine] = f"it cannot be loaded: {error}"


def open_first_choice(bundle: ModelBundle, node: NodeEngines, *, without: Mapping[Engine, str]) -> tuple[Model, Choice]:
    """Load a model on the engine that should serve it, and on no other; see `open_chosen`.

    Raises:
        ModelError: the model may not serve, or that engine refuses it.
    """
    subject = subject_of(bundle)
    choice, candidate = _choice(subject, node, without, datetime.now(UTC))
    return open_model_on(subject, candidate, node.settings()), choice


def verify_engine(bundle: ModelBundle, backend: str, precision: str, node: NodeEngines, *, again: bool = False) -> Record:
    """Build an engine where it needs one, run the model's cases on it, and keep the record.

    Args:
        bundle: The model.
        backend: For example `tensorrt`.
        precision: For example `fp16`.
        node: How this node runs engines.
        again: Do it anew even if there is a record.

    Returns:
        The record, good or bad.

    Raises:
        EngineUnavailableError: the engine is not here.
        ModelError: the model does not name this engine, or its reference fails.
    """
    subject = subject_of(bundle)
    found = _candidates(subject, node, {})
    named = [c for c in found if c.engine == Engine(backend, precision)]
    if not named:
        raise ModelError(
            f"{subject.title} does not name {backend} {precision}; it names {', '.join(dict.fromkeys(str(c.engine) for c in found))}",
            hint="engines.backends and engines.precisions of model.yaml say where a model may run.",
        )
    gate = Gate(Records.open(node.data_dir), node.settings(), CaseInputs(read_folder), on_progress=node.on_verify)
    reference, wanted = next(c for c in found if c.reference), named[0]
    if not wanted.unavailable:
        build_plans(subject, wanted, node.settings())  # what the builder refuses fails again below, and is recorded with its words
        wanted = next(c for c in _candidates(subject, node, {}) if (c.engine, c.device) == (wanted.engine, wanted.device))
    record = verify(gate, subject, wanted, reference, again=again)
    if record.key.plan:
        note_beside(plan_makers(subject, wanted, node.settings()), record)
    return record


def engine_standings(bundle: ModelBundle, node: NodeEngines) -> tuple[Standing, ...]:
    """Tell how each engine of a model stands, in order of preference."""
    subject = subject_of(bundle)
    found = _candidates(subject, node, {})
    return standings(subject, found, _records(node, found))


def unverified_engines(bundle: ModelBundle, node: NodeEngines) -> tuple[Engine, ...]:
    """List the engines that are here, would be preferred to one that may serve, and have no record, in order of preference.

    What is slower than the reference is left out, since a list of precisions is mostly made for a GPU; `verify_engine` verifies that too.
    """
    found: list[Engine] = []
    for standing in engine_standings(bundle, node):
        candidate = standing.candidate
        if standing.may_serve:
            break
        if standing.state is State.UNVERIFIED and (candidate.engine, candidate.device) not in _SLOWER_THAN_THE_REFERENCE:
            found.append(candidate.engine)
    return tuple(found)


def chosen(bundle: ModelBundle, node: NodeEngines, now: datetime, *, without: Mapping[Engine, str] | None = None) -> Choice:
    """Tell which engine would serve a model; nothing is loaded.

    Raises:
        ModelError: none may.
    """
    return _choice(subject_of(bundle), node, without or {}, now)[0]


def records_folder(data_dir: Path) -> Path:
    """Where the records of a node lie; a record that is added changes the time of the folder."""
    return data_dir / "engines" / "records"


def read_folder(folder: Path, slot: InputSlot) -> ModelInput:
    """Read a series of a case as the node reads what it receives.

    Raises:
        PixelError: files cannot be read or decoded.
        VolumeError: they are no volume as the input wants it.
    """
    instances = read_instances(sorted(path for path in folder.rglob("*") if path.is_file()))
    read = images_from_instances(slot.kind.value, instances, slot.to_policy())
    return ModelInput(read.images, header_attributes(read.instances[0]), files_of(read.instances))


def _choice(subject: Subject, node: NodeEngines, lost: Mapping[Engine, str], now: datetime) -> tuple[Choice, Candidate]:
    found = _candidates(subject, node, lost)
    choice = choose(subject, found, _records(node, found), now)
    engine = Engine(choice.backend, choice.precision)
    return choice, next(c for c in found if (c.engine, c.device) == (engine, choice.device) and not c.unavailable)


def _candidates(subject: Subject, node: NodeEngines, lost: Mapping[Engine, str]) -> tuple[Candidate, ...]:
    attempts = Attempts.of_node(node.data_dir)
    found = candidates(subject, node.device, lambda c: digest_of(plan_makers(subject, c, node.settings())))
    noted = (replace(c, attempt=a.words) if (a := attempts.find(subject.bundle.digest, c.engine)) else c for c in found)
    return tuple(replace(c, unavailable=lost[c.engine], key=None) if c.engine in lost and not c.reference else c for c in noted)


def _records(node: NodeEngines, found: tuple[Candidate, ...]) -> Mapping[str, Record]:
    if not _is_folder(records_folder(node.data_dir)):  # whoever only looks makes nothing in data_dir
        return {}
    records = Records.open(node.data_dir)
    keys = {c.key.digest: c.key for c in found if c.key is not None}
    return {digest: record for digest, key in keys.items() if (record := records.find(key)) is not None}


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
