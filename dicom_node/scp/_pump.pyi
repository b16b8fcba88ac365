from typing import final

@final
class Pump:
    """Plain C-STOREs of one association, from the socket to the instance's durable file, without the GIL; see _pump.c."""

    def __new__(
        cls,
        buffer: bytearray | memoryview,
        contexts: tuple[tuple[int, bytes, bool, bytes, bytes], ...],
        folder: int,
        durability: int,
        prefix: str,
        max_bytes: int,
        /,
    ) -> Pump:
        """Begin between two messages.

        Args:
            buffer: What is read into; kept, and not to be resized.
            contexts: Of those that can be served: ID, abstract syntax, whether implicit VR, file meta before and behind the instance's UID.
            folder: Descriptor of `incoming/`; stays the caller's, open for as long as this is used.
            durability: 0 none, 1 strict, 2 group.
            prefix: Begins the names of all files; nobody else uses it.
            max_bytes: Largest data set; 0 is no limit.

        Raises:
            ValueError: a context or the prefix cannot be served.
        """

    def run(
        self, connection: int, head: int, tail: int, longest_wait_us: int, quick: bool, until: float, /
    ) -> tuple[int, int, int, int, int, bool, bool, float, int, tuple[float, ...]]:
        """Receive, store and answer until something else is to be done.

        Args:
            connection: Descriptor of a socket whose receive time-out is `longest_wait_us`.
            head: Where in the buffer the bytes begin that nobody has taken.
            tail: Where they end.
            longest_wait_us: Microseconds; 0 never waits.
            quick: Ask for immediate acknowledgements.
            until: When to return, on the monotonic clock, seconds.

        Returns:
            Why it ended (`dicom_node.scp.pump.Why`), head, tail, errno of what failed, bytes received since the last rest or the
            beginning, whether the stream was at rest, whether an instance is under way, longest wait within a message in seconds,
            bytes of all data sets kept, and for each the seconds from its last byte to its being durable.
        """

    def answer(self) -> bytes:
        """Return the response PDU of the instance whose folder has been synced."""

    def hand_over(self) -> tuple[tuple[int, int, bytes, bytes, bytes, str, int, int, int, int] | None, int, int, int]:
        """Give the instance under way, and its file, to the caller, and begin anew between two messages.

        Returns:
            Of the instance, if there is one: context ID, Message ID, SOP Instance, Study and Series Instance UID, what makes the file's
            names unique, its descriptor or -1, bytes written of the data set and of the file, bytes of these asked to go to the disk.
            Then of the stream: the PDV's message control header, bytes left of the PDU, bytes left of the PDV or -1 between two.
        """

    def serve_study(self, study_instance_uid: bytes | None, /) -> None:
        """From the next instance on serve those of one study, leaving others untouched; None: serve all. Not while `run` runs."""

    def discard(self) -> None:
        """Throw the instance under way away, now or when the run in another thread ends; nothing is served afterwards."""
