"""What every model is to the worker: three steps, of which only the middle one needs the device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import ClassVar, final

from dicom_node.domain.frames import Images
from dicom_node.domain.inference_trace import TracedStep
from dicom_node.domain.instances import Attributes
from dicom_node.domain.results import InferenceResult
from dicom_node.inference.session import Tensors


@dataclass(frozen=True, slots=True, eq=False)
class ModelInput:
    """What one input of a model got.

    Attributes:
        images: Not to be modified.
        attributes: Header of the first instance, by keyword.
        files: The Part 10 files that the images came from, for programs that want them; empty if they came otherwise.
    """

    images: Images
    attributes: Attributes
    files: tuple[Path, ...] = ()


Inputs = Mapping[str, ModelInput]
"""By the name of the input in model.yaml; the first is the one that results refer to."""


@dataclass(slots=True)
class StepRecorder:
    """Collects what a run did, in order. One per run; not shared between threads.

    Attributes:
        on_progress: Told what share of the network's work is done, 0 to 1.
        output_file: Where a program that the run starts has its output kept; None: wherever.
    """

    steps: list[TracedStep] = field(default_factory=list)
    on_progress: Callable[[float], None] | None = None
    output_file: Path | None = None

    @contextmanager
    def step(self, name: str, *parameters: str) -> Iterator[None]:
        """Time one step and note it, also when it fails."""
        begin = perf_counter()
        try:
            yield
        finally:
            self.steps.append(TracedStep(name, parameters, perf_counter() - begin))

    def progress(self, done: int, of: int) -> None:
        """Say how many of the network's runs are done, for example patches; cheap enough to say it after each."""
        if self.on_progress is not None and of > 0:
            self.on_progress(done / of)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Inputs made ready for the network.

    Attributes:
        tensors: What the network gets, by input name; owned by the run, may be reused as memory once `infer` has returned.
        memo: What `conclude` needs to find the way back to the source grid; the model's own type.
    """

    inputs: Inputs
    tensors: Tensors
    memo: object
    recorder: StepRecorder


class Model(ABC):
    """A model that is loaded. One thread at a time calls `infer`; `prepare` and `conclude` of other runs may go on meanwhile.

    Attributes:
        across_jobs: Runs of how many jobs one `infer` may take, their tensors joined along the first axis; outputs must then be as long
            along theirs.
    """

    across_jobs: ClassVar[int] = 1

    @abstractmethod
    def prepare(self, inputs: Inputs, recorder: StepRecorder) -> Prepared:
        """Bring the inputs into the network's form; no engine is used.

        Raises:
            ModelInputError: the inputs cannot be analysed, with the reason for the clinician.
        """

    @abstractmethod
    def infer(self, prepared: Prepared) -> Tensors:
        """Run the network; new memory.

        Raises:
            ModelError: the engine failed.
        """

    @abstractmethod
    def conclude(self, prepared: Prepared, outputs: Tensors, now: datetime) -> InferenceResult:
        """Turn the network's outputs into findings on the source grid.

        Args:
            prepared: As `prepare` gave it.
            outputs: As `infer` gave it.
            now: When the analysis began, UTC.

        Raises:
            ModelInputError: what was found cannot be an analysis of such images, for example no lungs in a chest CT.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the engine; may be called again."""

    def shrink(self) -> bool:
        """Take less memory in one call of the network from now on, after memory ran out; says whether that is possible."""
        return False

    @final
    def run(self, inputs: Inputs, now: datetime, recorder: StepRecorder | None = None) -> InferenceResult:
        """Do all three steps.

        Raises:
            ModelInputError: the inputs cannot be analysed, with the reason.
            ModelError: the engine failed.
        """
        prepared = self.prepare(inputs, recorder or StepRecorder())
        with prepared.recorder.step("infer"):
            outputs = self.infer(prepared)
        return self.conclude(prepared, outputs, now)
