"""What the listener agrees to: every storage SOP class, in every transfer syntax that can be written down as it comes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from pydicom.uid import UID_dictionary
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification, register_uid, uid_to_service_class

# Where a sender offers several in one context it can make each of them: take what loses nothing and costs it least.
TRANSFER_SYNTAXES = tuple(
    f"1.2.840.10008.1.2{suffix}"
    for suffix in (
        *(".1", "", ".2", ".1.99", ".8.1"),  # explicit and implicit little endian, big endian, deflated, deflated frames
        *(".5", ".4.80", ".4.90", ".4.201", ".4.202", ".4.70", ".4.57", ".4.110"),  # lossless
        *(".4.50", ".4.51", ".4.81", ".4.91", ".4.203", ".4.111", ".4.112"),  # lossy, or either
    )
)

_NOT_STORED = ("1.2.840.10008.1.3.10", "1.2.840.10008.1.20.")
"""Media Storage Directory and Storage Commitment: storage by name only."""


_DICOM_ROOT = "1.2.840.10008."


class SharedContexts(list[PresentationContext]):
    """Contexts that every association reads and none changes: pynetdicom copies them for each, which would take 50 ms."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self


def storage_classes() -> tuple[str, ...]:
    """The UIDs of all storage SOP classes that pynetdicom or pydicom's dictionary know, retired ones included."""
    known = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    for uid, (name, kind, *_) in UID_dictionary.items():
        if kind == "SOP Class" and "Storage" in name and not uid.startswith(_NOT_STORED):
            known.add(uid)
    return tuple(sorted(known))


def supported_contexts() -> SharedContexts:
    """The contexts of the listener: verification, storage, and storage commitment in both roles."""
    contexts = [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in storage_classes()]
    commitment = build_context(StorageCommitmentPushModel, list(TRANSFER_SYNTAXES[:2]))
    # A sender asks us as SCU; a PACS that reports on what we asked is the SCP and says so by role selection (PS3.7 D.3.3.4).
    commitment.scu_role = commitment.scp_role = True
    return SharedContexts([build_context(Verification, list(TRANSFER_SYNTAXES[:3])), commitment, *contexts])


def private_contexts(proposed: Iterable[PresentationContext]) -> list[PresentationContext]:
    """Contexts for the SOP classes of vendors among those proposed (outside DICOM's own root): their objects are stored like any other."""
    private = {str(context.abstract_syntax) for context in proposed if not str(context.abstract_syntax).startswith(_DICOM_ROOT)}
    return [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in sorted(private)]


def register_storage_classes() -> None:
    """Tells pynetdicom's own handlers about the storage classes that it does not know: needed where the lane does not serve."""
    for uid in storage_classes():
        if uid_to_service_class(uid) is not StorageServiceClass:
            register_uid(uid, "StorageClass" + uid.replace(".", "_"), StorageServiceClass)
