"""E-mails in words: templates with the node's own as defaults, in a sandbox, every unknown name an error.

A template is `EVENT.PART.j2` or, for one language, `EVENT.LANGUAGE.PART.j2`; PART is `subject`, `txt` or `html`. The more special one
goes first, and a site's own before the node's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dicom_node.delivery.notices.message import Message
from dicom_node.domain.notice_facts import Identifiers, JobFacts, NoticeFacts
from dicom_node.domain.notices import NoticeEvent
from dicom_node.errors import ConfigError

PARTS = ("subject", "txt", "html")
_SHARED = ("layout.txt.j2", "layout.html.j2", "jobs.txt.j2", "jobs.html.j2")
_ACCENTS = {NoticeEvent.CRITICAL: "#b3261e", NoticeEvent.FAILURE: "#b3261e", NoticeEvent.SILENCE: "#c77700", NoticeEvent.OVERDUE: "#c77700"}
_ACCENT = "#0b5cad"
_LONGEST_SUBJECT = 160
_BLANK_LINES = re.compile(r"\n{3,}")
Words = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Mail:
    """A message in words; the subject is one line without identifiers."""

    subject: str
    text: str
    html: str


class Templates:
    """The templates in force."""

    def __init__(self, own: Path | None = None) -> None:
        """Take a site's folder; None: the node's own templates alone."""
        shipped = PackageLoader("dicom_node.delivery.notices", "templates")
        loader = ChoiceLoader([FileSystemLoader(own, followlinks=False), shipped]) if own else shipped
        self._own = own
        self._environment = ImmutableSandboxedEnvironment(
            loader=loader,
            undefined=StrictUndefined,
            autoescape=lambda name: name is not None and name.endswith(".html.j2"),
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def write(self, message: Message) -> Mail:
        """Write a message.

        Raises:
            ConfigError: a template cannot be used, with its name and line.
        """
        public = {**_context(message, {}), "identified": False}
        values = {**_context(message, message.identifiers), "identified": bool(message.identifiers)}
        subject = " ".join(self._rendered(message, "subject", public).split())
        heading = {"heading": _heading(message)}
        text = self._rendered(message, "txt", {**values, **heading})
        html = self._rendered(message, "html", {**values, **heading, "accent": _ACCENTS.get(message.event, _ACCENT)})
        return Mail(subject[:_LONGEST_SUBJECT], _BLANK_LINES.sub("\n\n", text), html)

    def unknown_files(self) -> Iterator[tuple[Path, str]]:
        """List what lies in a site's folder and is never used, with what would be."""
        names = {f"{event}{language}.{part}.j2" for event in NoticeEvent for language in ("", *_suffixes()) for part in PARTS}
        for path in sorted(self._own.glob("*.j2")) if self._own else ():
            if path.name not in names and path.name not in _SHARED:
                yield path, f"templates are named EVENT.PART.j2, with one of {', '.join(NoticeEvent)} and one of {', '.join(PARTS)}"

    def _rendered(self, message: Message, part: str, values: Mapping[str, Any]) -> str:
        names = [f"{message.event}.{message.language}.{part}.j2", f"{message.event}.{part}.j2"]
        try:
            return self._environment.select_template(names).render(values)
        except TemplateSyntaxError as error:
            raise TemplateFaultError(f"template {error.name}: {error.message}", error.filename or names[-1], error.lineno) from error
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
            file, line = _place(error, names[-1])
            raise TemplateFaultError(f"template {Path(file).name}: {_safe(error)}", file, line) from error


class TemplateFaultError(ConfigError):
    """A template of e-mails cannot be used.

    Attributes:
        file: Where it lies.
        line: From 1.
    """

    code = "template-fault"

    def __init__(self, message: str, file: str, line: int) -> None:
        super().__init__(message, hint="docs/notifications.md lists the names that templates see")
        self.file = file
        self.line = line


def languages() -> tuple[str, ...]:
    """List the languages that e-mails are written in."""
    folder = resources.files("dicom_node.delivery.notices").joinpath("languages")
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


@lru_cache(maxsize=8)
def catalogue(language: str) -> Mapping[str, str]:
    """Load the words of a language, one of `languages()`."""
    file = resources.files("dicom_node.delivery.notices").joinpath("languages", f"{language}.yaml")
    return dict(yaml.safe_load(file.read_text("utf-8")))


def span_text(seconds: float) -> str:
    """Write a duration in its two largest units."""
    if seconds < 60:
        return f"{seconds:g} s"
    minutes = round(seconds / 60)
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{days} d" if days else "", f"{hours} h" if hours else "", f"{rest} min" if rest and not days else ""]
    return " ".join(filter(None, parts))


