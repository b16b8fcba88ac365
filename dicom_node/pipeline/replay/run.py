"""Deciding anew on the studies of a window of time, in several processes."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing import get_context
from typing import TypeAlias

from dicom_node.config.rules_schema import RulesFile
from dicom_node.domain.routing import Routing
from dicom_node.domain.rules import Rule
from dicom_node.pipeline.replay.compare import Tally
from dicom_node.routing import RuleSet, StudyView, decisions
from dicom_node.storage import Database, study_headers
from dicom_node.storage.study_headers import DecidedThen, KeptStudy

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of studies that are done since the last call."""

_CHUNK = 500
_SELDOM = 100_000
"""Containers made between two collections of a worker process."""
_WORTH_A_PROCESS = 4 * _CHUNK


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What to replay.

    Attributes:
        database: SQLAlchemy URL.
        active: The rules in force.
        active_digest: Their digest as decisions record it.
        draft: The other rules.
        since: Studies whose last revision was closed since then.
        ignore_schedule: Rules count as in force all the time.
        most_examples: For each kind of change.
    """

    database: str
    active: RulesFile
    active_digest: str
    draft: RulesFile
    since: datetime
    ignore_schedule: bool = False
    most_examples: int = 5


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it.

    Attributes:
        not_kept: Studies of the window that closed before the index kept packed headers; they were not decided on.
    """

    tally: Tally
    not_kept: int


class _Replayer:
    """The two rule sets, ready, and an open database."""

    def __init__(self, request: ReplayRequest) -> None:
        self._request = request
        self._database = Database(request.database)
        active, draft = (replayable(file, ignore_schedule=request.ignore_schedule) for file in (request.active, request.draft))
        self._active = RuleSet(active)
        self._kept = kept_decisions(active, draft)
        self._draft = RuleSet([rule for rule in draft if rule.name not in self._kept], beside=self._active)
        self._following = {rule.name for rule in active if rule.after is not None}

    def tally(self, chunk: tuple[int, int]) -> Tally:
        """Decide on the studies of a range of ids."""
        tally = Tally(self._request.most_examples)
        with self._database.reading() as session:
            then = study_headers.decided_then(session, self._request.since, *chunk)
            for kept in study_headers.kept_studies(session, self._request.since, *chunk):
                before = self._add(tally, kept)
                self._add_then(tally, kept.study_instance_uid, before, then[kept.study_id])
        return tally

    def close(self) -> None:
        self._database.close()

    def _add(self, tally: Tally, kept: KeptStudy) -> Routing:
        view = StudyView(kept.columns())
        before, changed = decisions(self._active, view), decisions(self._draft, view)
        same = (decision for decision in before.decisions if decision.rule in self._kept)
        after = replace(changed, decisions=(*same, *changed.decisions))
        tally.add(kept.study_instance_uid, before, after)
        return before

    def _add_then(self, tally: Tally, uid: str, before: Routing, then: DecidedThen) -> None:
        runs = {decision.rule for decision in before.decisions}
        same = runs == then.rules_run - self._following and before.held_by == then.held_by
        tally.add_then(uid, same_rules=then.rules_digest == self._request.active_digest, same_runs=same)


def run_replay(request: ReplayRequest, progress: Callable[[int], Progress], processes: int | None = None) -> Replayed:
    """Decide on every study of the window by both rule sets, and count what differs.

    Args:
        request: What to replay.
        progress: Called once with the number of studies; returns what is told of each step.
        processes: How many work; None: one for each core that this process may use.
    """
    database = Database(request.database)
    with database.reading() as session:
        ids = study_headers.kept_ids(session, request.since)
        not_kept = study_headers.count_not_kept(session, request.since)
    database.close()
    step = progress(len(ids))
    chunks = [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)][::-1]  # newest first, as the examples
    total = Tally(request.most_examples)
    for tally, chunk in zip(_tallies(request, chunks, processes), chunks, strict=True):
        total.merge(tally)
        step(len(chunk))
    return Replayed(total, not_kept)


def replayable(file: RulesFile, *, ignore_schedule: bool) -> tuple[Rule, ...]:
    """Return rules as a replay asks them: priors, which it does not look for, count as found."""
    rules = []
    for rule in (section.to_rule() for section in file.rules):
        own = tuple(slot for slot in rule.inputs if slot.prior is None)
        asked = replace(rule, inputs=own or rule.inputs)
        rules.append(replace(asked, active_from=None, active_until=None) if ignore_schedule else asked)
    return tuple(rules)


def kept_decisions(active: Sequence[Rule], draft: Sequence[Rule]) -> frozenset[str]:
    """Name the rules that need not be asked twice: both files have them alike, and hold the same studies back.

    Every rule decides by itself, but for hold rules; those are always asked.
    """
    if [rule for rule in active if rule.hold] != [rule for rule in draft if rule.hold]:
        return frozenset()
    before = {rule.name: rule for rule in active}
    return frozenset(rule.name for rule in draft if not rule.hold and before.get(rule.name) == rule)


def _tallies(request: ReplayRequest, chunks: Sequence[Sequence[int]], processes: int | None) -> Iterator[Tally]:
    ranges = [(chunk[0], chunk[-1]) for chunk in chunks]
    workers = min(processes or len(os.sched_getaffinity(0)), 1 + sum(map(len, chunks)) // _WORTH_A_PROCESS)
    if workers <= 1:
        replayer = _Replayer(request)
        yield from map(replayer.tally, ranges)
        replayer.close()
        return
    # a fresh interpreter: nothing of this one's threads and open files is carried over
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (request,)) as pool:
        yield from pool.map(_tally, ranges)


_replayer: list[_Replayer] = []
"""Of a worker process; at most one."""


def _begin(request: ReplayRequest) -> None:
    _replayer.append(_Replayer(request))
    gc.collect()
    gc.freeze()  # what stays for ever is not looked through again, and what comes has no cycles: a tenth of the time
    gc.set_threshold(_SELDOM, 50, 50)


def _tally(chunk: tuple[int, int]) -> Tally:
    return _replayer[0].tally(chunk)
