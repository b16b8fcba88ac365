"""Sessions with HTTP servers, and their failures in words that quote no URL: it may hold what identifies a patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import requests

from dicom_node.domain.destinations import Origin
from dicom_node.errors import DeliveryError, DicomNodeError

_LONGEST_ANSWER = 32 << 20
_ANSWER_TIMES = 10
"""An answer that trickles may take this many times the time-out, no longer."""


def session_with(name: str, origin: Origin) -> AbstractContextManager[requests.Session]:
    """Open a session with a destination or receiver; see `open_session`.

    Raises:
        DeliveryError: a file with a secret cannot be read.
    """
    return open_session(origin, lambda message, hint: DeliveryError(f"{name}: {message}", hint=hint))


@contextmanager
def open_session(origin: Origin, fault: Callable[[str, str], DicomNodeError]) -> Iterator[requests.Session]:
    """Open a session that proves itself as its origin wants, has time-outs, and follows no environment: no proxy, no netrc.

    Args:
        origin: What it is for.
        fault: Makes an error of a message and a hint.

    Raises:
        DicomNodeError: as `fault` makes it: a file with a secret cannot be read.
    """
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Accept-Encoding"] = "identity"
        if origin.ca is not None:
            session.verify = str(origin.ca)
        if origin.token_file is not None:
            session.headers["Authorization"] = f"Bearer {_secret(origin.token_file, 'token_file', fault)}"
        if origin.password_file is not None:
            password = _secret(origin.password_file, "password_file", fault)
            session.auth = requests.auth.HTTPBasicAuth(origin.username.encode(), password.encode())
        session.request = partial(session.request, timeout=origin.timeout_s)  # type: ignore[method-assign]  # of every request
        yield session


def _secret(path: Path, option: str, fault: Callable[[str, str], DicomNodeError]) -> str:
    """Read a secret anew each time, so that a replaced file is taken over."""
    try:
        return path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise fault(f"{option} cannot be read ({type(error).__name__})", f"look at {path}") from error


@contextmanager
def delivering(name: str, timeout_s: float) -> Iterator[None]:
    """Word what goes wrong on the way to a destination.

    Raises:
        DeliveryError: no connection, no answer in time, or it broke.
    """
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise DeliveryError(f"{name}: TLS failed", hint="check ca of the destination, and its certificate") from error
    except (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError) as error:
        raise DeliveryError(f"{name}: no connection within {timeout_s:g} s", hint="check url and firewall") from error
    except requests.exceptions.Timeout as error:
        raise DeliveryError(f"{name}: nothing came for {timeout_s:g} s") from error
    except requests.exceptions.ConnectionError as error:
        raise DeliveryError(f"{name}: nobody listens there, or the connection broke", hint="check url and firewall") from error
    except requests.exceptions.RequestException as error:
        raise DeliveryError(f"{name}: the answer cannot be read ({type(error).__name__})", hint="check url of the destination") from error


def answer_body(response: requests.Response, name: str, origin: Origin) -> bytes:
    """Read a body of a sane length in a sane time.

    Raises:
        DeliveryError: it is neither.
    """
    limit_s = _ANSWER_TIMES * origin.timeout_s
    deadline, body = monotonic() + limit_s, bytearray()
    for block in response.iter_content(64 << 10):
        body += block
        if len(body) > _LONGEST_ANSWER or monotonic() > deadline:
            raise DeliveryError(f"{name}: the answer is longer than {_LONGEST_ANSWER >> 20} MiB or {limit_s:g} s")
    return bytes(body)
