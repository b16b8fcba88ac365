"""What follows a run, in the transaction that ends it: jobs of rules that come after its model, further destinations, traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlmodel import Session

from dicom_node.config import Configuration
from dicom_node.domain.jobs import Job, JobKey
from dicom_node.domain.routing import Outcome, RouteDecision, RuleTrace
from dicom_node.domain.studies import StudyState
from dicom_node.jobs import queue
from dicom_node.pipeline.closing import AvailableModel
from dicom_node.pipeline.forwarding import forward, forward_key
from dicom_node.routing.follow import FinishedRun, Following, Sending, follow, followers
from dicom_node.storage import revisions, traces


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run whose results are written.

    Attributes:
        findings: As `domain.findings` writes them.
        models: Every usable bundle, by name; read before the transaction, since it takes its time.
    """

    job: Job
    findings: Mapping[str, Any]
    models: Mapping[str, AvailableModel]


@dataclass(frozen=True, slots=True)
class FollowedUp:
    """What was done.

    Attributes:
        jobs: Jobs that were made.
        sendings: Rules that send the results of the run elsewhere.
    """

    jobs: tuple[Job, ...] = ()
    sendings: tuple[Sending, ...] = ()

    def destinations(self, job: Job, keeping: Mapping[str, str]) -> tuple[str, ...]:
        """Return where the results of the run go, each destination once; nowhere for a shadow run.

        Args:
            job: Of the run.
            keeping: Rules that keep the result on the node, and the option of each that says so.
        """
        if job.shadow:
            return ()
        own = () if job.key.rule in keeping else job.send_to
        elsewhere = (d for sending in self.sendings if sending.rule not in keeping for d in sending.destinations)
        return tuple(dict.fromkeys((*own, *elsewhere)))

    def reason(self, job: Job, keeping: Mapping[str, str]) -> str:
        """Say what becomes of the results of the run."""
        if job.shadow:
            return "shadow: kept, not sent"
        written = f"kept, not sent ({keeping[job.key.rule]})" if job.key.rule in keeping and job.send_to else "results written"
        sent = [
            f"rule {s.rule} keeps them ({keeping[s.rule]})"
            if s.rule in keeping
            else f"rule {s.rule} sends them to {', '.join(s.destinations)}"
            for s in self.sendings
        ]
        return "; ".join([written, *sent])


def follow_up(session: Session, configuration: Configuration, run: EndedRun, now: datetime) -> FollowedUp:
    """Ask every rule that follows the model of a run, make its job or name its destinations, and write its trace.

    All of it is part of the caller's transaction: a worker that dies before the commit leaves nothing, and the next attempt does it
    again; a job that exists already under its key is not made twice.

    Raises:
        StorageError: the revision that the run was about is not on record.
    """
    key = run.job.key
    if not followers(configuration.rules, run.job.model):
        return FollowedUp()
    following = _following(session, configuration, run)
    lost = {d.rule: d.model for d in following.decisions if d.model not in run.models}
    later = configuration.rules_digest != traces.rules_digest(session, key.study_instance_uid, key.revision)
    for trace in following.traces:
        written = _without_bundle(trace, lost[trace.rule]) if trace.rule in lost else trace
        if later:
            written = replace(written, reason=f"{written.reason} (by rules {configuration.rules_digest[:12]}, newer than this revision)")
        traces.replace_trace(session, key.study_instance_uid, key.revision, asdict(written))
    made = [queue.create(session, _new_job(d, run, configuration), now) for d in following.decisions if d.rule not in lost]
    keys = [forward_key(key.study_instance_uid, key.revision, one.rule) for one in following.forwardings]
    made += [forward(session, configuration, new, one, now) for new, one in zip(keys, following.forwardings, strict=True)]
    return FollowedUp(tuple(job for job in made if job is not None), following.sendings)


def _following(session: Session, configuration: Configuration, run: EndedRun) -> Following:
    uid, revision = run.job.key.study_instance_uid, run.job.key.revision
    if revisions.study_row(session, uid).state == StudyState.QUARANTINED:
        reason = f"the study was quarantined before job {run.job.id} had a result"
        asked = followers(configuration.rules, run.job.model)
        return Following((), (), tuple(RuleTrace(rule.name, Outcome.QUARANTINED, reason, ()) for rule in asked))
    finished = FinishedRun(run.job.id, run.job.model, run.job.shadow, run.findings)
    study = traces.frozen_study(session, uid, revision)
    return follow(configuration.rules, finished, study, traces.ran_before(session, uid, revision))


def _new_job(decision: RouteDecision, run: EndedRun, configuration: Configuration) -> queue.NewJob:
    model, key = run.models[decision.model], run.job.key
    return queue.NewJob(
        JobKey(key.study_instance_uid, key.revision, decision.rule, model.digest),
        decision,
        model.version,
        configuration.workers.max_attempts,
    )


def _without_bundle(trace: RuleTrace, model: str) -> RuleTrace:
    return replace(trace, outcome=Outcome.UNFIT, reason=f"{trace.reason}; no bundle of model {model} is there any more")
