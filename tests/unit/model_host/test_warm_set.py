from __future__ import annotations

import pytest

from dicom_node.pipeline.model_host.warm_set import WarmModel, choose_to_evict

OLD, MIDDLE, NEW = WarmModel("old", 4, 1.0, in_use=False), WarmModel("middle", 3, 2.0, in_use=False), WarmModel("new", 2, 3.0, in_use=False)
USED = WarmModel("used", 5, 0.0, in_use=True)


@pytest.mark.parametrize(
    ("models", "wanted", "budget", "gone"),
    [
        ([], 5, 10, []),
        ([NEW, OLD], 4, 10, []),
        ([NEW, OLD, MIDDLE], 1, 10, []),
        ([NEW, OLD, MIDDLE], 2, 10, ["old"]),
        ([NEW, OLD, MIDDLE], 6, 10, ["old", "middle"]),
        ([NEW, OLD, MIDDLE], 100, 10, ["old", "middle", "new"]),
        ([USED, NEW], 5, 10, ["new"]),
        ([USED], 9, 10, []),
    ],
)
def test_least_recently_used_go_first_and_no_more_than_needed(models: list[WarmModel], wanted: int, budget: int, gone: list[str]) -> None:
    assert choose_to_evict(models, wanted, budget) == gone