def _context(message: Message, identifiers: Mapping[int, Identifiers]) -> dict[str, Any]:
    entries, zone = catalogue(message.language), message.surroundings.zone

    def words(key: str, **values: object) -> str:
        return entries[key].format(**values)

    def moment(iso: str) -> str:
        return _moment(datetime.fromisoformat(iso), zone)

    facts = message.facts
    return {
        "words": words,
        "span": span_text,
        "moment": moment,
        "event": str(message.event),
        "id": message.uuid,
        "at": _moment(message.at, zone),
        "node": message.surroundings.node,
        "language": message.language,
        "jobs": [_job(job, message, identifiers.get(job.job), words) for job in facts.jobs],
        "more_jobs": facts.more_jobs,
        "silence": asdict(facts.silence) if facts.silence else None,
        "overdue": asdict(facts.overdue) if facts.overdue else None,
        "digest": asdict(facts.digest) if facts.digest else None,
    }


def _job(job: JobFacts, message: Message, patient: Identifiers | None, words: Words) -> dict[str, Any]:
    rows = [
        (words("job"), job.job),
        (words("rule"), job.rule),
        (words("model"), f"{job.model} {job.model_version}" if job.outcome != "forwarded" else ""),
        (words("study"), words("revision", study=job.study, revision=job.revision)),
        (words("outcome"), words(f"outcome_{job.outcome}")),
        (words("reason"), job.reason if job.outcome == "failed" else ""),
        (words("images"), job.images),
        (words("objects"), ", ".join(f"{count} {kind}" for kind, count in job.objects.items())),
        (words("findings"), job.findings if job.outcome == "analysed" else ""),
        (words("measurements"), job.measurements if job.outcome == "analysed" else ""),
        (words("run"), span_text(job.run_s) if job.run_s else ""),
        (words("total"), span_text(job.total_s)),
        (words("attempts"), job.attempt if job.attempt > 1 else ""),
    ]
    known = None if patient is None else {**asdict(patient), "rows": _patient(patient, words)}
    return {**asdict(job), "rows": [row for row in rows if row[1] != ""], "link": message.surroundings.link(job.job), "patient": known}


def _patient(patient: Identifiers, words: Words) -> list[tuple[str, str]]:
    rows = [
        (words("patient"), patient.patient_name),
        (words("patient_id"), patient.patient_id),
        (words("birth_date"), patient.birth_date),
        (words("accession_number"), patient.accession_number),
        (words("study_date"), patient.study_date),
        (words("study_description"), patient.study_description),
        (words("study_uid"), patient.study_instance_uid),
        (words("found"), ", ".join(patient.findings)),
        (words("measured"), ", ".join(f"{m.id} {m.value:g} {m.unit}" for m in patient.measurements)),
        (words("not_analysed"), patient.not_analysed),
    ]
    return [row for row in rows if row[1]]


def _heading(message: Message) -> str:
    facts, entries = message.facts, catalogue(message.language)
    peer = facts.silence.peer if facts.silence else facts.overdue.destination if facts.overdue else ""
    return entries[f"heading_{_heading_key(message.event, facts)}"].format(peer=peer, count=len(facts.jobs) + facts.more_jobs)


def _heading_key(event: NoticeEvent, facts: NoticeFacts) -> str:
    if facts.silence is not None:
        return ("heard" if facts.silence.over else "silence") + ("_any" if facts.silence.peer == "any" else "")
    if facts.overdue is not None:
        return "taken" if facts.overdue.over else "overdue"
    if event is NoticeEvent.FAILURE:
        return "failures" if len(facts.jobs) > 1 else "delivery" if facts.jobs[0].deliveries else "failure"
    return "not_analysed" if event is NoticeEvent.RESULT and facts.jobs[0].outcome == "not-analysed" else str(event)


def _moment(moment: datetime, zone: tzinfo | None) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")


def _suffixes() -> tuple[str, ...]:
    return tuple(f".{language}" for language in languages())


def _place(error: BaseException, default: str) -> tuple[str, int]:
    """Find the line of the template in which it failed; Jinja writes it into the traceback."""
    found, trace = (default, 1), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(".j2"):
            found = (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _safe(error: Exception) -> str:
    """Word a fault: Jinja's own complaints name names of templates, others may quote values."""
    return error.message or type(error).__name__ if isinstance(error, TemplateError) else type(error).__name__
