"""Which presentation contexts a C-GET proposes, so that instances come as the source has them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import uid

from dicom_node.errors import SourceError

MOST_STORAGE_CONTEXTS = 127
"""128 presentation contexts fit into one association; one is the retrieval's own. Source: PS3.8 9.3.2.2, odd context IDs 1 to 255."""

TRANSFER_SYNTAXES: tuple[str, ...] = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.JPEGLosslessSV1,
    uid.JPEG2000Lossless,
    uid.JPEGLSLossless,
    uid.RLELossless,
    uid.HTJ2KLossless,
    uid.DeflatedExplicitVRLittleEndian,
    uid.JPEGLossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEG2000,
    uid.JPEGLSNearLossless,
    uid.HTJ2K,
    uid.ExplicitVRBigEndian,
    uid.MPEG2MPML,
    uid.MPEG2MPHL,
    uid.MPEG4HP41,
    uid.MPEG4HP41BD,
)

USUAL_SOP_CLASSES: tuple[str, ...] = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedMRColorImageStorage,
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.BreastTomosynthesisImageStorage,
    uid.BreastProjectionXRayImageStorageForPresentation,
    uid.DigitalIntraOralXRayImageStorageForPresentation,
    uid.XRayAngiographicImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    uid.EnhancedXAImageStorage,
    uid.EnhancedXRFImageStorage,
    uid.UltrasoundImageStorage,
    uid.UltrasoundMultiFrameImageStorage,
    uid.NuclearMedicineImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.EnhancedPETImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedPETImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.XRayRadiationDoseSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.SegmentationStorage,
    uid.ParametricMapStorage,
    uid.SpatialRegistrationStorage,
    uid.RTStructureSetStorage,
    uid.RTDoseStorage,
    uid.RTPlanStorage,
)
"""Proposed where neither the caller nor the source says what a study holds."""


def storage_proposal(sop_classes: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Share the contexts of one association among SOP classes.

    The acceptor takes one transfer syntax per context. Each class therefore gets as many contexts of a single syntax as fit; the
    source then finds one in which an instance is stored, and sends it without converting. What does not fit shares the last one.

    Args:
        sop_classes: Classes to fetch; empty for the usual ones. Repetitions are left out.

    Returns:
        SOP class and transfer syntaxes of each context, at most `MOST_STORAGE_CONTEXTS`.

    Raises:
        SourceError: more classes than contexts.
    """
    wanted = list(dict.fromkeys(sop_classes or USUAL_SOP_CLASSES))
    if len(wanted) > MOST_STORAGE_CONTEXTS:
        raise SourceError(
            f"{len(wanted)} SOP classes are wanted, {MOST_STORAGE_CONTEXTS} fit into one association",
            hint="fetch series by series",
        )
    single = min(MOST_STORAGE_CONTEXTS // len(wanted), len(TRANSFER_SYNTAXES)) - 1
    contexts: list[tuple[str, tuple[str, ...]]] = []
    for sop_class in wanted:
        contexts += [(sop_class, (syntax,)) for syntax in TRANSFER_SYNTAXES[:single]]
        contexts.append((sop_class, TRANSFER_SYNTAXES[single:]))
    return contexts
