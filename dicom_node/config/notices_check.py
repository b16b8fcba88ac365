"""What notifications need that one section alone cannot say, and whether rules name receivers that exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicom_node.config.catalogues import catalogues, check_language
from dicom_node.config.faults import Fault, known
from dicom_node.config.named_files import check_named_files
from dicom_node.config.node_schema import NodeFile
from dicom_node.config.notices_schema import ANY_PEER, ReceiverSection
from dicom_node.config.rules_schema import RulesFile
from dicom_node.config.webhook_secrets import read_secrets
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.domain.notices import SmtpSecurity
from dicom_node.domain.rules import RuleEvent
from dicom_node.errors import ConfigError

_PLACE = "notifications"


def check_notices(node: NodeFile, source: YamlFile) -> Iterator[Fault]:
    """Find receivers that cannot be told, or not safely, and names that nobody has.

    Args:
        node: With absolute paths.
        source: The file it came from.
    """
    section = node.notifications
    names = [r.name for r in section.receivers]
    for number, receiver in enumerate(section.receivers):
        place: list[str | int] = [_PLACE, "receivers", number]
        if receiver.name in names[:number]:
            yield source.fault([*place, "name"], f"name {receiver.name!r} is used twice", "names must differ")
        yield from _check_receiver(node, receiver, place, source)
    if section.smtp is not None:
        yield from check_named_files(section.smtp, ("ca", "password_file"), [_PLACE, "smtp"], source)
    yield from _unknown(section.failures_to, [_PLACE, "failures_to"], names, source)
    if section.digest is not None:
        yield from _unknown(section.digest.to, [_PLACE, "digest", "to"], names, source)
    if section.overdue is not None:
        yield from _unknown(section.overdue.to, [_PLACE, "overdue", "to"], names, source)
    yield from _check_silence(node, names, source)
    if section.templates is not None and not section.templates.is_dir():
        yield source.fault([_PLACE, "templates"], f"no folder {section.templates}", "create it, or take the option out")


def check_notices_of_rules(node: NodeFile, rules: RulesFile, source: YamlFile) -> Iterator[Fault]:
    """Find rules that name receivers which do not exist, or events that never come."""
    names = [r.name for r in node.notifications.receivers]
    for number, rule in enumerate(rules.rules):
        place: list[str | int] = ["rules", number, "notify"]
        if rule.notify and not rule.model and not rule.forward_to:
            why = "a hold rule runs no job" if rule.hold else "a rule without a model runs no job of its own"
            yield source.fault(place, f"{why}: there is nothing to tell", "take notify out, or put it on the rule that runs the model")
        elif not rule.model and any(notify.event is not RuleEvent.FAILURE for notify in rule.notify):
            yield source.fault(place, "a rule that only forwards images has no results to tell of", "leave failure alone in notify")
        for position, notify in enumerate(rule.notify):
            yield from _unknown(notify.to, [*place, position, "to"], names, source)


def _check_receiver(node: NodeFile, receiver: ReceiverSection, place: Sequence[str | int], source: YamlFile) -> Iterator[Fault]:
    smtp = node.notifications.smtp
    yield from check_language(receiver.language, [*place, "language"], catalogues("delivery", "notices", "languages"), source)
    if receiver.email and smtp is None:
        yield source.fault([*place, "email"], "there is no mail server", f"add {_PLACE}.smtp")
    in_the_clear = smtp is not None and smtp.security is SmtpSecurity.NONE if receiver.email else not _is_https(receiver)
    if receiver.include_identifiers and in_the_clear:
        message = "patient data would go over the network in the clear"
        hint = "use smtp.security starttls or tls" if receiver.email else "use a https URL"
        yield source.fault([*place, "include_identifiers"], message, hint)
    if receiver.webhook is not None:
        try:
            read_secrets(receiver.webhook.secret_file)
        except ConfigError as error:
            yield source.fault([*place, "webhook", "secret_file"], str(error), error.hint)
        yield from check_named_files(receiver.webhook, ("ca",), [*place, "webhook"], source)


def _is_https(receiver: ReceiverSection) -> bool:
    return receiver.webhook is not None and receiver.webhook.url.startswith("https://")


def _check_silence(node: NodeFile, names: Sequence[str], source: YamlFile) -> Iterator[Fault]:
    peers = [ANY_PEER, *(p.name for p in node.peers), *(s.name for s in node.stow.senders)]
    watched = [s.peer for s in node.notifications.silence]
    for number, section in enumerate(node.notifications.silence):
        place: list[str | int] = [_PLACE, "silence", number]
        if section.peer not in peers:
            yield source.fault([*place, "peer"], f"no peer is named {section.peer!r}", known(section.peer, peers))
        if section.peer in watched[:number]:
            yield source.fault([*place, "peer"], f"peer {section.peer!r} is watched twice", "one entry a peer")
        yield from _unknown(section.to, [*place, "to"], names, source)


def _unknown(wanted: Sequence[str], place: Sequence[str | int], names: Sequence[str], source: YamlFile) -> Iterator[Fault]:
    for position, name in enumerate(wanted):
        if name not in names:
            hint = known(name, names) if names else f"add it to {_PLACE}.receivers of node.yaml"
            yield source.fault([*place, position], f"no receiver is named {name!r}", hint)
