from __future__ import annotations

import pytest

from dicom_node.inference import ModelBundle
from dicom_node.inference.engines.probe import CudaDevice
from dicom_node.pipeline.working.placement import Placement, number_of, worker_count
from tests.unit.inference.steps.bundles import LUNG, ONE, write_bundle
from tests.unit.inference.steps.networks import mean_intensity

SMALL, LARGE = (CudaDevice(n, name, gib << 30, (8, 9), "13.0") for n, (name, gib) in enumerate((("Small", 8), ("Large", 24))))
LEVEL = {"id": "level", "label": "Level", "concept": LUNG, "unit": ONE, "of": "level"}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelBundle]:
    folder = tmp_path_factory.mktemp("models")
    return {
        size: write_bundle(
            folder / size,
            mean_intensity(),
            {"name": f"m-{size.lower()}", "outputs": {"measurements": [LEVEL]}, "resources": {"device_memory": size}},
        )
        for size in ("2GiB", "16GiB", "40GiB")
    }


def left(place: Placement, bundles: dict[str, ModelBundle]) -> set[str]:
    digests = place.left_to_others(bundles.values())
    return {size for size, bundle in bundles.items() if bundle.digest in digests}


@pytest.mark.parametrize(("configured", "gpus", "workers"), [(0, 0, 1), (0, 1, 1), (0, 4, 4), (3, 0, 3), (1, 4, 1)])
def test_there_is_a_worker_a_gpu_unless_a_number_is_configured(configured: int, gpus: int, workers: int) -> None:
    assert worker_count(configured, gpus) == workers


def test_each_worker_has_a_gpu_of_its_own_and_those_beyond_share() -> None:
    assert [Placement(n, 2, (SMALL, LARGE)).device for n in range(2)] == ["cuda:0", "cuda:1"]
    assert [Placement(n, 3, (SMALL, LARGE)).device for n in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    alone, shared = Placement(0, 2, (SMALL, LARGE)), Placement(0, 3, (SMALL, LARGE))
    assert alone.memory_bytes == 2 * shared.memory_bytes == int(0.9 * SMALL.memory_bytes)
    assert (Placement().device, Placement().memory_bytes, Placement().gpu) == ("auto", 0, None)


def test_model_goes_to_the_worker_whose_gpu_has_room_for_it(bundles: dict[str, ModelBundle]) -> None:
    small, large = (Placement(n, 2, (SMALL, LARGE)) for n in range(2))
    assert left(small, bundles) == {"16GiB"}  # no GPU has room for 40 GiB: that one is nobody's alone
    assert left(large, bundles) == set()
    assert left(Placement(), bundles) == set()


def test_model_that_no_gpu_has_room_for_is_told_so(bundles: dict[str, ModelBundle]) -> None:
    small = Placement(0, 2, (SMALL, LARGE))
    assert small.too_small_for(bundles["2GiB"]) == Placement().too_small_for(bundles["40GiB"]) == ""
    assert small.too_small_for(bundles["40GiB"]) == "it needs 40 GiB of device memory, 7.2 GiB of Small are this worker's"


@pytest.mark.parametrize(("name", "number"), [("worker-0", 0), ("worker-12", 12), ("by-hand", 0), ("w", 0)])
def test_number_of_a_worker_is_in_its_name(name: str, number: int) -> None:
    assert number_of(name) == number
