"""A model on one engine: its networks loaded there, and its steps around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicom_node.inference.backends import Network, SessionOptions, open_session
from dicom_node.inference.gate.choice import Candidate
from dicom_node.inference.gate.subject import Subject
from dicom_node.inference.model import Model
from dicom_node.inference.network import BuildProgress
from dicom_node.inference.session import Session


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a node runs engines.

    Attributes:
        threads: Threads on the CPU; 0 takes all cores.
        engines_dir: Where built engines are kept; None builds anew each time.
        on_progress: Told about a build.
        open_session: How a session is made.
    """

    threads: int = 0
    engines_dir: Path | None = None
    on_progress: Callable[[BuildProgress], None] | None = None
    open_session: Callable[[str, str, Network, SessionOptions], Session] = open_session


def session_options(subject: Subject, candidate: Candidate, settings: EngineSettings) -> SessionOptions:
    """Say how a model's networks run on an engine. The files are an operator's choice: they lie in models_dir, and so are trusted."""
    engines, network = subject.bundle.manifest.engines, subject.bundle.manifest.network
    return SessionOptions(
        threads=settings.threads,
        device=candidate.device,
        profiles=subject.profiles,
        keep_fp32=engines.keep_fp32,
        repairs=network.repairs,
        output_names=network.outputs,
        trusted=True,
        engines_dir=settings.engines_dir,
        remote=subject.remote,
        on_progress=settings.on_progress,
    )


@contextmanager
def open_sessions(subject: Subject, candidate: Candidate, settings: EngineSettings) -> Iterator[Mapping[str, Session]]:
    """Load a model's networks on an engine; they are freed at the end unless whoever has them did it.

    Raises:
        EngineUnavailableError: the engine is not here.
        ModelError: it refuses a network.
    """
    with ExitStack() as stack:
        yield _activated(subject, candidate, settings, stack)


def open_model_on(subject: Subject, candidate: Candidate, settings: EngineSettings) -> Model:
    """Load a model on an engine; its `close` frees it.

    Raises:
        EngineUnavailableError: the engine is not here.
        ModelError: it refuses a network, or the model's steps do.
    """
    with ExitStack() as stack:
        model = subject.build(subject.bundle, _activated(subject, candidate, settings, stack))
        stack.pop_all()  # nothing failed: from now on the model has them
    return model


def _activated(subject: Subject, candidate: Candidate, settings: EngineSettings, stack: ExitStack) -> Mapping[str, Session]:
    sessions = {}
    options = session_options(subject, candidate, settings)
    for name, network in subject.networks.items():
        session = settings.open_session(candidate.engine.backend, candidate.engine.precision, network, options)
        session.activate()
        stack.callback(session.deactivate)
        sessions[name] = session
    return sessions
