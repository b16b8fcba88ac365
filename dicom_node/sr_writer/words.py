"""Words of reports and pages, by language: catalogues in `languages/`, one file each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import yaml

ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Words:
    """One catalogue.

    Attributes:
        language: RFC 5646 tag, for example `ko`.
        entries: Sentences by key, with names in braces.
    """

    language: str
    entries: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """Return the sentence of a key with its names filled in; an unknown key or name is a defect and raises KeyError."""
        return self.entries[key].format(**values)

    @property
    def name(self) -> str:
        """Name of the language in itself."""
        return self.entries["language"]


def languages() -> tuple[str, ...]:
    """List the languages that have a catalogue, RFC 5646 tags."""
    folder = resources.files("dicom_node.sr_writer").joinpath("languages")
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


@lru_cache(maxsize=8)
def words_of(language: str) -> Words:
    """Load a catalogue.

    Args:
        language: One of `languages()`.
    """
    file = resources.files("dicom_node.sr_writer").joinpath("languages", f"{language}.yaml")
    return Words(language, yaml.safe_load(file.read_text("utf-8")))
