from __future__ import annotations

import json
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.errors import BuildCancelledError, EngineUnavailableError, ModelError
from dicom_node.inference.engines import build_engine
from dicom_node.inference.engines.build_engine import EngineMaker, build_state
from dicom_node.inference.engines.build_state import BuildState, BuildStateWriter, BuildStatus
from dicom_node.inference.engines.cache import EngineCache
from dicom_node.inference.engines.probe import CudaDevice
from dicom_node.inference.engines.signing import KEY_FILE
from dicom_node.inference.engines.tensorrt_build import BuiltPlan
from dicom_node.inference.engines.tensorrt_library import Flavour, TensorRt
from dicom_node.inference.network import BuildProgress, Network, Precision, SessionOptions, ShapeRange
from tests.networks import volume_net

KEY = "a" * 64
PLAN = b"plan " * 200


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines", limit_bytes=1 << 20)


def test_engine_comes_back_as_it_was_kept(cache: EngineCache, tmp_path: Path) -> None:
    assert cache.find(KEY) is None
    cache.store(KEY, PLAN, {"seconds": 1.5})
    found = EngineCache(tmp_path / "engines", limit_bytes=1 << 20).find(KEY)
    assert found is not None
    assert (found.plan, found.record) == (PLAN, {"seconds": 1.5})


@pytest.mark.parametrize("victim", ["plan", "plan.hmac", "record.json", "record.hmac"])
@pytest.mark.parametrize("harm", ["alter", "remove", "empty", "binary"])
def test_altered_or_unsigned_engine_is_never_given_out(cache: EngineCache, tmp_path: Path, victim: str, harm: str) -> None:
    cache.store(KEY, PLAN, {"gate": "passed"})
    file = tmp_path / "engines" / "entries" / KEY / victim
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    {
        "alter": lambda: file.write_bytes(content),
        "remove": file.unlink,
        "empty": lambda: file.write_bytes(b""),
        "binary": lambda: file.write_bytes(b"\xff\xfe"),
    }[harm]()
    assert cache.find(KEY) is None
    assert not file.parent.exists()


def test_engine_under_another_name_is_not_taken(cache: EngineCache, tmp_path: Path) -> None:
    cache.store(KEY, PLAN, {})
    (tmp_path / "engines" / "entries" / KEY).rename(tmp_path / "engines" / "entries" / ("b" * 64))
    assert cache.find("b" * 64) is None


def test_engine_signed_with_another_key_is_not_taken(cache: EngineCache, tmp_path: Path) -> None:
    cache.store(KEY, PLAN, {})
    (tmp_path / "engines" / KEY_FILE).unlink()
    assert EngineCache(tmp_path / "engines", limit_bytes=1 << 20).find(KEY) is None


def test_key_is_for_the_nodes_user_alone(cache: EngineCache, tmp_path: Path) -> None:
    key = tmp_path / "engines" / KEY_FILE
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) == 32
    key.chmod(0o640)
    with pytest.raises(ModelError, match="mode 640"):
        EngineCache(tmp_path / "engines", limit_bytes=1)
    key.chmod(0o600)
    key.write_bytes(b"short")
    with pytest.raises(ModelError, match="5 bytes, a signing key has 32"):
        EngineCache(tmp_path / "engines", limit_bytes=1)


def test_processes_that_begin_at_once_agree_on_one_key(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def opened(_: int) -> bytes:
        start.wait(10)
        EngineCache(tmp_path / "engines", limit_bytes=1)
        return (tmp_path / "engines" / KEY_FILE).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(opened, range(8)))) == 1
    assert not list((tmp_path / "engines").glob(".signing*"))


