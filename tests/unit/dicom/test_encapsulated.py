"""The report for people inside the study."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dermanode.dicom.encode import encode_case
from dermanode.errors import EncodingError
from dermanode.testing import worked_cases


def test_the_document_comes_out_as_it_went_in(everything: Any) -> None:
    (document,) = everything.datasets("PDF")
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == worked_cases.SMALL_PDF
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert len(document.EncapsulatedDocument) % 2 == 0


def test_it_has_a_title_a_name_and_every_photograph(everything: Any) -> None:
    (document,) = everything.datasets("PDF")
    assert document.DocumentTitle == "Report on Lesion 3, research use"
    assert document.ConceptNameCodeSequence[0].CodeValue == "126000"
    views = [item.ReferencedSOPInstanceUID for item in document.SourceInstanceSequence]
    assert views == [view.sop_instance_uid for view in everything.case.series.views]
    assert (document.Modality, document.BurnedInAnnotation, document.TrackingUID) == ("DOC", "YES", everything.case.series.tracking_uid)


@pytest.mark.parametrize("damaged", [b"", b"<html>", worked_cases.SMALL_PDF[:-8]])
def test_what_is_no_whole_pdf_is_not_encapsulated(damaged: bytes, everything: Any, all_kinds: Any) -> None:
    with pytest.raises(EncodingError, match="no whole PDF"):
        encode_case(everything.case, everything.outcome, replace(all_kinds, kinds=("PDF",)), damaged)


def test_where_nobody_wrote_it_the_report_says_so(made: Any, all_kinds: Any) -> None:
    (report,) = encode_case(made.case, made.outcome, replace(all_kinds, kinds=("PDF", "SR")))
    said = [item.TextValue for item in report.dataset.ContentSequence[-1].ContentSequence if item.ValueType == "TEXT"]
    assert "Encapsulated PDF object not made: the report for people was not written" in said
