"""Which models stay loaded, and what becomes of one whose engine is replaced while a run has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import ModelError
from dicom_node.pipeline.model_host import loaded_models as module
from dicom_node.pipeline.model_host.loaded_models import LoadedModels
from dicom_node.pipeline.model_host.messages import Evicted, HostSettings, Loaded, ModelChoice, OpenedWith

GIB = 1 << 30


class FakeModel:
    closed = 0

    def close(self) -> None:
        self.closed += 1


@dataclass(eq=False)
class Opened:
    opened: OpenedWith
    declared_bytes: int
    model: FakeModel = field(default_factory=FakeModel)
    across_jobs: int = 1


@dataclass
class House:
    """`sizes` says what each model takes on its GPU, `another` what `look_again` finds next."""

    folder: Path
    sizes: dict[str, int]
    events: list[Any] = field(default_factory=list)
    another: list[Opened] = field(default_factory=list)
    without: list[Any] = field(default_factory=list)
    place: str = "cuda:0"

    def choice(self, name: str) -> ModelChoice:
        return ModelChoice(name, self.folder, name, "", self.sizes[name])

    def open(self, choice: ModelChoice, _settings: HostSettings, without: Any = None) -> Any:
        self.without.append(without)
        return Opened(OpenedWith("b", "fp32", "GPU", "", "", {}, self.place), self.sizes[choice.name])

    def look(self, _opened: Any) -> Any:
        return self.another.pop() if self.another else None


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    made = House(tmp_path, {"a": 3 * GIB, "b": 3 * GIB, "c": 3 * GIB})
    monkeypatch.setattr(module, "open_choice", made.open)
    monkeypatch.setattr(module, "look_again", made.look)
    return made


def models(house: House, device_bytes: int) -> LoadedModels:
    settings = HostSettings("h", 1, 64 * GIB, house.folder, device="cuda:0", device_memory_bytes=device_bytes)
    return LoadedModels(settings, house.events.append)


def test_models_go_when_the_gpu_has_no_room_for_the_next_one_and_the_least_used_first(house: House) -> None:
    loaded = models(house, 8 * GIB)
    first, second = (loaded.take(house.choice(name)) for name in "ab")
    for opened in (second, first):
        loaded.let_go(opened)
    loaded.load(house.choice("c"))
    assert [e.name for e in house.events if isinstance(e, Evicted)] == ["b"]
    assert (first.model.closed, second.model.closed) == (0, 1)  # type: ignore[attr-defined]


def test_model_that_a_run_has_stays_whatever_the_gpu_has_room_for(house: House) -> None:
    loaded = models(house, 4 * GIB)
    first = loaded.take(house.choice("a"))
    loaded.load(house.choice("b"))
    assert [e for e in house.events if isinstance(e, Evicted)] == []
    loaded.let_go(first)
    loaded.load(house.choice("c"))
    assert {e.name for e in house.events if isinstance(e, Evicted)} == {"a", "b"}


def test_memory_of_the_gpu_is_none_of_the_host_s(house: House) -> None:
    house.place = "cpu"
    loaded = models(house, 1)
    for name in "abc":
        loaded.load(house.choice(name))
    assert [e for e in house.events if isinstance(e, Evicted)] == []
    assert all(e.memory_bytes >= 3 * GIB for e in house.events if isinstance(e, Loaded))


def test_run_under_way_ends_on_the_engine_that_it_has_and_the_next_gets_the_other(house: House) -> None:
    loaded = models(house, 0)
    old = loaded.take(house.choice("a"))
    new = Opened(OpenedWith("other", "fp16", "GPU", "", "record", {}, "cuda:0"), 0)
    house.another.append(new)
    assert loaded.take(house.choice("a")) is new  # type: ignore[comparison-overlap]
    assert old.model.closed == 0, "the run under way has it"  # type: ignore[attr-defined]
    loaded.let_go(old)
    assert old.model.closed == 1  # type: ignore[attr-defined]
    assert new.model.closed == 0
    assert [e.opened.backend for e in house.events if isinstance(e, Loaded)] == ["b", "other"]


def test_new_words_about_the_same_engine_load_nothing(house: House) -> None:
    loaded = models(house, 0)
    old = loaded.take(house.choice("a"))
    again = Opened(OpenedWith("b", "fp32", "GPU", "the other one failed", "", {}, "cuda:0"), 0, old.model)  # type: ignore[arg-type]
    house.another.append(again)
    assert loaded.take(house.choice("a")).opened.fallback == "the other one failed"
    loaded.let_go(old)
    loaded.let_go(again, for_good=True)  # type: ignore[arg-type]
    assert old.model.closed == 1  # type: ignore[attr-defined]
    assert len([e for e in house.events if isinstance(e, Loaded)]) == 1


def test_engine_that_is_gone_is_replaced_for_all_runs_and_closed_when_the_last_has_left(house: House) -> None:
    loaded = models(house, 0)
    first, second = loaded.take(house.choice("a")), loaded.take(house.choice("a"))
    moved = loaded.elsewhere(house.choice("a"), first, "no answer")
    assert list(house.without[-1].values()) == ["no answer"]
    assert loaded.elsewhere(house.choice("a"), second, "no answer") is moved, "the second run finds it loaded"
    assert first.model.closed == 1  # type: ignore[attr-defined]
    assert loaded.take(house.choice("a")) is moved


def test_model_that_cannot_be_loaded_is_told_and_nothing_stays(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise ModelError("no engine may serve")

    monkeypatch.setattr(module, "open_choice", refuse)
    with pytest.raises(ModelError):
        models(house, 0).take(house.choice("a"))
    assert house.events == []
