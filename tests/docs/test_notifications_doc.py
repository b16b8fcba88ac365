"""docs/notifications.md says what the program does."""

from __future__ import annotations

import base64
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node.config.notices_schema import NotificationsSection, NotifySection
from dicom_node.delivery.notices.trial import faults_of
from dicom_node.delivery.notices.webhook import signature, told_by_status
from dicom_node.domain.notices import NoticeEvent
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "notifications.md").read_text("utf-8")


def after(mark: str) -> str:
    return TEXT.split(f"<!-- {mark}", 1)[1].split("\n## ", 1)[0]


def test_every_event_stands_in_the_table() -> None:
    assert re.findall(r"^\| `(\w+)` \|", after("events"), re.MULTILINE) == [str(event) for event in NoticeEvent]


def test_examples_are_read() -> None:
    node, rule = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    NotificationsSection.model_validate(yaml.safe_load(node)["notifications"])
    entries = yaml.safe_load(rule)["notify"]
    assert [NotifySection.model_validate(entry).event for entry in entries] == ["result", "critical", "failure"]


@pytest.mark.parametrize("status", [200, 204, 301, 400, 404, 408, 410, 422, 425, 429, 500, 503])
def test_answers_mean_what_the_table_says(status: int) -> None:
    rows = re.findall(r"^\| ([^|]+?) \| (taken|given up|tried again)", after("answers"), re.MULTILINE)
    assert len(rows) == 5
    meaning = {code: verdict for codes, verdict in rows for code in codes.replace("other ", "").split(", ")}
    wanted = meaning.get(str(status)) or meaning[f"{status // 100}xx"]
    verdict = told_by_status(status, "", datetime.now(UTC)).verdict
    assert verdict == {"taken": "stored", "given up": "refused", "tried again": "retry"}[wanted]


def test_function_of_the_receiver_verifies_what_the_node_signs() -> None:
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", after("verify"), re.DOTALL)[0], names)
    secret, body, now = b"s" * 32, b'{"a":1}', int(time.time())
    text = "whsec_" + base64.b64encode(secret).decode()
    headers = {"webhook-id": "id", "webhook-timestamp": str(now), "webhook-signature": signature([b"o" * 32, secret], "id", now, body)}
    assert names["is_ours"](headers, body, text)
    assert not names["is_ours"](headers, body + b" ", text)
    assert not names["is_ours"]({**headers, "webhook-timestamp": str(now - 301)}, body, text)


def test_template_of_the_page_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "failure.txt.j2").write_text(re.findall(r"```jinja\n(.*?)```", after("template"), re.DOTALL)[0])
    assert faults_of(tmp_path) == []


def test_every_option_of_the_page_exists() -> None:
    for option in ("group_wait", "retry_first", "retry_max", "max_age", "failures_to", "templates", "web_url_base"):
        assert option in NotificationsSection.model_fields
        assert f"`{option}`" in TEXT
