"""All frames of a series, decoded in threads; a bounded number of raw frames is in memory at once."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from dicom_node.errors import PixelError
from dicom_node.inference.pixels.image_format import ImageFormat, image_format
from dicom_node.inference.pixels.plugins import DecodedFrame, FrameDecoder, decoder_for
from dicom_node.inference.pixels.reading import PixelSource, default_threads, label, pixel_source

_Task = Callable[[], None]
_FOREIGN = (AttributeError, ValueError, RuntimeError, NotImplementedError, KeyError, OSError, EOFError, struct.error)


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """How much is done at once.

    Attributes:
        threads: That read, decode and convert; 0 for as many as there are cores.
        frames_in_flight: Raw frames in memory; 0 for two a thread.
    """

    threads: int = 0
    frames_in_flight: int = 0


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One frame of a series.

    Attributes:
        instance: Index of its instance, from 0.
        frame: Its index in the instance, from 0.
    """

    instance: int
    frame: int


@dataclass(frozen=True, slots=True)
class OpenInstance:
    """An instance made ready for decoding.

    Attributes:
        extended_offsets: Extended Offset Table and Lengths, where there are any.
    """

    data_set: pydicom.Dataset
    format: ImageFormat
    source: PixelSource
    decoder: FrameDecoder
    extended_offsets: tuple[bytes, bytes] | None = None
    warnings: list[str] = field(default_factory=list)


def open_instance(data_set: pydicom.Dataset) -> OpenInstance:
    """Find and check what is needed to decode an instance; no pixel is read.

    Raises:
        PixelError: pixel data are missing, cut, or described wrongly; or nothing decodes their transfer syntax.
    """
    source, found = pixel_source(data_set), image_format(data_set)
    decoder_for(source.transfer_syntax)
    warnings: list[str] = []
    if not source.transfer_syntax.is_encapsulated:
        _check_length(data_set, found, source, warnings)
    offsets = None
    if "ExtendedOffsetTable" in data_set and "ExtendedOffsetTableLengths" in data_set:
        offsets = (data_set.ExtendedOffsetTable, data_set.ExtendedOffsetTableLengths)
    decoder = FrameDecoder(source.transfer_syntax, found.decoder_options(source.keyword, source.vr), warnings)
    return OpenInstance(data_set, found, source, decoder, offsets, warnings)


def _check_length(data_set: pydicom.Dataset, found: ImageFormat, source: PixelSource, warnings: list[str]) -> None:
    expected, actual = found.native_bytes, source.size_bytes
    if actual < expected:
        raise PixelError(
            f"{label(data_set)}: {actual} bytes of pixel data, {expected} are needed for {found.frames} frames of "
            f"{found.rows} x {found.columns} x {found.samples} samples of {found.bits_allocated} bits",
            hint="the file may be cut: send it again",
        )
    whole = actual * 8 // found.native_bits
    if whole > found.frames:
        warnings.append(f"{label(data_set)}: the pixel data hold {whole} frames, Number of Frames says {found.frames}; these are used")


