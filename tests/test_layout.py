"""Every part stands where people look for it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node import cli
from dicom_node.cli import commands

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


def test_processes_without_pixels_are_commands_and_load_no_decoder() -> None:
    assert set(cli._NO_PIXELS) < set(commands._COMMANDS)
    run = "import sys; sys.argv = ['dicom-node', 'receive', '--help']\ntry: import dicom_node.cli; dicom_node.cli.main()\n"
    program = run + "finally: print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "'pydicom'" in loaded
    assert "'numpy.core'" not in loaded
    assert "'numpy._core'" not in loaded
