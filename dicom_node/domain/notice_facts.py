"""What notices say: figures and names from the configuration, nothing of a patient; and, kept apart, what identifies one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_UID = re.compile(r"(?<![\w.])[0-2](?:\.\d+){5,}(?![\w])")
_MOST_JOBS = 50


@dataclass(frozen=True, slots=True)
class FailedDeliveries:
    """Objects of a job that one destination did not take, for one reason."""

    destination: str
    state: str
    objects: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One job.

    Attributes:
        study: Opaque reference of the study, the same for all its jobs.
        outcome: `analysed`, `not-analysed`, `failed`, or `forwarded` for received images that are sent on.
        reason: In words; UIDs are taken out.
        images: Instances that the model got.
        objects: Number of result objects by kind, for example `{"SR": 1}`.
        findings: How many findings are present.
        measurements: How many measurements there are.
        run_s: Duration of the run, seconds.
        total_s: From the making of the job to the event, seconds.
        critical: What the rule calls critical was met.
    """

    job: int
    rule: str
    model: str
    model_version: str
    study: str
    revision: int
    state: str
    outcome: str
    reason: str
    attempt: int
    images: int
    objects: Mapping[str, int]
    findings: int
    measurements: int
    run_s: float
    total_s: float
    critical: bool = False
    deliveries: tuple[FailedDeliveries, ...] = ()


@dataclass(frozen=True, slots=True)
class SilenceFacts:
    """A peer that is silent, or speaks again.

    Attributes:
        peer: Its name, or `any`.
        over: It has sent something.
        last_received: ISO 8601, UTC; None: nothing since the watch began.
        silent_s: How long, in the hours that count, seconds.
        limit_s: How long was allowed, seconds.
    """

    peer: str
    over: bool
    last_received: str | None
    silent_s: float
    limit_s: float


@dataclass(frozen=True, slots=True)
class OverdueFacts:
    """A destination that does not take what it is owed, or of which nothing is overdue any more.

    Attributes:
        over: Nothing is overdue any more.
        objects: How many are owed for longer than allowed; 0 when it is over.
        jobs: Whose they are, how many.
        owed_since: The oldest, ISO 8601, UTC; None when it is over.
        limit_s: How long was allowed, seconds.
        reason: Of the last attempt at the oldest; UIDs are taken out.
    """

    destination: str
    over: bool
    objects: int
    jobs: int
    owed_since: str | None
    limit_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class RuleCounts:
    """What became of the jobs of one rule in the time of a digest."""

    rule: str
    model: str
    done: int
    failed: int
    cancelled: int
    median_s: float | None
    longest_s: float | None


@dataclass(frozen=True, slots=True)
class DigestFacts:
    """What happened in a span of time.

    Attributes:
        since: ISO 8601, UTC.
        until: ISO 8601, UTC; not included.
        instances: Indexed in it.
        revisions: Study revisions that were closed.
        rules: Jobs that ended, by rule.
        deliveries_sent: Objects that destinations accepted.
        deliveries_failed: Objects refused or given up.
        notices_sent: By event.
        notices_dead: Notices that nobody took.
        waiting: Jobs now, by state.
    """

    since: str
    until: str
    instances: int
    revisions: int
    rules: tuple[RuleCounts, ...]
    deliveries_sent: int
    deliveries_failed: int
    notices_sent: Mapping[str, int]
    notices_dead: int
    waiting: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class NoticeFacts:
    """All that a notice says; which parts are there depends on its event.

    Attributes:
        more_jobs: How many further jobs failed with those that are listed.
    """

    jobs: tuple[JobFacts, ...] = ()
    more_jobs: int = 0
    silence: SilenceFacts | None = None
    overdue: OverdueFacts | None = None
    digest: DigestFacts | None = None

    @classmethod
    def of_jobs(cls, jobs: tuple[JobFacts, ...]) -> NoticeFacts:
        """List the first fifty jobs and count the others."""
        return cls(jobs[:_MOST_JOBS], max(0, len(jobs) - _MOST_JOBS))

    def as_json(self) -> dict[str, Any]:
        """Write it as JSON has it; parts that are not there are left out."""
        parts = asdict(self)
        return {
            **({"jobs": [_plain(job) for job in parts["jobs"]], "more_jobs": self.more_jobs} if self.jobs else {}),
            **{name: _plain(parts[name]) for name in ("silence", "overdue", "digest") if parts[name] is not None},
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement; `unit` is a UCUM code."""

    id: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Whose study a job was about and what was found. Patient data: never stored with a notice, never in subjects, logs and lists."""

    study_instance_uid: str
    patient_name: str
    patient_id: str
    birth_date: str
    accession_number: str
    study_date: str
    study_description: str
    findings: tuple[str, ...] = ()
    measurements: tuple[Measured, ...] = ()
    not_analysed: str = ""


def facts_from_json(value: Mapping[str, Any]) -> NoticeFacts:
    """Read what `NoticeFacts.as_json` wrote."""
    digest = value.get("digest")
    return NoticeFacts(
        jobs=tuple(
            JobFacts(**{**job, "deliveries": tuple(FailedDeliveries(**d) for d in job["deliveries"])}) for job in value.get("jobs", ())
        ),
        more_jobs=value.get("more_jobs", 0),
        silence=SilenceFacts(**value["silence"]) if "silence" in value else None,
        overdue=OverdueFacts(**value["overdue"]) if "overdue" in value else None,
        digest=DigestFacts(**{**digest, "rules": tuple(RuleCounts(**r) for r in digest["rules"])}) if digest else None,
    )


def without_uids(text: str) -> str:
    """Take UIDs out of a sentence: who knows the archive finds a patient by them."""
    return _UID.sub("[UID]", text)


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    return {k: [_plain(i) for i in v] if isinstance(v, tuple) else v for k, v in value.items()}
