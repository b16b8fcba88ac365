"""C-STORE of one object after another over one association; the next one is read while the destination answers.

Source: PS3.4 Annex B, PS3.7 9.1.1, 9.3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from pydicom.uid import UID

from dicom_node.delivery.contexts import context_for
from dicom_node.delivery.exchange import AssociationEndedError, Exchange
from dicom_node.delivery.messages import Message, store_request
from dicom_node.delivery.outcomes import NOT_SUPPORTED, Outcome, Verdict, outcome_from_status
from dicom_node.delivery.p_data import Piece
from dicom_node.delivery.reencoding import NOT_READABLE, encoded_as
from dicom_node.delivery.stored_file import BUFFER_BYTES, Head, ObjectChangedError, StoredFile
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.instances import InstanceKind
from dicom_node.errors import DeliveryError
from dicom_node.ops.command_set import C_STORE_RSP
from dicom_node.ops.pdata import MalformedPduError

Answered = Callable[[int, Outcome], None]


@dataclass(frozen=True, slots=True)
class _Ready:
    """An object about to be sent: the first part of its data set is read and cut."""

    context_id: int
    message_id: int
    first: list[Piece]
    further: Iterable[tuple[Piece, bool]]
    close: Callable[[], None]


class Storing:
    """Sends objects in order."""

    def __init__(self, exchange: Exchange, destination: StorageScp, objects: Mapping[int, tuple[Path, Head]], answered: Answered) -> None:
        """Open nothing yet.

        Args:
            exchange: Of the association.
            destination: Whom it is with.
            objects: Files and their heads by their place.
            answered: Called with the place and what came of it, as each response arrives.
        """
        self._exchange, self._destination, self._answered = exchange, destination, answered
        self._waiting: Iterator[tuple[int, tuple[Path, Head]]] = iter(objects.items())
        self._buffers = cycle(memoryview(bytearray(BUFFER_BYTES)) for _ in range(min(len(objects), 2)))
        self._next: tuple[int, _Ready | Outcome] | None = None

    def run(self) -> None:
        """Send them all.

        Raises:
            AssociationEndedError: what was not `answered` was not stored as far as we know.
        """
        self._look_ahead()
        try:
            while self._next is not None:
                place, ready = self._next
                if isinstance(ready, Outcome):
                    self._answered(place, ready)
                    self._look_ahead()
                else:
                    self._answered(place, self._store(place, ready))
        finally:
            if self._next is not None and isinstance(self._next[1], _Ready):
                self._next[1].close()

    def _store(self, place: int, ready: _Ready) -> Outcome:
        self._next = None
        try:
            self._exchange.send(ready.context_id, ready.first, ready.further)
        except ObjectChangedError as error:
            self._answered(place, Outcome(Verdict.RETRY, None, str(error)))
            raise self._exchange.ended(str(error)) from error
        except OSError as error:
            self._answered(place, _unreadable(error))
            raise self._exchange.ended("an object cannot be read to its end") from error
        except AssociationEndedError:
            self._take_refusal(place, ready)
            raise
        finally:
            ready.close()
        early = self._exchange.arrived_early()
        self._look_ahead()
        return self._read(early or self._exchange.receive(), ready, early=early is not None)

    def _take_refusal(self, place: int, ready: _Ready) -> None:
        """Believe a destination that says no and then takes no more of the object."""
        early = self._exchange.arrived_early()
        if early is not None:
            self._answered(place, self._read(early, ready, early=True))

    def _read(self, response: Message | None, asked: _Ready, *, early: bool) -> Outcome:
        try:
            if response is None or not response.answers(C_STORE_RSP, asked.context_id, asked.message_id):
                raise MalformedPduError("another message than the response to the C-STORE")
            outcome = outcome_from_status(response.status, response.error_comment)
        except MalformedPduError as error:
            raise self._exchange.ended(f"sends what cannot be understood: {error}") from error
        if early and outcome.verdict is Verdict.STORED:
            raise self._exchange.ended("says that it stored an object before it had it whole")
        return outcome

    def _look_ahead(self) -> None:
        """Prepare the next object; what is wrong with it is told in its turn."""
        following = next(self._waiting, None)
        self._next = None if following is None else (following[0], self._prepared(*following[1]))

    def _prepared(self, path: Path, head: Head) -> _Ready | Outcome:
        try:
            file = StoredFile(path, next(self._buffers), head)
        except DeliveryError as error:
            return Outcome(Verdict.REFUSED, None, str(error))
        chosen = context_for(file.kind, self._exchange.contexts, self._destination.transfer_syntaxes)
        if chosen is None:
            file.close()
            return no_context(file.kind.sop_class_uid, self._destination)
        context_id, syntax = chosen
        if syntax != file.kind.transfer_syntax_uid:
            file.close()
            return self._encoded(path, file.kind, context_id, syntax)
        try:
            parts = file.data_set(self._exchange.fragment)
            first, ends = next(parts)
        except (DeliveryError, OSError) as error:
            file.close()
            return _unreadable(error)
        return self._cut(file.kind, context_id, first, parts if not ends else (), file.close)

    def _encoded(self, path: Path, kind: InstanceKind, context_id: int, syntax: str) -> _Ready | Outcome:
        try:
            encoded = encoded_as(path, syntax)
        except NOT_READABLE as error:
            own = UID(kind.transfer_syntax_uid).name
            reason = f"the object cannot be read, or not be re-encoded from {own} to what is accepted ({type(error).__name__})"
            return Outcome(Verdict.REFUSED, None, reason)
        return self._cut(kind, context_id, encoded, (), lambda: None)

    def _cut(
        self, kind: InstanceKind, context_id: int, first: Piece, further: Iterable[tuple[Piece, bool]], close: Callable[[], None]
    ) -> _Ready:
        message_id = self._exchange.next_message_id()
        pieces = self._exchange.cut(context_id, store_request(kind, message_id), first, ends=further == ())
        return _Ready(context_id, message_id, pieces, further, close)


def no_context(sop_class_uid: str, destination: StorageScp) -> Outcome:
    """Say that a destination does not take a SOP class."""
    return Outcome(Verdict.REFUSED, NOT_SUPPORTED, f"{destination.name} accepts no presentation context for {UID(sop_class_uid).name}")


def _unreadable(error: DeliveryError | OSError) -> Outcome:
    verdict = Verdict.RETRY if isinstance(error, ObjectChangedError) else Verdict.REFUSED
    return Outcome(verdict, None, str(error) if isinstance(error, DeliveryError) else f"the object cannot be read ({error.strerror})")
