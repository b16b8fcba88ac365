"""Reading node.yaml and rules.yaml: every fault is collected, with its file and line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from dicom_node.config.arrivals_check import check_arrivals, with_absolute_arrivals
from dicom_node.config.destinations_check import check_destinations, check_forwarding
from dicom_node.config.faults import ConfigurationFaults, Fault, known
from dicom_node.config.following_check import check_following
from dicom_node.config.model import Configuration
from dicom_node.config.models_dir import find_models
from dicom_node.config.node_schema import NodeFile
from dicom_node.config.notices_check import check_notices, check_notices_of_rules
from dicom_node.config.profiles_check import check_profiles
from dicom_node.config.readable_rules import readable_rules
from dicom_node.config.rules_schema import RulesFile
from dicom_node.config.schema_faults import validated
from dicom_node.config.sources_check import check_sources, check_sources_of_rules, with_absolute_sources
from dicom_node.config.yaml_lines import YamlFile, parse_text, parse_yaml


@dataclass(frozen=True, slots=True)
class RulesText:
    """Rules that lie in no file.

    Attributes:
        name: What faults call it.
    """

    name: str
    text: str


def load_configuration(path: Path, rules: Path | RulesText | None = None) -> Configuration:
    """Read and check the configuration.

    Args:
        path: node.yaml; relative paths in it start at its folder.
        rules: In place of the rules file that node.yaml names, which is not read.

    Raises:
        ConfigurationFaults: every fault of every file.
    """
    faults: list[Fault] = []
    node_yaml = parse_yaml(path, faults)
    node = validated(NodeFile, node_yaml, faults)
    rules_yaml = _parsed_rules(rules or _rules_path(path, node_yaml), faults) if node_yaml is not None else None
    rules_file = validated(RulesFile, rules_yaml, faults)
    if node is not None and node_yaml is not None:
        node = _with_absolute_paths(node, path)
        faults.extend(_cross_check_node(node, node_yaml))
        faults.extend(check_arrivals(node, node_yaml))
        faults.extend(check_destinations(node, node_yaml))
        faults.extend(check_profiles(node, node_yaml))
        faults.extend(check_sources(node, node_yaml))
        faults.extend(check_notices(node, node_yaml))
        if rules_yaml is not None:
            faults.extend(_cross_check_rules(node, rules_file or readable_rules(rules_yaml), rules_yaml))
    if faults or node is None or rules_file is None:
        raise ConfigurationFaults(faults)
    return Configuration(node=node, rules_file=rules_file, rules_text=rules_yaml.text if rules_yaml else "")


def load_draft(configuration: Configuration, path: Path) -> Configuration:
    """Read other rules for the same node.

    Args:
        configuration: As it stands.
        path: A rules file that could take the place of the node's.

    Raises:
        ConfigurationFaults: every fault of the file.
    """
    faults: list[Fault] = []
    source = parse_yaml(path, faults)
    rules = validated(RulesFile, source, faults)
    if source is not None:
        faults.extend(_cross_check_rules(configuration.node, rules or readable_rules(source), source))
    if faults or rules is None or source is None:
        raise ConfigurationFaults(faults)
    return Configuration(node=configuration.node, rules_file=rules, rules_text=source.text)


def load_past_rules(rules: RulesText) -> RulesFile:
    """Read rules of the past; models and destinations that they name may be gone.

    Raises:
        ConfigurationFaults: this program reads them otherwise than the one of their time.
    """
    faults: list[Fault] = []
    found = validated(RulesFile, parse_text(rules.text, rules.name, faults), faults)
    if found is None:
        raise ConfigurationFaults(faults)
    return found


def _parsed_rules(source: Path | RulesText, faults: list[Fault]) -> YamlFile | None:
    return parse_text(source.text, source.name, faults) if isinstance(source, RulesText) else parse_yaml(source, faults)


def _rules_path(node_path: Path, node_yaml: YamlFile | None) -> Path:
    named = node_yaml.content.get("rules") if node_yaml and isinstance(node_yaml.content, dict) else None
    return node_path.parent / (named if isinstance(named, str) else "rules.yaml")


def _with_absolute_paths(node: NodeFile, path: Path) -> NodeFile:
    folder = path.resolve().parent
    dicom = node.dicom.model_copy(update={"tls": node.dicom.tls.below(folder)}) if node.dicom.tls else node.dicom
    destinations = tuple(d.below(folder) for d in node.destinations)
    peers = tuple(p.model_copy(update={"passcode_file": folder / p.passcode_file}) if p.passcode_file else p for p in node.peers)
    paths = {"data_dir": folder / node.data_dir, "rules": folder / node.rules, "models_dir": folder / node.models_dir}
    notifications = node.notifications.below(folder)
    return with_absolute_sources(with_absolute_arrivals(node, folder), folder).model_copy(
        update={"dicom": dicom, "notifications": notifications, "destinations": destinations, "peers": peers, **paths}
    )


def _cross_check_node(node: NodeFile, source: YamlFile) -> Iterator[Fault]:
    for section in ("peers", "destinations", "called_ae_titles", "query_sources", "watch", "profiles"):
        items = getattr(node, section)
        yield from _repeated([item.name for item in items], section, source)
    if node.uses_tls:  # what reads certificates takes 15 MB, which a receiver without TLS need not hold
        yield from import_module("dicom_node.config.tls_files").check_tls(node, source)
    yield from _cross_check_titles(node, source)
    for number, peer in enumerate(node.peers):
        if peer.passcode_file is not None and not peer.passcode_file.is_file():
            yield source.fault(["peers", number, "passcode_file"], f"no file {peer.passcode_file}", "create it, readable by the node")
    requestors = [report.ae_title for report in node.commitment.report_to]
    for number, requestor in enumerate(requestors):
        if requestor in requestors[:number]:
            yield source.fault(
                ["commitment", "report_to", number, "ae_title"], f"AE title {requestor!r} is used twice", "one address a title"
            )
    if not node.models_dir.is_dir():
        yield source.fault(
            ["models_dir"], f"folder {node.models_dir} does not exist", "create it, or name the folder that holds the model bundles"
        )


def _cross_check_titles(node: NodeFile, source: YamlFile) -> Iterator[Fault]:
    titles = [node.ae_title, *(t.ae_title for t in node.called_ae_titles)]
    peers = [p.name for p in node.peers]
    for number, title in enumerate(node.called_ae_titles):
        if title.ae_title in titles[: number + 1]:
            yield source.fault(["called_ae_titles", number, "ae_title"], f"AE title {title.ae_title!r} is used twice", "titles must differ")
        for position, name in enumerate(title.peers):
            if name not in peers:
                yield source.fault(["called_ae_titles", number, "peers", position], f"no peer is named {name!r}", known(name, peers))


def _repeated(names: Sequence[str], section: str, source: YamlFile) -> Iterator[Fault]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield source.fault([section, number, "name"], f"name {name!r} is used twice", "names must differ")


def _cross_check_rules(node: NodeFile, rules: RulesFile, source: YamlFile) -> Iterator[Fault]:
    yield from _repeated([rule.name for rule in rules.rules], "rules", source)
    yield from check_following(rules, source)
    yield from check_sources_of_rules(node, rules, source)
    yield from check_notices_of_rules(node, rules, source)
    destinations = [d.name for d in node.destinations]
    models = find_models(node.models_dir)
    for number, rule in enumerate(rules.rules):
        for position, name in enumerate(rule.send_to):
            if name not in destinations:
                yield source.fault(["rules", number, "send_to", position], f"no destination is named {name!r}", known(name, destinations))
        yield from check_forwarding(node, rule, ["rules", number, "forward_to"], source)
        if rule.model and rule.model not in models and node.models_dir.is_dir():
            yield source.fault(
                ["rules", number, "model"],
                f"no model bundle in {node.models_dir} is named {rule.model!r}",
                known(rule.model, list(models)),
            )
        elif rule.model and node.models_dir.is_dir() and models[rule.model].lacks_networks:
            yield source.fault(
                ["rules", number, "model"], f"the networks of model {rule.model!r} are not there yet", f"dicom-node models add {rule.model}"
            )
        if rule.hold and any(not earlier.hold for earlier in rules.rules[:number]):
            yield source.fault(
                ["rules", number, "hold"], "hold rules come before all others", "move it to the top: it keeps studies from every rule"
            )
