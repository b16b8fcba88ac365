"""The whole of model.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dicom_node.config.section import Section
from dicom_node.domain.results import Stage
from dicom_node.inference.bundle.about_schema import Clearance, Contact, Facts
from dicom_node.inference.bundle.codes_schema import Label, Text
from dicom_node.inference.bundle.engines_schema import EnginesSection, ResourcesSection
from dicom_node.inference.bundle.inputs_schema import InputSlot, NetworkSection
from dicom_node.inference.bundle.outputs_schema import OutputsSection
from dicom_node.inference.bundle.scope_schema import IntendedUse, Protocol
from dicom_node.inference.bundle.verification_schema import VerificationSection
from dicom_node.inference.steps.schema import StepsSection


class Manifest(Section):
    """A model bundle's model.yaml: what the model is, what it is for, what goes in and what comes out."""

    schema_version: Literal[1] = Field(alias="schema", description="Version of this form: 1.")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,63}$")] = Field(description="Name in rules, lists and commands.")
    title: Label = Field(description="Name for people, at most 64 characters; stands in every result.")
    version: Annotated[Text, Field(max_length=16)] = Field(description="Version of the model; in quotes if it is a number.")
    manufacturer: Label = Field(description="Who made it; stands in every result.")
    stage: Stage = Field(description="research, validation, submitted or cleared; all but cleared are marked in every result.")
    clearances: tuple[Clearance, ...] = Field((), description="Where it may be used as a product; exactly when stage is cleared.")
    contacts: tuple[Contact, ...] = Field(min_length=1, description="Whom to ask.")
    facts: Facts = Field(description="The model's label.")
    intended_use: IntendedUse = Field(description="What the model is for; outside of it nothing is analysed.")
    protocol: Protocol = Field(
        default_factory=Protocol, description="How images should be acquired; outside of it results carry a warning."
    )
    inputs: tuple[InputSlot, ...] = Field(min_length=1, description="What goes in; results refer to the first.")
    network: NetworkSection = Field(default_factory=NetworkSection, description="The network file.")
    steps: StepsSection = Field(default_factory=StepsSection, description="What happens before, at and after the network.")
    outputs: OutputsSection = Field(description="What comes out.")
    engines: EnginesSection = Field(default_factory=EnginesSection, description="Which engines may run the network.")
    resources: ResourcesSection = Field(default_factory=ResourcesSection, description="What one run may take.")
    verification: VerificationSection = Field(default_factory=VerificationSection, description="Cases that engines have to pass.")
