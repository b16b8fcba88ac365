"""What a destination gets of a run's results, by the names that results on record have."""

from __future__ import annotations

from dicom_node.config import Configuration
from dicom_node.sr_writer import wanted_variants
from dicom_node.sr_writer.messages import form_for
from dicom_node.storage.deliveries import Wanted


def wanted_by(configuration: Configuration, destination: str) -> Wanted | None:
    """Return the variants of a destination by kind, of objects or of its message; None if no destination has that name."""
    form = form_for(configuration.destinations.get(destination))
    if form is not None:
        return {form.kind: form.variant}
    profile = configuration.profile_of(destination)
    return None if profile is None else wanted_variants(profile)
