"""What a routing decision costs: many rules on one large study, and a hospital's rules on study after study.

The bare loop beside it makes the comparisons of the rules instance by instance, without a trace: what a decision costs that groups nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import process_time
from typing import Final

from dicom_node.domain.rules import CompleteWhen, Condition, Equals, Preference, Rule
from dicom_node.domain.rules import InputSlot as Slot
from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance
from dicom_node.routing import RuleSet, decide

ROUNDS: Final = 9
MOST_MS: Final = 50.0
OTHER_ELEMENTS: Final = {f"Element{number}": (f"value {number}",) for number in range(60)}
COMPLETE: Final = CompleteWhen(timedelta(seconds=60), timedelta(minutes=30))


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of CPU time, in ms.

    Attributes:
        first_ms: The first decision of a rule set, with making it ready.
        worst_ms: The slowest of the later ones.
    """

    name: str
    rules: int
    series: int
    instances: int
    runs: int
    first_ms: float
    decision_ms: float
    worst_ms: float
    bare_loop_ms: float

    @property
    def ratio(self) -> float:
        return self.decision_ms / self.bare_loop_ms


def made_study(number: int, series: int, instances: int) -> Study:
    """A CT study of made-up headers: 70 elements an instance, positions 1, 2, 3 ... mm apart in the first, second, third series."""
    return Study(
        f"1.2.{number}",
        1,
        datetime(2024, 1, 2, tzinfo=UTC),
        ClosedBecause.QUIET,
        ("MODALITY",),
        tuple(_series(f"1.2.{number}.{s}", s, instances) for s in range(1, series + 1)),
        ("AINODE",),
    )


def _series(uid: str, number: int, instances: int) -> Series:
    shared = OTHER_ELEMENTS | {
        "Modality": ("CT",),
        "PatientID": ("4711",),
        "BodyPartExamined": ("CHEST",),
        "SeriesNumber": (str(number),),
        "SeriesDescription": (f"THORAX {number}",),
        "SliceThickness": (f"{number}.0",),
        "ImageOrientationPatient": ("1", "0", "0", "0", "1", "0"),
    }
    made = []
    for n in range(instances):
        own = {
            "InstanceNumber": (str(n + 1),),
            "ImageType": ("ORIGINAL", "PRIMARY", "LOCALIZER" if n == 0 else "AXIAL"),
            "ImagePositionPatient": ("-160.5", "-160.5", f"{n * number:.1f}"),
        }
        made.append(StudyInstance(f"{uid}.{n}", "1.2.840.10008.5.1.4.1.1.2", Path(), shared | own))
    return Series(uid, tuple(made))


def made_rule(number: int, *, matches: bool) -> Rule:
    """A rule of four conditions of its own and shared with others; prefers the thinnest series."""
    match = (
        Condition("Modality", (Equals("CT"),)),
        Condition("BodyPartExamined", (Equals("CHEST" if matches else f"REGION {number}"),)),
        Condition("SeriesDescription", (Equals(f"PROTOCOL {number}"), Equals("THORAX 1"), Equals("THORAX 2"))),
        Condition("ImageType", (), (Equals("LOCALIZER"),)),
    )
    return Rule(f"rule-{number}", match, COMPLETE, hold=False, model="model", send_to=("pacs",), inputs=(_INPUT,))


_INPUT: Final = Slot("image", min_instances=1, prefer=(Preference.THINNEST,))


def bare_loop(rules: Sequence[Rule], study: Study) -> int:
    """Compare every instance with every condition of every rule until one fails; returns how many instances met a rule."""
    prepared = [
        [
            (c.keyword, {t.text for t in c.any_of if isinstance(t, Equals)}, {t.text for t in c.none_of if isinstance(t, Equals)})
            for c in r.match
        ]
        for r in rules
    ]
    met = 0
    for conditions in prepared:
        for series in study.series:
            for instance in series.instances:
                for keyword, wanted, excluded in conditions:
                    values = instance.attributes.get(keyword, ())
                    if (wanted and wanted.isdisjoint(values)) or not excluded.isdisjoint(values):
                        break
                else:
                    met += 1
    return met


def timed(work: Callable[[], object]) -> float:
    gc.collect()
    begin = process_time()
    work()
    return (process_time() - begin) * 1000


def measure(name: str, rules: tuple[Rule, ...], series: int, instances: int) -> Figure:
    studies = [made_study(number, series, instances) for number in range(ROUNDS)]
    ready: list[RuleSet] = []

    def first() -> None:
        ready.append(RuleSet(rules))
        decide(ready[0], made_study(-1, series, instances))

    making = timed(lambda: made_study(-1, series, instances))
    first_ms = timed(first) - making
    ours = [timed(lambda study=study: decide(ready[0], study)) for study in studies]  # type: ignore[misc]  # mypy does not type lambda defaults
    bare = median(timed(lambda study=study: bare_loop(rules, study)) for study in studies[:3])  # type: ignore[misc]
    runs = len(decide(ready[0], studies[0]).decisions)
    return Figure(name, len(rules), series, instances, runs, first_ms, median(ours), max(ours), bare)


def measure_all() -> list[Figure]:
    def mixed(count: int, matching: int) -> tuple[Rule, ...]:
        return tuple(made_rule(n, matches=n % 10 < matching) for n in range(count))

    return [
        measure("1,000 rules, none matches", mixed(1000, 0), 3, 300),
        measure("1,000 rules, each tenth runs", mixed(1000, 1), 3, 300),
        measure("1,000 rules, all run", mixed(1000, 10), 3, 300),
        measure("10 rules, three run", mixed(10, 3), 3, 100),
        measure("20 rules, six run, few instances", mixed(20, 3), 4, 10),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    figures = measure_all()
    if parser.parse_args().json:
        print(json.dumps({"python": platform.python_version(), "figures": [asdict(f) | {"ratio": f.ratio} for f in figures]}, indent=2))
        return
    print("| rules | series x instances | run | first, ms | decision, ms | worst, ms | bare loop, ms | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for f in figures:
        cells = (
            f.name,
            f"{f.series} x {f.instances}",
            f.runs,
            *(f"{x:.2f}" for x in (f.first_ms, f.decision_ms, f.worst_ms, f.bare_loop_ms)),
        )
        print(f"| {' | '.join(map(str, cells))} | {f.ratio:.3f} |")
    worst = max(f.decision_ms for f in figures if f.rules == 1000)
    print(f"\n1,000 rules on one study: {worst:.1f} ms at most, {MOST_MS:.0f} ms allowed: {'met' if worst < MOST_MS else 'NOT met'}")


if __name__ == "__main__":
    main()
