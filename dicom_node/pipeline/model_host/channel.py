"""Messages between a worker and its model host: small values pickled, arrays in memory that both processes map.

A message is a header, the places of its arrays, and a pickle. The arrays' bytes lie in one anonymous file in memory (memfd) whose
descriptor goes with the header: written once by the sender, mapped read-only by the receiver, gone when the last array that lies in it is.
Unlike POSIX shared memory it has no name that a killed process could leave behind, and no container's `/dev/shm` limits it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import socket
import struct
import threading
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Self

import numpy as np

_HEADER = struct.Struct("<QQI")
_PLACE = struct.Struct("<QQ")
_ALIGNMENT = 64
_OWN_PLACE_BYTES = 16 * 1024
"""Smaller arrays travel in the pickle; a mapping costs more than copying them."""


class ChannelClosed(Exception):  # noqa: N818 - an event of the other process's life, not an error of this one
    """The other process is gone, or closes the channel."""


class Channel:
    """One end. Any thread may send; one thread receives.

    A message is pickled, so that both ends must be of one program and trust each other: a worker and the child that it made.
    """

    def __init__(self, end: socket.socket) -> None:
        """Take over a connected stream socket."""
        self._socket = end
        self._sending = threading.Lock()

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """Make a channel and the socket of its other end."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(here), there

    def fileno(self) -> int:
        """Descriptor to wait on."""
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """Send a value; arrays are copied once, into the memory that the other end maps.

        Raises:
            ChannelClosed: nobody is there.
            OSError: no memory for the arrays.
        """
        stream, buffers = BytesIO(), list[pickle.PickleBuffer]()
        _Pickler(stream, buffers).dump(message)
        parts = [buffer.raw() for buffer in buffers]
        places, size = _places(parts)
        region = _write_region(parts, places, size) if parts else -1
        content = stream.getbuffer()
        head = _HEADER.pack(len(content), size, len(places)) + b"".join(_PLACE.pack(*place) for place in places)
        try:
            with self._sending:
                _send_all(self._socket, head, region)
                self._socket.sendall(content)
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        finally:
            if region >= 0:
                os.close(region)

    def receive(self) -> Any:
        """Wait for the next value; its arrays are read-only.

        Raises:
            ChannelClosed: nobody is there.
        """
        try:
            head, region = _receive_head(self._socket)
            length, size, count = _HEADER.unpack(head)
            places = list(_PLACE.iter_unpack(_receive(self._socket, count * _PLACE.size)))
            content = _receive(self._socket, length)
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        if region is None:
            return pickle.loads(content)  # noqa: S301 - from our own child or parent
        try:
            memory = memoryview(mmap.mmap(region, size, access=mmap.ACCESS_READ))
        finally:
            os.close(region)
        return pickle.loads(content, buffers=[memory[at : at + length] for at, length in places])  # noqa: S301 - as above

    def close(self) -> None:
        """End it for both; a `receive` under way returns."""
        with contextlib.suppress(OSError):  # the other end was faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class _Pickler(pickle.Pickler):
    def __init__(self, stream: BytesIO, buffers: list[pickle.PickleBuffer]) -> None:
        self._buffers = buffers
        super().__init__(stream, protocol=5, buffer_callback=self._keep)

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < _OWN_PLACE_BYTES:
            return True
        self._buffers.append(buffer)
        return False

    def reducer_override(self, value: object) -> Any:
        """Make arrays contiguous; numpy would put the bytes of others into the pickle."""
        if not isinstance(value, np.ndarray) or value.nbytes < _OWN_PLACE_BYTES or value.flags.forc:
            return NotImplemented
        return np.ascontiguousarray(value).__reduce_ex__(5)


def _places(parts: Sequence[memoryview]) -> tuple[list[tuple[int, int]], int]:
    places, at = [], 0
    for part in parts:
        places.append((at, part.nbytes))
        at += -(-part.nbytes // _ALIGNMENT) * _ALIGNMENT
    return places, at


def _write_region(parts: Sequence[memoryview], places: Sequence[tuple[int, int]], size: int) -> int:
    """Copy arrays into a new file in memory; without the interpreter's lock, and without faulting pages in one by one."""
    region = os.memfd_create("dicom-node-arrays", os.MFD_CLOEXEC)
    try:
        os.ftruncate(region, size)
        for part, (at, length) in zip(parts, places, strict=True):
            done = 0
            while done < length:
                done += os.pwrite(region, part[done:], at + done)
    except BaseException:
        os.close(region)
        raise
    return region


def _send_all(end: socket.socket, head: bytes, region: int) -> None:
    sent = socket.send_fds(end, [head], [region]) if region >= 0 else end.send(head)
    end.sendall(head[sent:])


def _receive_head(end: socket.socket) -> tuple[bytes, int | None]:
    head, descriptors, _flags, _address = socket.recv_fds(end, _HEADER.size, 1)
    if not head:
        raise ChannelClosed("the other end is closed")
    region = descriptors[0] if descriptors else None
    if region is not None:
        os.set_inheritable(region, False)  # noqa: FBT003 - takes no keyword
    return head + _receive(end, _HEADER.size - len(head)), region


def _receive(end: socket.socket, length: int) -> bytearray | bytes:
    content = bytearray(length)
    view = memoryview(content)
    while view:
        count = end.recv_into(view)
        if not count:
            raise ChannelClosed("the other end closed within a message")
        view = view[count:]
    return content
