"""What one section of model.yaml says about another, and about the files beside it; every fault has its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dicom_node.config.faults import Fault
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.inference.bundle.checks.about import check_about
from dicom_node.inference.bundle.checks.cases import check_cases
from dicom_node.inference.bundle.checks.engines import check_engines
from dicom_node.inference.bundle.checks.network import check_network
from dicom_node.inference.bundle.checks.outputs import check_outputs
from dicom_node.inference.bundle.checks.scope import check_scope
from dicom_node.inference.bundle.checks.steps import check_steps
from dicom_node.inference.bundle.manifest import Manifest

_CHECKS: tuple[Callable[[Manifest, YamlFile], Iterator[Fault]], ...] = (
    check_about,
    check_scope,
    check_network,
    check_steps,
    check_outputs,
    check_engines,
    check_cases,
)


def check_manifest(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """Look for sections that contradict each other; no file is opened."""
    for check in _CHECKS:
        yield from check(manifest, source)
