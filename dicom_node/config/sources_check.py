"""What query sources need that one section alone cannot say, and whether rules name ones that exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dicom_node.config.faults import Fault, known
from dicom_node.config.named_files import check_named_files
from dicom_node.config.node_schema import NodeFile
from dicom_node.config.rules_schema import RulesFile
from dicom_node.config.yaml_lines import YamlFile


def with_absolute_sources(node: NodeFile, folder: Path) -> NodeFile:
    """Resolve the files of query sources against the folder of node.yaml."""
    return node.model_copy(update={"query_sources": tuple(s.below(folder) for s in node.query_sources)})


def check_sources(node: NodeFile, source: YamlFile) -> Iterator[Fault]:
    """Find files that query sources name and that are not there.

    Args:
        node: With absolute paths.
        source: The file it came from.
    """
    for number, section in enumerate(node.query_sources):
        yield from check_named_files(section, ("token_file", "ca"), ["query_sources", number], source)


def check_sources_of_rules(node: NodeFile, rules: RulesFile, source: YamlFile) -> Iterator[Fault]:
    """Find rules that name a query source which does not exist."""
    names = [s.name for s in node.query_sources]
    for number, rule in enumerate(rules.rules):
        place: list[str | int] = ["rules", number]
        for option in ("expected_count", "fetch_missing"):
            yield from _check([*place, "complete_when", option], getattr(rule.complete_when, option), names, source)
        for name, section in rule.inputs.items():
            if section.prior is not None:
                yield from _check([*place, "inputs", name, "prior", "source"], section.prior.source, names, source)


def _check(place: Sequence[str | int], name: str, names: Sequence[str], source: YamlFile) -> Iterator[Fault]:
    if name and name not in names:
        yield source.fault(list(place), f"no query source is named {name!r}", known(name, names))
