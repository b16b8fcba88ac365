"""Whether a certificate is the one a peer must show. Pure."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

_SHORT_NAMES = {
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "E": NameOID.EMAIL_ADDRESS,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "title": NameOID.TITLE,
    "GN": NameOID.GIVEN_NAME,
    "SN": NameOID.SURNAME,
    "dnQualifier": NameOID.DN_QUALIFIER,
    "organizationIdentifier": NameOID.ORGANIZATION_IDENTIFIER,
}
"""As OpenSSL prints them, beyond those that RFC 4514 defines."""


def parse_subject(text: str) -> x509.Name | None:
    """Read a required subject; None if it is a plain common name.

    Args:
        text: `ct1.example.org`, or `CN=ct1.example.org,OU=Radiology,O=Hospital`.

    Raises:
        ValueError: neither.
    """
    if not text.strip():
        raise ValueError("a TLS subject is a common name or a distinguished name")
    if "=" not in text:
        return None
    try:
        return x509.Name.from_rfc4514_string(text, _SHORT_NAMES)
    except ValueError:
        hint = "copy what `openssl x509 -noout -subject -nameopt RFC2253 -in FILE` prints after `subject=`"
        raise ValueError(f"{text!r} is no distinguished name as RFC 4514 writes it; {hint}") from None


def subject_matches(required: str, certificate: bytes) -> bool:
    """Say whether a certificate carries the subject that a peer must have.

    Letters count by case. A distinguished name must be equal in all parts and their order; a common name must be the only one
    of the subject. Alternative names are not looked at: they name hosts, and the policy checks addresses by itself.

    Args:
        required: As `parse_subject` reads it.
        certificate: What the peer showed, DER; its chain was verified by the handshake.

    Raises:
        ValueError: `required` is no subject.
    Source: RFC 4514 (text), RFC 5280 4.1.2.6 (subject).
    """
    wanted, shown = parse_subject(required), x509.load_der_x509_certificate(certificate).subject
    if wanted is not None:
        return shown == wanted
    names = [attribute.value for attribute in shown.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return names == [required.strip()]
