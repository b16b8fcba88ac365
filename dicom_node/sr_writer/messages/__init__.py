"""Messages with the results of a run, from the same content tree as its DICOM objects: HL7 v2 ORU^R01 and FHIR bundles. Pure."""

from dicom_node.sr_writer.messages.build import Message, build_messages
from dicom_node.sr_writer.messages.forms import FhirForm, Hl7Form, MessageForm, form_for

__all__ = ["FhirForm", "Hl7Form", "Message", "MessageForm", "build_messages", "form_for"]