def test_least_used_engines_go_first_and_the_new_one_stays(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines", limit_bytes=2500)
    for number, name in enumerate("abc"):
        EngineCache(tmp_path / "engines", limit_bytes=10_000).store(name * 64, PLAN, {})
        os.utime(tmp_path / "engines" / "entries" / (name * 64) / "plan", (number, number))
    assert cache.find("a" * 64) is not None
    cache.store("d" * 64, PLAN, {})
    assert [info.key[0] for info in cache.entries()] == ["a", "d"]
    EngineCache(tmp_path / "engines", limit_bytes=10).store("e" * 64, PLAN, {})
    assert [info.key[0] for info in cache.entries()] == ["e"]


def test_half_written_engine_is_not_seen(cache: EngineCache, tmp_path: Path) -> None:
    (tmp_path / "engines" / "entries" / f".{KEY}.0011").mkdir()
    assert cache.find(KEY) is None
    assert cache.entries() == ()


def test_record_is_amended_and_signed_anew(cache: EngineCache) -> None:
    cache.store(KEY, PLAN, {"seconds": 2})
    cache.amend(KEY, {"gate": {"dice": 0.999}})
    found = cache.find(KEY)
    assert found is not None
    assert found.record == {"seconds": 2, "gate": {"dice": 0.999}}
    with pytest.raises(ModelError, match="no engine"):
        cache.amend("c" * 64, {})


def test_timing_cache_is_signed_too(cache: EngineCache, tmp_path: Path) -> None:
    assert cache.timing_cache("t") == b""
    cache.keep_timing_cache("t", b"measured")
    assert cache.timing_cache("t") == b"measured"
    (tmp_path / "engines" / "timing" / "t").write_bytes(b"altered")
    assert cache.timing_cache("t") == b""


def test_second_builder_waits_and_can_be_cancelled(cache: EngineCache) -> None:
    with cache.building(KEY, lambda: False):
        assert cache.being_built(KEY)
        with pytest.raises(BuildCancelledError, match="another process"), cache.building(KEY, lambda: True):
            pass
    assert not cache.being_built(KEY)
    with cache.building(KEY, lambda: True):
        pass


def _hold_and_die(folder: Path, held: object) -> None:
    with EngineCache(folder, limit_bytes=1).building(KEY, lambda: False):
        held.set()  # type: ignore[attr-defined]
        os._exit(1)


def test_lock_of_a_builder_that_died_is_free(cache: EngineCache, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold_and_die, args=(tmp_path / "engines", held))
    process.start()
    assert held.wait(60)
    process.join(60)
    assert not cache.being_built(KEY)


# --- the maker ---------------------------------------------------------------------------------------------------------

DEVICE = CudaDevice(0, "NVIDIA L4", 24 << 30, (8, 9), "13.0")
LIBRARY = TensorRt(None, Flavour.RTX, "1.7.1.116")


class CountedBuilder:
    """In the place of TensorRT's builder: tells progress, and is held or cancelled as a test wants."""

    def __init__(self) -> None:
        self.builds = 0
        self.timing_caches: list[bytes] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, _library: object, order: object, *, on_progress: object, is_cancelled: object) -> BuiltPlan:
        self.builds += 1
        self.timing_caches.append(order.timing_cache)  # type: ignore[attr-defined]
        on_progress(BuildProgress("Timing tactics", 0.25))  # type: ignore[operator]
        self.begun.set()
        assert self.go_on.wait(20)
        if is_cancelled():  # type: ignore[operator]
            raise BuildCancelledError("stopped")
        return BuiltPlan(PLAN, ("warning: slow",), 1.0, b"measured")


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> CountedBuilder:
    counted = CountedBuilder()
    monkeypatch.setattr(build_engine, "build_plan", counted)
    return counted


@pytest.fixture
def maker(tmp_path: Path) -> EngineMaker:
    path = tmp_path / "network.onnx"
    path.write_bytes(volume_net().SerializeToString())
    profiles = {"x": ShapeRange((1, 1, 8, 8, 8), (1, 1, 8, 8, 8), (4, 1, 8, 8, 8))}
    options = SessionOptions(engines_dir=tmp_path / "engines", profiles=profiles)
    return EngineMaker(LIBRARY, DEVICE, (Network(path), Precision.FP16, options))


def test_second_session_finds_the_engine_built(maker: EngineMaker, builder: CountedBuilder, tmp_path: Path) -> None:
    first, second = maker.make(), maker.make()
    assert builder.builds == 1
    assert (first.plan, first.key) == (second.plan, second.key)
    assert first.notes == second.notes == ("fp16: operators that stay fp32: InstanceNormalization 1, Softmax 1", "warning: slow")
    record = json.loads((tmp_path / "engines" / "entries" / first.key / "record.json").read_text())
    assert record["parts"]["gpu"] == "NVIDIA L4"
    assert record["plan_bytes"] == len(PLAN)
    assert build_state(maker.run) == BuildState(BuildStatus.DONE, "Timing tactics", 1.0, "", first.key)


