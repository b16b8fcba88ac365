"""One thread that owns what must not change threads: a CUDA context with its memory, or a client bound to its event loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class OwnerThread:
    """Runs work on its one thread, in order. Callers of any thread wait for the answer."""

    def __init__(self, name: str) -> None:
        """Name the thread; it starts with the first work."""
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def call(self, work: Callable[..., T], *arguments: object) -> T:
        """Do work there and give its result, or raise what it raised."""
        return self._pool.submit(work, *arguments).result()

    def stop(self) -> None:
        """End the thread when its work is done; may be called again."""
        self._pool.shutdown(wait=True)
