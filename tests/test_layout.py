"""Every part stands where people look for it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from dicom_node import cli
from dicom_node.cli import processes

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["dicom_node", "config", "systemd", "tests", "docs", "docs/adr", "benchmarks"])
def test_folder_stands_at_the_root(name: str) -> None:
    assert (ROOT / name).is_dir()


@pytest.mark.parametrize(
    "name", ["scp", "inference", "sr_writer", "config", "domain", "storage", "jobs", "delivery", "pipeline", "web", "cli"]
)
def test_subpackage_is_importable_under_the_project_only(name: str) -> None:
    assert importlib.import_module(f"dicom_node.{name}").__file__ == str(ROOT / "dicom_node" / name / "__init__.py")


def test_config_folder_holds_no_python() -> None:
    assert not list((ROOT / "config").rglob("*.py"))


def test_no_module_is_longer_than_400_lines() -> None:
    long = [str(p) for p in (ROOT / "dicom_node").rglob("*.py") if len(p.read_text("utf-8").splitlines()) > 400]
    assert not long


def test_every_process_is_started_without_the_other_commands() -> None:
    names = {command.name for command in processes.app.registered_commands}
    assert names == set(cli._PROCESSES)
    assert set(cli._NO_PIXELS) < names
