"""Catalogues of texts, a file a language, and faults about languages that have none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources

from dicom_node.config.faults import Fault, known
from dicom_node.config.yaml_lines import YamlFile


@cache
def catalogues(*folder: str) -> tuple[str, ...]:
    """List the languages that a folder of the package has a catalogue of."""
    files = resources.files("dicom_node").joinpath(*folder).iterdir()
    return tuple(sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml")))


def check_language(language: str, place: Sequence[str | int], languages: Sequence[str], source: YamlFile) -> Iterator[Fault]:
    """Find a language without a catalogue."""
    if language not in languages:
        yield source.fault(list(place), f"no catalogue of language {language!r}", known(language, languages))
