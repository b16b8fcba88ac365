"""What every back end does alike. A module that collects these tests gives the fixture `opener`; GPU hosts run them too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import BuildCancelledError, ModelError
from dicom_node.inference.backends import Network, NetworkFormat, SessionOptions, ShapeRange, open_session
from dicom_node.inference.session import Session
from tests.networks import EDGES, Arrays, Case


@dataclass(frozen=True)
class Opener:
    """Opens a case on one back end. `within` is the largest difference to numpy that single precision explains there."""

    backend: str
    form: NetworkFormat = NetworkFormat.ONNX
    options: SessionOptions = field(default_factory=lambda: SessionOptions(threads=1))
    precision: str = "fp32"
    within: float = 1e-5
    served: Callable[[Path], AbstractContextManager[SessionOptions]] | None = None
    describes_outputs: bool = True

    @contextmanager
    def prepared(self, case: Case, folder: Path) -> Iterator[Callable[[], Session]]:
        """Give a maker of sessions, none of them active."""
        path = case.write(folder, self.form)
        profiles = {name: ShapeRange((1, *a.shape[1:]), a.shape, (8, *a.shape[1:])) for name, a in case.inputs.items()}
        options = replace(self.options, profiles=profiles)
        if self.served is None:
            yield lambda: open_session(self.backend, self.precision, Network(path, self.form), options)
            return
        with self.served(path) as remote:
            yield lambda: open_session(self.backend, self.precision, Network(path, self.form), replace(remote, profiles=profiles))


@pytest.fixture
def make(opener: Opener, tmp_path: Path) -> Iterator[Callable[[], Session]]:
    """A maker of sessions of the usual network."""
    with opener.prepared(EDGES, tmp_path) as make_session:
        yield make_session


@pytest.fixture
def session(make: Callable[[], Session]) -> Iterator[Session]:
    """An active session of the usual network."""
    with make() as active:
        yield active


def assert_expected(outputs: Arrays, inputs: Arrays, opener: Opener) -> None:
    expected = EDGES.expect(inputs)
    assert outputs.keys() == expected.keys()
    assert outputs["y"] == pytest.approx(expected["y"], abs=opener.within)
    assert np.array_equal(outputs["inside"], expected["inside"])


def test_inputs_and_outputs_are_described(session: Session, opener: Opener) -> None:
    assert {n: i.dtype for n, i in session.inputs.items()} == {"x": np.float32, "scale": np.float32}
    assert {n: i.shape for n, i in session.inputs.items()} == {"x": (None, 1, 8, 9), "scale": (None, 3)}
    if not opener.describes_outputs:
        assert session.outputs == {}
        session.warm_up()
    assert {n: i.dtype for n, i in session.outputs.items()} == {"y": np.float32, "inside": np.bool_}
    assert [len(info.shape or ()) for info in session.outputs.values()] == [4, 4]


def test_figures_are_those_of_numpy(session: Session, opener: Opener) -> None:
    assert_expected(dict(session.infer(EDGES.inputs)), EDGES.inputs, opener)


@pytest.mark.parametrize("batch", [1, 5, 8])
def test_any_batch_within_the_profile_runs(session: Session, opener: Opener, batch: int) -> None:
    inputs = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in EDGES.inputs.items()}
    assert_expected(dict(session.infer(inputs)), inputs, opener)


def test_inputs_are_left_alone_and_outputs_are_new_memory(session: Session, opener: Opener) -> None:
    inputs = {name: array.copy() for name, array in EDGES.inputs.items()}
    for array in inputs.values():
        array.flags.writeable = False
    first = session.infer(inputs)
    kept = {name: array.copy() for name, array in first.items()}
    session.infer({name: array[::-1] + np.float32(1) for name, array in inputs.items()})
    for name, array in first.items():
        assert np.array_equal(array, kept[name])
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert not any(np.may_share_memory(array, given) for given in inputs.values())
        array[...] = 0
    assert all(np.array_equal(inputs[name], EDGES.inputs[name]) for name in inputs)
    assert_expected(dict(session.infer(inputs)), inputs, opener)


def test_memory_layout_of_inputs_does_not_matter(session: Session, opener: Opener) -> None:
    turned = {name: np.asfortranarray(array)[::-1] for name, array in EDGES.inputs.items()}
    assert_expected(dict(session.infer(turned)), turned, opener)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": None}, "inputs are"),
        ({"more": np.zeros((1, 1), np.float32)}, "inputs are"),
        ({"x": EDGES.inputs["x"].astype(np.float64)}, "input x is float64"),
        ({"x": EDGES.inputs["x"].astype(">f4")}, "input x is >f4"),
    ],
)
def test_wrong_names_and_types_are_refused_and_the_session_goes_on(
    session: Session, opener: Opener, change: dict[str, np.ndarray | None], words: str
) -> None:
    inputs = {name: array for name, array in {**EDGES.inputs, **change}.items() if array is not None}
    with pytest.raises(ModelError, match=words):
        session.infer(inputs)
    assert_expected(dict(session.infer(EDGES.inputs)), EDGES.inputs, opener)


@pytest.mark.parametrize("shape", [(2, 2, 8, 9), (2, 1, 8), (2, 1, 8, 9, 1)])
def test_wrong_shapes_are_refused_and_the_session_goes_on(session: Session, opener: Opener, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="shape"):
        session.infer({**EDGES.inputs, "x": np.zeros(shape, np.float32)})
    assert_expected(dict(session.infer(EDGES.inputs)), EDGES.inputs, opener)


def test_error_of_the_engine_leaves_the_session_usable(session: Session, opener: Opener) -> None:
    with pytest.raises(ModelError):
        session.infer({"x": EDGES.inputs["x"], "scale": np.zeros((3, 3), np.float32)})
    assert_expected(dict(session.infer(EDGES.inputs)), EDGES.inputs, opener)


def test_lifecycle_is_held(make: Callable[[], Session], opener: Opener) -> None:
    session = make()
    assert session.memory_bytes == 0
    for use in (lambda: session.infer(EDGES.inputs), lambda: session.inputs, lambda: session.outputs, session.warm_up):
        with pytest.raises(ModelError, match="not active"):
            use()
    assert list(session.activate()) == ["x", "scale"]
    with pytest.raises(ModelError, match="active already"):
        session.activate()
    assert session.device
    session.deactivate()
    session.deactivate()
    assert session.memory_bytes == 0
    with pytest.raises(ModelError, match="not active"):
        session.infer(EDGES.inputs)
    with session:
        assert_expected(dict(session.infer(EDGES.inputs)), EDGES.inputs, opener)


def test_warm_up_runs_and_says_how_long(session: Session, opener: Opener) -> None:
    assert session.warm_up() > 0
    assert session.warm_up({"x": (3, 1, 8, 9), "scale": (3, 3)}) > 0
    assert session.memory_bytes > 0 or opener.served is not None


def test_two_sessions_at_once_do_not_disturb_each_other(make: Callable[[], Session], opener: Opener) -> None:
    halves = [{name: array * np.float32(sign) for name, array in EDGES.inputs.items()} for sign in (1, -1)]
    start = threading.Barrier(2)

    def run(inputs: Arrays) -> list[Arrays]:
        with make() as session:
            start.wait(30)
            return [dict(session.infer(inputs)) for _ in range(5)]

    with ThreadPoolExecutor(2) as pool:
        for inputs, answers in zip(halves, pool.map(run, halves), strict=True):
            for outputs in answers:
                assert_expected(outputs, inputs, opener)


def test_session_may_be_called_from_another_thread_than_it_was_activated_in(session: Session, opener: Opener) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert_expected(dict(pool.submit(session.infer, EDGES.inputs).result(30)), EDGES.inputs, opener)


def test_cancelled_session_does_not_start_and_can_be_tried_again(make: Callable[[], Session]) -> None:
    session = make()
    session.cancel()
    with pytest.raises(BuildCancelledError):
        session.activate()
    assert not session.active
    with session:
        assert session.active
