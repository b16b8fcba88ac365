"""Which slices and frames are worth showing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.results import BoxRegion, InferenceResult
from dicom_node.sr_writer.source import Source

PAGES = 5


def chosen_slices(result: InferenceResult, source: Source, pages: int = PAGES) -> list[int]:
    """Pick frames at even steps of what is marked, and the middle of each finding, so that each page shows something.

    Args:
        result: The run's result.
        source: Its frames.
        pages: At most as many for segments, and as many for findings.

    Returns:
        Indices of frames, ascending; of a frame set without marks the first one.
    """
    found = set(_even_steps(marked_pixels(source), pages))
    for finding in result.findings:
        region = finding.region
        if len(found) >= 2 * pages or region is None:
            continue
        if isinstance(region, BoxRegion):
            found.add(sum(region.slice_range) // 2)
        else:
            found.add(source.index_of(region.sop_instance_uid, region.frame_number))
    if not found and source.volume is None and source.frames:
        found = {0}
    return sorted(found)


def marked_pixels(source: Source) -> NDArray[np.int64]:
    """Count the marked pixels of each frame, over all segments; empty if there is no segment."""
    counted: NDArray[np.int64] = np.sum(list(source.marks.values()), axis=0) if source.marks else np.zeros(0, np.int64)
    return counted


def _even_steps(counts: NDArray[np.int64], pages: int) -> list[int]:
    total = np.cumsum(counts)
    if not len(total) or total[-1] == 0:
        return []
    marks = total[-1] * (np.arange(pages) + 0.5) / pages
    return sorted({int(i) for i in np.searchsorted(total, marks)})