def test_altered_engine_is_built_anew(maker: EngineMaker, builder: CountedBuilder, tmp_path: Path) -> None:
    key = maker.make().key
    (tmp_path / "engines" / "entries" / key / "plan").write_bytes(b"something else")
    assert maker.make().plan == PLAN
    assert builder.builds == 2
    assert builder.timing_caches == [b"", b"measured"]


def test_everything_that_an_engine_depends_on_is_in_its_key(maker: EngineMaker, builder: CountedBuilder, tmp_path: Path) -> None:
    network, precision, options = maker.run
    other = tmp_path / "other.onnx"
    other.write_bytes(volume_net(seed=9).SerializeToString())
    larger = {"x": ShapeRange((1, 1, 8, 8, 8), (1, 1, 8, 8, 8), (8, 1, 8, 8, 8))}
    makers = [
        maker,
        replace(maker, run=(Network(other), precision, options)),
        replace(maker, run=(network, Precision.FP32, options)),
        replace(maker, run=(network, precision, replace(options, keep_fp32=("Softmax",)))),
        replace(maker, run=(network, precision, replace(options, repairs=("instance-norm-by-axis",)))),
        replace(maker, run=(network, precision, replace(options, profiles=larger))),
        replace(maker, run=(network, precision, replace(options, workspace_bytes=1 << 20))),
        replace(maker, library=replace(LIBRARY, version="1.6.0")),
        replace(maker, library=replace(LIBRARY, flavour=Flavour.FULL)),
        replace(maker, device=None),
        replace(maker, device=replace(DEVICE, name="NVIDIA L40S")),
        replace(maker, device=replace(DEVICE, driver="13.1")),
        replace(maker, device=replace(DEVICE, compute_capability=(9, 0))),
    ]
    assert len({each.make().key for each in makers}) == len(makers)
    assert builder.builds == len(makers)
    same = replace(maker, run=(network, precision, replace(options, threads=4, device="cuda:1")), device=replace(DEVICE, index=1))
    assert same.make().key == maker.make().key


def test_one_of_two_sessions_builds_and_both_get_the_engine(maker: EngineMaker, builder: CountedBuilder) -> None:
    builder.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(maker.make) for _ in range(2)]
        assert builder.begun.wait(20)
        state = build_state(maker.run)
        assert state is not None
        assert (state.status, state.phase, state.fraction) == (BuildStatus.BUILDING, "Preparing the network", 0.0)
        builder.go_on.set()
        assert [each.result(20).plan for each in both] == [PLAN, PLAN]
    assert builder.builds == 1


def test_cancelled_build_leaves_no_engine_and_says_so(maker: EngineMaker, builder: CountedBuilder, tmp_path: Path) -> None:
    with pytest.raises(BuildCancelledError):
        replace(maker, is_cancelled=lambda: True).make()
    state = build_state(maker.run)
    assert state is not None
    assert state.status is BuildStatus.CANCELLED
    assert list((tmp_path / "engines" / "entries").iterdir()) == []
    assert maker.make().plan == PLAN


def test_state_of_a_builder_that_vanished_is_failed(maker: EngineMaker, builder: CountedBuilder, tmp_path: Path) -> None:
    assert build_state(maker.run) is None
    key = maker.make().key
    [path] = (tmp_path / "engines" / "states").iterdir()
    BuildStateWriter(path, key).progress(BuildProgress("Timing tactics", 0.5))
    state = build_state(maker.run)
    assert state is not None
    assert (state.status, state.message) == (BuildStatus.FAILED, "the process that built it ended without a word")


def test_without_a_folder_every_session_builds(maker: EngineMaker, builder: CountedBuilder) -> None:
    network, precision, options = maker.run
    bare = replace(maker, run=(network, precision, replace(options, engines_dir=None, on_progress=lambda _: None)))
    assert bare.make().plan == bare.make().plan == PLAN
    assert builder.builds == 2
    assert build_state(bare.run) is None


def test_full_tensorrt_without_a_gpu_is_not_tried(maker: EngineMaker, builder: CountedBuilder) -> None:
    with pytest.raises(EngineUnavailableError, match="on a GPU only"):
        replace(maker, device=None, library=replace(LIBRARY, flavour=Flavour.FULL)).make()
    assert builder.builds == 0
