"""The tables of docs/conformance/results.md: one cell each for a source with a header, and for a writer with a source."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from functools import cache
from itertools import count

from tests.conftest import ROOT
from tests.result_cells import WRITERS
from tests.result_headers import HEADERS
from tests.result_sources import SOURCES

TABLE = ROOT / "docs" / "conformance" / "results.md"
WRITE = "DICOM_NODE_WRITE_DOCS"
FULL = "DICOM_NODE_MATRIX"
"""`full` runs every cell; else every header once, and every source with a clean one."""
NO_PLACE, FEW = "no place", "few pages"
"""Reasons why a writer makes nothing of a source."""


@cache
def reason(kind: str, name: str) -> str:
    """Why a source cannot have a header."""
    return HEADERS[name].reason_against(SOURCES[kind]().data_sets)


def chosen_cells() -> list[tuple[str, str]]:
    """Header and source of the cells that this run checks, the sources in turn."""
    if os.environ.get(FULL) == "full":
        return [(name, kind) for name in HEADERS for kind in SOURCES]
    turn = count()
    clean = [("clean", kind) for kind in SOURCES]
    return clean + [(name, _in_turn(name, next(turn))) for name in HEADERS if name != "clean"]


def _in_turn(name: str, number: int) -> str:
    able = [kind for kind in SOURCES if not reason(kind, name)]
    return able[number % len(able)]


def check_text(row: str, column: str, text: str) -> None:
    """Compare a cell with the document, or write it where that was asked for."""
    if os.environ.get(WRITE):
        with TABLE.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            changed = _changed(file.read().splitlines(), row, column, text)
            file.seek(0)
            file.write("\n".join(changed) + "\n")
            file.truncate()
    assert read_text(row, column) == text


def read_text(row: str, column: str) -> str:
    lines = TABLE.read_text("utf-8").splitlines()
    at = _table_of(lines, row)
    columns = _cells(lines[at])
    [found] = [_cells(line) for line in lines[at + 2 :] if line.startswith(f"| {row} |")]
    return found[columns.index(column)]


def cells_of(first_column: str) -> Iterator[str]:
    """Every cell of one of the two tables but those of its first column."""
    lines = TABLE.read_text("utf-8").splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            return
        yield from _cells(line)[1:]


def _changed(lines: list[str], row: str, column: str, text: str) -> list[str]:
    at = _table_of(lines, row)
    columns, end = _cells(lines[at]), at + 2
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    rows = {cells[0]: cells for cells in map(_cells, lines[at + 2 : end])}
    rows.setdefault(row, [row, *[""] * (len(columns) - 1)])[columns.index(column)] = text
    order = [name for name in (*WRITERS, *HEADERS) if name in rows]
    return [*lines[: at + 2], *(f"| {' | '.join(rows[name])} |".replace("|  |", "| |") for name in order), *lines[end:]]


def _table_of(lines: list[str], row: str) -> int:
    wanted = "| writer |" if row in WRITERS else "| header |"
    return next(n for n, line in enumerate(lines) if line.startswith(wanted))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
