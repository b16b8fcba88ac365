from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dicom_node.domain.volume import Volume
from dicom_node.pipeline.model_host.channel import Channel, ChannelClosed

Ends = tuple[Channel, Channel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    here, there = Channel.pair()
    other = Channel(there)
    yield here, other
    here.close()
    other.close()


def passed(ends: Ends, message: object) -> object:
    sender = threading.Thread(target=ends[0].send, args=(message,))
    sender.start()
    received = ends[1].receive()
    sender.join()
    return received


def mappings() -> int:
    return sum("dicom-node-arrays" in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_values_arrive_with_dtype_order_and_content(ends: Ends) -> None:
    values = np.arange(60_000, dtype=np.float32).reshape(30, 40, 50)
    arrays = [values, np.asfortranarray(values), values[:, ::2], values > 7, values[:2, :2, :2], np.empty((0, 4)), np.int64(3)]
    received = passed(ends, {"arrays": arrays, "text": "x" * 300_000})
    assert isinstance(received, dict)
    assert received["text"] == "x" * 300_000
    for sent, got in zip(arrays, received["arrays"], strict=True):
        assert got.dtype == sent.dtype
        assert np.array_equal(got, sent)
    assert received["arrays"][1].flags.f_contiguous


def test_large_arrays_lie_in_shared_memory_that_goes_with_the_last_of_them(ends: Ends) -> None:
    volume = Volume(np.ones((20, 64, 64), np.float32), np.eye(4), "1.2", ("1.3",) * 20)
    before = mappings()
    received = passed(ends, (volume, np.zeros(100_000)))
    assert isinstance(received, tuple)
    assert mappings() == before + 1
    assert not received[0].values.flags.writeable
    kept = received[0].values[3]
    del received
    gc.collect()
    assert mappings() == before + 1
    assert float(kept.sum()) == 64 * 64
    del kept
    gc.collect()
    assert mappings() == before


def test_no_descriptor_is_left_behind(ends: Ends) -> None:
    passed(ends, np.ones(100_000))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        passed(ends, np.ones(100_000))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_end_of_the_other_process_is_told_from_a_message(ends: Ends) -> None:
    ends[0].close()
    with pytest.raises(ChannelClosed):
        ends[1].receive()
    with pytest.raises(ChannelClosed):
        ends[1].send("anyone there?")
