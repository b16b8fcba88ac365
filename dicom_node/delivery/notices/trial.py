"""Trying a site's templates before they are needed."""

from __future__ import annotations

from pathlib import Path

from dicom_node.delivery.notices.message import Surroundings
from dicom_node.delivery.notices.samples import all_samples
from dicom_node.delivery.notices.wording import TemplateFaultError, Templates, languages


def faults_of(folder: Path) -> list[tuple[str, int, str, str]]:
    """Write made-up notices of every kind with a site's templates.

    Args:
        folder: Where they lie.

    Returns:
        File, line, what is wrong and what to do, once for each place.
    """
    templates = Templates(folder)
    found = {(str(path), 1): ("no notice uses it", hint) for path, hint in templates.unknown_files()}
    for base in ("", "https://console.example.org"):
        for message in all_samples(Surroundings("AINODE", base), languages()):
            try:
                templates.write(message)
            except TemplateFaultError as error:
                found.setdefault((error.file, error.line), (str(error), error.hint))
    return [(file, line, message, hint) for (file, line), (message, hint) in found.items()]
