"""What is to be imported, and what became of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dicom_node.errors import ModelError


class Task(StrEnum):
    """Which answer a network gives; chooses the steps and outputs that the draft begins with."""

    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"
    DETECTION = "detection"
    REGRESSION = "regression"
    PARAMETRIC_MAP = "parametric-map"


class ImportFailedError(ModelError):
    """A source cannot be made into a bundle."""

    code = "model-import"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What an operator asks for.

    Attributes:
        source: File or folder.
        name: Of the model; empty takes the source's.
        task: Needed for network files, which do not say what they answer.
        trusted: Files that run code when they are loaded may be loaded.
    """

    source: Path
    name: str = ""
    version: str = "0.1"
    task: Task | None = None
    trusted: bool = False

    @property
    def model_name(self) -> str:
        """The name as given, or the source's in the form of a model's.

        Raises:
            ImportFailedError: nothing of the source's name can stand in a model's.
        """
        stem = self.source.name.split(".")[0] if self.source.is_file() else self.source.name
        name = self.name or re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:64]
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,63}", name):
            raise ImportFailedError(f"{name!r} is no name of a model", hint="give --name: 2 to 64 lower case letters, digits and hyphens")
        return name

    def demand_task(self) -> Task:
        """The task.

        Raises:
            ImportFailedError: none was given.
        """
        if self.task is None:
            tasks = ", ".join(Task)
            raise ImportFailedError(f"{self.source.name}: a network file does not say what it answers", hint=f"give --task: {tasks}")
        return self.task


@dataclass(frozen=True, slots=True)
class Draft:
    """A bundle that is written but not in place.

    Attributes:
        notes: What was found, done and could not be known, a line each.
    """

    folder: Path
    name: str
    notes: tuple[str, ...]
