"""Faults of configuration files, each with its place."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        file: The file as the operator named it.
        line: From 1.
        path: Where in the file, for example `peers[0].ae_title`.
        hint: What to do; may be empty.
    """

    file: str
    line: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " + (f"{self.path}: " if self.path else "")
        return place + self.message + (f" ({self.hint})" if self.hint else "")


class ConfigurationFaults(ConfigError):  # noqa: N818 - it is the list that names it
    """Every fault found in one reading of the configuration."""

    code = "config-faults"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda f: (f.file, f.line, f.path)))
        super().__init__("\n".join(str(f) for f in self.faults))


def known(name: str, names: Sequence[str]) -> str:
    """Word the hint for a name that does not exist: the nearest one, or all."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else "known: " + (", ".join(names) or "none")
