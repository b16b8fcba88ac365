"""Schema of `results` in node.yaml: what stays on disk of a job."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from dicom_node.config.section import Section
from dicom_node.config.values import Duration, Size

_SHORTEST = timedelta(hours=1)


class ResultsSection(Section):
    """Results on disk."""

    keep: Annotated[Duration, Field(ge=_SHORTEST)] | None = Field(
        None, description="How long results stay after their job ended and all was delivered, at least 1h; absent: for ever."
    )
    data_limit: Size = Field(
        256 << 20, description="Masks and maps that take more are not kept for objects in further forms; 0 is no limit."
    )
