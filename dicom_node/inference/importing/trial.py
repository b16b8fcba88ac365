"""A network runs once on generated inputs before it is put in place, and with its repairs it computes what it computes without them."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.errors import ModelError
from dicom_node.inference.backends import SessionOptions, open_session
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.gate.parity import Lengths, check_parity
from dicom_node.inference.gate.subject import subject_of
from dicom_node.inference.importing.request import ImportFailedError


def run_on_generated_inputs(bundle: ModelBundle) -> str:
    """Run the reference engine.

    Returns:
        What came of it, for the operator; that nothing could be run if the network does not take the shapes that stand for open lengths.

    Raises:
        ImportFailedError: the network cannot be loaded, or its repairs change what it computes.
    """
    subject = subject_of(bundle)
    if not subject.networks:
        return "nothing was run: a program runs on images only"
    options = SessionOptions(trusted=True, profiles=subject.profiles, output_names=bundle.manifest.network.outputs)
    repaired = replace(options, repairs=bundle.manifest.network.repairs)
    backend, precision, network = subject.reference.backend, subject.reference.precision, subject.networks["network"]
    try:
        plain_session = open_session(backend, precision, network, options)
        repaired_session = open_session(backend, precision, network, repaired)
        with plain_session as plain, repaired_session as seen:
            cases = check_parity(plain, seen, Lengths(subject.profiles, subject.window), subject.tolerance)
    except ModelError as error:
        if "parity check cannot be made" in str(error):
            return f"{error} {error.hint}"
        raise ImportFailedError(f"{backend} does not take the network: {error}", hint=error.hint) from error
    if failed := [reason for case in cases for reason in case.failed]:
        raise ImportFailedError(f"on generated inputs: {failed[0]}")
    worst = max((array.relative_error for case in cases for array in case.agreement.outputs), default=0.0)
    made = f", with repairs as without them within {worst:.2g}" if repaired.repairs else ", with finite outputs"
    return f"{backend} {precision} ran on {len(cases)} generated inputs{made}"