def decode_frames(
    instances: Sequence[OpenInstance], frames: Sequence[SourceFrame], consume: Callable[[int, DecodedFrame], None], limits: DecodingLimits
) -> None:
    """Decode frames and hand each over, in the thread that decoded it, in any order.

    Args:
        instances: Of the series.
        frames: Which ones; frames of one instance in ascending order.
        consume: Gets the index in `frames` and the frame, and must be done with it when it returns; runs in several threads at once.
        limits: See there.

    Raises:
        PixelError: a frame cannot be decoded, or is not there.
    """
    threads = limits.threads or default_threads()
    bound = limits.frames_in_flight or 2 * threads
    running: deque[Future[None]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for task in _tasks(instances, frames, consume):
                if len(running) >= bound:
                    running.popleft().result()
                running.append(pool.submit(task))
            while running:
                running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _tasks(
    instances: Sequence[OpenInstance], frames: Sequence[SourceFrame], consume: Callable[[int, DecodedFrame], None]
) -> Iterator[_Task]:
    """Yield one task a frame; encoded frames of a multi-frame instance are read here, one after the other, everything else in the task."""
    by_instance: dict[int, list[int]] = {}
    for index, source in enumerate(frames):
        by_instance.setdefault(source.instance, []).append(index)
    for number, indices in by_instance.items():
        opened = instances[number]
        if opened.source.transfer_syntax.is_encapsulated and opened.format.frames > 1:
            wanted = {frames[index].frame: index for index in indices}
            for frame, encoded in _encoded_frames(opened, set(wanted)):
                yield partial(_decode_encoded, opened, encoded, partial(consume, wanted[frame]))
        else:
            for index in indices:
                yield partial(_decode_one, opened, frames[index].frame, partial(consume, index))


def _decode_encoded(opened: OpenInstance, encoded: bytes, consume: Callable[[DecodedFrame], None]) -> None:
    consume(opened.decoder.decode(encoded))


def _decode_one(opened: OpenInstance, frame: int, consume: Callable[[DecodedFrame], None]) -> None:
    if opened.source.transfer_syntax.is_encapsulated:
        for _, encoded in _encoded_frames(opened, {frame}):
            consume(opened.decoder.decode(encoded))
        return
    try:
        with opened.source.open() as stream:
            decoded = _native_frame(opened, stream, frame)
    except _FOREIGN as error:
        raise PixelError(f"{label(opened.data_set)}: frame {frame + 1} cannot be read: {type(error).__name__}") from error
    consume(decoded)


def _encoded_frames(opened: OpenInstance, wanted: set[int]) -> Iterator[tuple[int, bytes]]:
    expected = opened.format.frames
    count = 0
    try:
        with opened.source.open() as stream:
            for encoded in generate_frames(stream, number_of_frames=expected, extended_offsets=opened.extended_offsets):
                if count in wanted:
                    yield count, encoded
                count += 1
                if count == expected:
                    return
    except _FOREIGN as error:
        raise PixelError(f"{label(opened.data_set)}: frame {count + 1} of {expected} cannot be read: {type(error).__name__}") from error
    raise PixelError(f"{label(opened.data_set)}: the pixel data hold {count} frames, Number of Frames says {expected}")


def _native_frame(opened: OpenInstance, stream: BinaryIO, frame: int) -> DecodedFrame:
    found, source = opened.format, opened.source
    if found.bits_allocated == 1:
        return DecodedFrame(_one_bit_frame(opened, stream, frame), found.photometric_interpretation)
    swapped = not source.transfer_syntax.is_little_endian and found.bits_allocated == 8 and source.vr == "OW"
    options = {
        **opened.decoder.options,
        "number_of_frames": found.frames,
        "correct_unused_bits": False,
        "view_only": not (swapped or found.half_chroma),
    }
    values, _ = decoder_for(source.transfer_syntax).as_array(stream, index=frame, raw=True, validate=False, **options)
    return DecodedFrame(values, found.photometric_interpretation)


def _one_bit_frame(opened: OpenInstance, stream: BinaryIO, frame: int) -> NDArray[np.uint8]:
    """Unpack one frame of packed bits; frames need not begin with a byte. Source: PS3.5 8.1.1, D."""
    found = opened.format
    pixels = found.rows * found.columns
    first = frame * pixels
    words = not opened.source.transfer_syntax.is_little_endian and opened.source.vr == "OW"
    begin = first // 16 * 2 if words else first // 8
    stream.seek(begin, 1)
    size = -(-(first + pixels - begin * 8) // 16) * 2
    packed: NDArray[Any] = np.frombuffer(stream.read(size), np.uint8)
    if words:
        packed = packed[: len(packed) // 2 * 2].view(np.uint16).byteswap().view(np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[first - begin * 8 :][:pixels]
    return bits.reshape(found.rows, found.columns)
