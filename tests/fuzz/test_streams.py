"""Streams from a grammar, their parts changed, moved and cut: what the receiver makes of them holds whatever they say."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutate_stream
from tests.fuzz.receiving import CONTEXTS, Outcome, Reception, check, negotiate
from tests.fuzz.seeds import seeds
from tests.integration.raw_peer import ABORTING, CT, RELEASE, associate_request, data_set, echo_command, element, p_data, pdv, store_command

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
STEPS = st.sampled_from([1, 2, 7, 64, 1 << 16])
UIDS = st.sampled_from([b"1.2.3.4.5", b"1.2", b"../../x", b"1.2\0.3", b"1." * 35, b"1.2.\xc3\xa9", b"", b"9" * 64])


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.fixture
def reception(tmp_path: Path, receive_path: str) -> Reception:
    return Reception(tmp_path, accelerated=receive_path == "accelerated")


@st.composite
def commands(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from([echo_command(), b"", element(0x0100, b"\1\0"), bytes(70_000)]))
    extra = draw(st.sampled_from([b"", element(0x5555, b"x"), struct.pack("<HHI", 9, 1, 3) + b"abc", element(0x0100, b"\x20\0"), b"\0"]))
    field = struct.pack("<H", draw(st.sampled_from([1, 1, 1, 1, 0x20, 0x30, 0x8001, 0x7777])))
    command = store_command(draw(UIDS), draw(st.integers(0, 0xFFFF)), data_set=draw(st.booleans()) or draw(st.booleans()), extra=extra)
    return command.replace(b"\0\1\2\0\0\0\1\0", b"\0\1\2\0\0\0" + field)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    content = data_set(draw(UIDS) or b"1", draw(st.sampled_from([0, 10, 5000])), study=draw(UIDS), series=draw(UIDS))
    kind = draw(st.integers(0, 4))
    if kind == 0:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflate.compress(content) + deflate.flush()
    if kind == 1:
        at = draw(st.integers(0, len(content)))
        return content[:at] + draw(st.binary(max_size=40)) + content[at:]
    return content


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A command and its data set in fragments; contexts and control headers mostly as they should be."""
    context = draw(st.sampled_from([1, 1, 1, *CONTEXTS, 0, 11]))
    pdvs = _fragments(draw(commands()), context, command=True, cuts=draw(st.lists(st.integers(0, 200), max_size=3)))
    if draw(st.integers(0, 6)):
        pdvs += _fragments(draw(contents()), context, command=False, cuts=draw(st.lists(st.integers(0, 200), max_size=5)))
    if draw(st.booleans()):
        return p_data(*pdvs)
    return b"".join(p_data(one) for one in pdvs)


def _fragments(content: bytes, context: int, *, command: bool, cuts: list[int]) -> list[bytes]:
    ends = [*sorted(min(c, len(content)) for c in cuts), len(content)]
    starts = [0, *ends[:-1]]
    return [
        pdv(content[a:b], context=context, command=command, last=n == len(ends) - 1)
        for n, (a, b) in enumerate(zip(starts, ends, strict=True))
    ]


STREAMS = st.lists(st.one_of(messages(), messages(), st.sampled_from([RELEASE, ABORTING, b"\x42\0\0\0\0\0"])), max_size=4).map(b"".join)


def _flip(part: bytes, chance: random.Random) -> bytes:
    if not part:
        return bytes(chance.randrange(4))
    at = chance.randrange(len(part))
    return part[:at] + bytes(chance.randrange(256) for _ in range(chance.randrange(4))) + part[at + chance.randrange(4) :]


@SETTINGS
@given(stream=STREAMS, step=STEPS)
def test_acknowledged_is_kept_bit_for_bit_and_nothing_else_is(reception: Reception, stream: bytes, step: int) -> None:
    check(reception, stream, step)


@SETTINGS
@given(
    stream=st.one_of(STREAMS, st.sampled_from([s for _, s in seeds()])), seed=st.integers(0, 1 << 32), times=st.integers(1, 4), step=STEPS
)
def test_changed_streams_keep_the_same_law(reception: Reception, stream: bytes, seed: int, times: int, step: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        stream = mutate_stream(stream, lambda part: _flip(part, chance), chance)
    check(reception, stream, step)


@SETTINGS
@given(stream=STREAMS)
def test_how_a_stream_is_cut_changes_nothing(reception: Reception, stream: bytes) -> None:
    def law(outcome: Outcome) -> tuple[object, ...]:
        return str(outcome.error), outcome.statuses, outcome.kept

    whole = reception.receive(stream, 1 << 20)
    assert law(reception.receive(stream, 3))[1:] == law(whole)[1:] or whole.error is not None
    assert (reception.receive(stream, 1).error is None) == (whole.error is None)


@st.composite
def plain_messages(draw: st.DrawFn) -> bytes:
    """What the accelerator serves: a message whose parts agree, its header in the first fragment."""
    uid, context = draw(st.sampled_from([b"1.2.3.4.5", b"1.2"])), draw(st.sampled_from([1, 1, 3]))
    content = data_set(uid, draw(st.sampled_from([10, 300, 5000])))
    pdvs = _fragments(store_command(uid, draw(st.integers(0, 9))), context, command=True, cuts=[])
    pdvs += _fragments(content, context, command=False, cuts=draw(st.lists(st.integers(130, 700), max_size=4)))
    return p_data(*pdvs) if draw(st.booleans()) else b"".join(p_data(one) for one in pdvs)


@st.composite
def changed_streams(draw: st.DrawFn) -> bytes:
    stream = b"".join(draw(st.lists(st.one_of(plain_messages(), plain_messages(), messages(), st.just(RELEASE)), min_size=1, max_size=4)))
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    for _ in range(draw(st.integers(0, 3))):
        stream = mutate_stream(stream, lambda part: _flip(part, chance), chance)
    return stream


@SETTINGS
@given(stream=changed_streams(), cuts=st.lists(st.integers(1, 400), max_size=2))
@pytest.mark.parametrize("receive_path", ["accelerated"], indirect=True)
def test_both_paths_keep_and_answer_the_same(reception: Reception, tmp_path: Path, stream: bytes, cuts: list[int]) -> None:
    """Compared with the Python path fed a byte at a time: of a larger piece it drops what comes before a contradiction."""
    by_hand = Reception(tmp_path / "by-hand").receive(stream, 1)
    for step in [*cuts, 1 << 16]:
        found = reception.receive(stream, step)
        assert (found.error is None) == (by_hand.error is None)
        if found.error is None:
            assert (found.responses, found.files) == (by_hand.responses, by_hand.files)
        else:
            assert found.responses == by_hand.responses[: len(found.responses)]
            assert found.files == by_hand.files[: len(found.files)]


@SETTINGS
@given(at=st.integers(6, 400), junk=st.binary(min_size=1, max_size=6))
def test_changed_association_requests_never_surprise_the_negotiation(at: int, junk: bytes) -> None:
    request = associate_request(contexts=[(1, CT, ["1.2.840.10008.1.2", "1.2.3"]), (3, "1.2.3.4", ["1.2.840.10008.1.2.1"])])
    at = min(at, len(request) - 1)
    negotiate(request[:at] + junk + request[at + len(junk) :])


@pytest.mark.parametrize(("name", "stream"), list(seeds()))
@pytest.mark.parametrize("step", [1, 7, 1 << 16])
def test_seeds_of_the_fuzzer_hold(reception: Reception, name: str, stream: bytes, step: int) -> None:
    if stream[0] == 1:
        negotiate(stream)
    else:
        check(reception, stream, step)
