"""docs/result-json.md names every field of result.json."""

from __future__ import annotations

import re

from dicom_node.pipeline.results.report_schema import ResultReport
from tests.conftest import ROOT


def test_every_field_stands_in_the_table() -> None:
    text = (ROOT / "docs" / "result-json.md").read_text("utf-8").split("<!-- fields", 1)[1]
    cells = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    assert [name for cell in cells for name in re.findall(r"`(\w+)`", cell)] == list(ResultReport.model_fields)
