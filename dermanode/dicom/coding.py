"""Coded concepts as DICOM writes them (PS3.3 8.8)."""

from __future__ import annotations

from functools import lru_cache

from highdicom.sr import CodedConcept
from pydicom import Dataset

from dermanode.dicom.repertoire import Repertoire
from dermanode.dicom.uids import derive_uid
from dermanode.domain.codes import PRIVATE_SCHEME, Code


@lru_cache(maxsize=1024)
def coded(code: Code, repertoire: Repertoire) -> CodedConcept:
    """The item of a code sequence. It is made once, for all places where it stands: nobody may change it."""
    return CodedConcept(value=code.value, meaning=repertoire.fit(code.meaning, 64), scheme_designator=code.scheme)


def private_scheme() -> Dataset:
    """The item of Coding Scheme Identification Sequence (0008,0110) that says whose 99DERMANODE is."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeUID = derive_uid("coding scheme", PRIVATE_SCHEME)
    item.CodingSchemeName = "DermaNode private concepts"
    item.CodingSchemeResponsibleOrganization = "DermaNode"
    return item
