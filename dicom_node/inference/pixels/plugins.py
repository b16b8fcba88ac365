"""One encoded frame to an array, by the fastest decoder that can; the next one where it is absent or fails."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from dicom_node.errors import PixelError
from dicom_node.inference.pixels.jpeg_color import JpegColor, jpeg_color

_DEVICE_PLUGIN = "nvimgcodec"
_DEVICE_MODULE = "nvidia.nvimgcodec.tools.dicom.pydicom_plugin"
_JPEG_LOSSLESS = ("gdcm", "pylibjpeg")
_JPEG_LS = ("pyjpegls", "gdcm", "pylibjpeg")
_HTJ2K = ("pylibjpeg",)

FASTEST_FIRST: dict[str, tuple[str, ...]] = {
    JPEGBaseline8Bit: ("pillow", "gdcm", "pylibjpeg"),
    JPEGExtended12Bit: ("pylibjpeg", "gdcm", "pillow"),
    JPEGLossless: _JPEG_LOSSLESS,
    JPEGLosslessSV1: _JPEG_LOSSLESS,
    JPEGLSLossless: _JPEG_LS,
    JPEGLSNearLossless: _JPEG_LS,
    JPEG2000Lossless: ("gdcm", "pylibjpeg", "pillow"),
    JPEG2000: ("pylibjpeg", "pillow", "gdcm"),
    HTJ2KLossless: _HTJ2K,
    HTJ2KLosslessRPCL: _HTJ2K,
    HTJ2K: _HTJ2K,
    RLELossless: ("pylibjpeg", "pydicom"),
}
"""Measured on 512 x 512 CT and 640 x 480 colour frames, docs/pixels.md; without a name pydicom takes what it happens to list first."""

_WITH_JPEG_MARKERS = frozenset({*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes})
_TURNS_COLORS = "pillow"
"""Turns YCbCr into RGB by itself where there is an Adobe marker, and does not say so: colours would be turned twice."""

_ONE_AT_A_TIME = Lock()
"""Every plug-in keeps Python's lock while it decodes: two that wait for each other are slower than one after the other."""


def register_device_decoders(devices: Sized, load: Callable[[str], Any] = importlib.import_module) -> bool:
    """Let the GPU decode JPEG, JPEG 2000 and HTJ2K; without a device nothing is even imported.

    The plug-in puts itself first in line on any machine; without a device each frame would fail there before another decoder gets it.

    Args:
        devices: What the device probe found.
        load: Imports a module by name.

    Returns:
        Whether it is registered: there is a device, and nvidia-nvimgcodec is installed.
    """
    if len(devices) == 0:
        return False
    try:
        return bool(load(_DEVICE_MODULE).register())
    except (ImportError, OSError, RuntimeError):
        return False


def plugin_order(decoder: Decoder) -> tuple[str, ...]:
    """Return the installed plug-ins of a transfer syntax, in the order in which they are tried."""
    installed = decoder.available_plugins
    first = [name for name in installed if _DEVICE_PLUGIN in name]
    known = [name for name in FASTEST_FIRST.get(decoder.UID, ()) if name in installed]
    return (*first, *known, *(name for name in installed if name not in {*first, *known}))


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A frame as its decoder gave it.

    Attributes:
        values: Shape (row, column) or (row, column, sample), the stored type; not to be modified.
        photometric_interpretation: Of `values`: decoders of JPEG 2000 and JPEG may have turned colours.
    """

    values: NDArray[Any]
    photometric_interpretation: str


@dataclass(slots=True)
class FrameDecoder:
    """Decodes the frames of one instance; threads may share it.

    Attributes:
        transfer_syntax: Of the instance.
        options: What pydicom's decoders want to know of the image pixel module.
        warnings: Sentences about decoders that failed, each once.
    """

    transfer_syntax: UID
    options: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    _failed: dict[str, str] = field(default_factory=dict)

    def decode(self, encoded: bytes) -> DecodedFrame:
        """Decode one encapsulated frame.

        Args:
            encoded: Without item headers.

        Raises:
            PixelError: no decoder of this transfer syntax is installed, or all of them failed; names what was tried and what to install.
        """
        decoder = decoder_for(self.transfer_syntax)
        plugins, options = list(plugin_order(decoder)), {**self.options, "number_of_frames": 1, "correct_unused_bits": False}
        if self.transfer_syntax in _WITH_JPEG_MARKERS and options["samples_per_pixel"] == 3:
            color = jpeg_color(encoded)
            self._settle_color(color, options)
            if color.adobe and _TURNS_COLORS in plugins:
                plugins.remove(_TURNS_COLORS)
        failures: dict[str, str] = {}
        for name in sorted(plugins, key=lambda n: n in self._failed):
            try:
                with _ONE_AT_A_TIME:
                    values, found = decoder.as_array(
                        encapsulate([encoded], has_bot=False), index=0, raw=True, validate=False, decoding_plugin=name, **options
                    )
            except Exception as error:  # noqa: BLE001 - foreign decoders raise what they like; all of it means: try the next one
                failures[name] = type(error).__name__
                continue
            self._note(failures, name)
            return DecodedFrame(values, str(found["photometric_interpretation"]))
        raise _nothing_decoded(decoder, failures)

    def _settle_color(self, color: JpegColor, options: dict[str, Any]) -> None:
        said, header = color.photometric_interpretation, str(options["photometric_interpretation"])
        if said and said.startswith("YBR") != header.startswith("YBR"):
            options["photometric_interpretation"] = said
            self._warn(f"Photometric Interpretation says {header}, the {self.transfer_syntax.name} stream says {said}, which is taken")

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def _note(self, failures: dict[str, str], decoded_by: str) -> None:
        for name, reason in failures.items():
            self._warn(f"decoder {name} failed on {self.transfer_syntax.name} ({reason}), {decoded_by} decoded it")
            self._failed[name] = reason


def decoder_for(transfer_syntax: UID) -> Decoder:
    """Return pydicom's decoder of a transfer syntax.

    Raises:
        PixelError: there is none, as for video.
    """
    try:
        return get_decoder(transfer_syntax)
    except NotImplementedError as error:
        raise PixelError(
            f"transfer syntax {transfer_syntax.name} cannot be decoded: no library here knows it", hint="send the images uncompressed"
        ) from error


def _nothing_decoded(decoder: Decoder, failures: dict[str, str]) -> PixelError:
    missing = "; ".join(decoder.missing_dependencies)
    if not failures:
        return PixelError(f"no decoder for {decoder.UID.name} is installed", hint=f"install one of: {missing}")
    tried = ", ".join(f"{name} ({reason})" for name, reason in failures.items())
    hint = f"not installed: {missing}" if missing else "the image may be damaged: send it again, or uncompressed"
    return PixelError(f"{decoder.UID.name} cannot be decoded; tried {tried}", hint=hint)
