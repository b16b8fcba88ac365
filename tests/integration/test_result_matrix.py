"""Every writer with every kind of source, and with the headers that hospitals really send, before second readers."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pydicom
import pytest

from dicom_node.sr_writer import build_results, read_measurements
from tests.result_cells import WRITERS, check_cell
from tests.result_checks import saved
from tests.result_findings import full_result, request
from tests.result_sources import SOURCES
from tests.result_table import FEW, NO_PLACE, TABLE, WRITE, cells_of, check_text, chosen_cells


@pytest.mark.parametrize(("name", "kind"), chosen_cells())
def test_every_object_of_a_source_with_a_header_stands_before_every_reader(tmp_path: Path, name: str, kind: str) -> None:
    cell = check_cell(kind, name, tmp_path / "cell")
    shutil.rmtree(tmp_path / "cell", ignore_errors=True)  # twenty megabytes each
    check_text(name, kind, cell.text)
    if cell.charset:
        check_text(name, "character set of results", cell.charset.replace("\\", " \\ ").strip())
    for writer in WRITERS if name == "clean" else ():
        check_text(writer, kind, str(cell.writers.get(writer) or (FEW if writer == "SC overview" else NO_PLACE)))


def test_table_says_how_much_was_checked() -> None:
    objects = [int(found[1]) for text in cells_of("header") if (found := re.match(r"(\d+) [VEHQNO]+", text, re.IGNORECASE))]
    sentence = f"{len(objects)} cells, {sum(objects):,} objects."
    if os.environ.get(WRITE):
        lines = TABLE.read_text("utf-8").splitlines()
        at = next(n for n, line in enumerate(lines) if line.endswith(" objects.") and " cells, " in line)
        TABLE.write_text("\n".join([*lines[:at], sentence, *lines[at + 1 :]]) + "\n", "utf-8")
    assert sentence in TABLE.read_text("utf-8").splitlines()


@pytest.mark.parametrize("name", ["CT", "Enhanced MR", "DX", "US multi-frame"])
def test_numbers_and_answers_read_back_are_those_of_the_result(tmp_path: Path, name: str) -> None:
    source = SOURCES[name]()
    result = full_result(source)
    paths = saved(build_results(request(source, result)), tmp_path)
    read = read_measurements(pydicom.dcmread(paths["SR1"]))
    measured = {m.meaning + m.tracking_id: m.value for m in read.measurements}
    values = [round(m.value, 4) for m in (*result.measurements, *(m for f in result.findings for m in f.measurements))]
    certainties = [m.value for m in read.measurements if m.code_value == "111012"]
    assert sorted(m.value for m in read.measurements if m.code_value != "111012") == sorted(values)
    assert certainties == [80.0, 91.0, 40.0, 7.0]
    assert measured["Certainty of Findingnodule-1"] == 91.0
    assert {(e.code_value, e.answer) for e in read.evaluations} == {
        ("129715009", "129718006"),
        ("129737002", "129742005"),
        ("111017", "111242"),
    }
    assert set(result.warnings) <= set(read.comments)
