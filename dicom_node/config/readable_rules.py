"""What can be read of rules that have faults, so that the names in the rest are checked in the same reading."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from dicom_node.config.rules_schema import RuleSection, RulesFile
from dicom_node.config.yaml_lines import YamlFile


def readable_rules(source: YamlFile) -> RulesFile:
    """Return the rules in their order, without the options that are at fault."""
    content = source.content.get("rules") if isinstance(source.content, dict) else None
    rules = content if isinstance(content, list) else []
    return RulesFile.model_construct(rules=tuple(_readable(rule, number) for number, rule in enumerate(rules)))


def _readable(raw: object, number: int) -> RuleSection:
    stand_in: dict[str, Any] = {"name": f"rule-{number}", "match": {"Modality": "present"}}
    options = {str(k): v for k, v in raw.items()} if isinstance(raw, dict) else {}
    for _ in range(2):
        try:
            return RuleSection.model_validate({**stand_in, **options})
        except ValidationError as error:
            at_fault = {detail["loc"][0] for detail in error.errors() if detail["loc"]}
            options = {k: v for k, v in options.items() if k not in at_fault}
    return RuleSection.model_construct(name=stand_in["name"], match=stand_in["match"])
