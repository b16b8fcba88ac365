"""`check`: read the configuration and say every fault."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from dicom_node.app import load_checked
from dicom_node.cli.doctor import expiry_text
from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath
from dicom_node.config import Configuration
from dicom_node.config.rules_diff import compare_rules
from dicom_node.config.tls_files import certificates_in_use
from dicom_node.inference import find_bundles
from dicom_node.ops.expiry import STEPS_DAYS
from dicom_node.pipeline.running_node import active_rules, supervisor_pid


def check(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Check node.yaml, rules.yaml and the model bundles. Exit status 2 with every fault and its line."""
    configuration = load_checked(config)
    now = datetime.now(UTC)
    for certificate in certificates_in_use(configuration.node):
        if certificate.days_left(now) <= STEPS_DAYS[0]:
            typer.echo(f"{config}: warning: {certificate.option}: {expiry_text(certificate, now)}", err=True)
    _say_change(configuration)
    bundles = find_bundles(configuration.node.models_dir, configuration.bundles_dir)
    typer.echo(
        f"{config}: no faults. {len(configuration.rules)} rule(s), {len(configuration.node.peers)} peer(s), "
        f"{len(configuration.node.destinations)} destination(s), {len(bundles)} model(s)."
    )


def _say_change(configuration: Configuration) -> None:
    """Say what a reload of the running node would change in its rules."""
    active = active_rules(configuration.data_dir)
    if active is None or supervisor_pid(configuration.data_dir) is None:
        return
    if difference := compare_rules(active, configuration.rules_file):
        typer.echo("A reload of the running node would change its rules:")
        for line in difference.lines():
            typer.echo(f"  {line}")
