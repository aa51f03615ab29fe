"""The report for people: what it says, of whom, and what it never leaves unsaid."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pypdf
import pytest

from dermanode.document import fonts, report
from dermanode.document.report import encode_pdf
from dermanode.document.wording import LANGUAGES, Language
from dermanode.domain import (
    UID,
    Case,
    Classification,
    Code,
    Order,
    Outcome,
    Patient,
    PicturedProgression,
    Progression,
    Risk,
    StageReport,
    StageStatus,
    ViewComparison,
)
from dermanode.errors import CannotSetPages, UnreadableObject
from dermanode.testing.worked_cases import case_of, outcome_of, photograph, worked

MADE_AT = datetime(2026, 11, 28, 19, 30, tzinfo=UTC)
JOERG = Patient(patient_id="P-4711", issuer="CLINIC", name="Müller^Jörg", birth_date=date(1970, 1, 1), sex="M")
Told = Callable[[Language], tuple[str, ...]]

pytestmark = pytest.mark.skipif(
    bool(fonts.lacking_libraries()), reason=f"Debian's {', '.join(fonts.lacking_libraries().values())} are not installed"
)


def encoded(case: Case, outcome: Outcome | None = None, language: Language = "en") -> bytes:
    if lack := fonts.lacking_font(language):
        pytest.skip(f"Debian's package {lack} is not installed")
    return encode_pdf(case, outcome or outcome_of(case), language=language, made_at=MADE_AT, institution="Clinic of the Coast")


def pages_of(pdf: bytes) -> list[str]:
    """The text of each page, every run of white space as one blank."""
    return [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(pdf)).pages]


def text_of(case: Case, outcome: Outcome | None = None, language: Language = "en") -> str:
    return " ".join(pages_of(encoded(case, outcome, language)))


def of(case: Case, patient: Patient) -> Case:
    return replace(case, series=replace(case.series, patient=patient, study_date=date(2026, 11, 20), manufacturer="Lens & Light"))


@pytest.fixture
def single(tmp_path: Path) -> Case:
    """One view, a relative surface, every stage."""
    return of(worked([photograph(1)], tmp_path / "single"), JOERG)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Eight views, a surface in millimetres, two earlier visits."""
    return of(worked([photograph(number) for number in range(1, 9)], tmp_path_factory.mktemp("followed"), is_metric=True), JOERG)


@pytest.fixture(scope="module")
def told(followed: Case) -> Told:
    """The pages of that case, made once a language."""
    return cache(lambda language: tuple(pages_of(encoded(followed, language=language))))


def with_finding(case: Case, change: Callable[[object], object]) -> Case:
    return replace(case, findings=tuple(change(finding) for finding in case.findings))  # type: ignore[misc]  # a test's own change


def test_who_what_and_how_sure_stand_on_the_first_page(told: Told) -> None:
    first = told("en")[0]
    for said in (
        "Müller, Jörg",
        "P-4711 (CLINIC)",
        "January 1, 1970",
        "A-17",
        "Skin of back",
        "Left",
        "Lesion 3",
        "Clinic of the Coast",
        "High risk · score 0.61 of 1",
        "Malignant melanoma of skin · 62% ± 4",
        "Volume of Mesh: 14.6 mm³ (14.2 – 15.0)",
        "Volume rose by 24 % since the last visit",
        "See a dermatologist within two weeks.",
        "Analysis complete",
    ):
        assert said in first


def test_every_page_says_research_patient_case_and_page(told: Told) -> None:
    pages = told("en")
    assert 1 < len(pages) <= 3
    for number, page in enumerate(pages, 1):
        assert "Research software, not a cleared medical device" in page
        assert "Patient ID P-4711 (CLINIC) · Case case-1" in page
        assert f"Page {number} / {len(pages)}" in page


def test_measurements_stand_in_the_order_of_the_dicom_report(told: Told) -> None:
    text = " ".join(told("en")).partition("Measurement Value 90 % interval")[2]
    names = ["Volume of Mesh", "Height, Maximum", "Area", "Long axis", "Risk score", "Perimeter", "Short axis", "Asymmetry of shape"]
    places = [text.index(name) for name in names]
    assert places == sorted(places)


def test_changes_trend_views_left_out_and_software_are_told(told: Told, followed: Case) -> None:
    text = " ".join(told("en"))
    for said in (
        "Change of area since the last visit 1.50 % −2.00 to 5.00",
        "Trend: +9.0% of the first visit's value in 30 days",
        "View 8 was not used for the surface",
        "blurred: 12 points could be followed, and 40 are needed",
        "Area rose by 2 % since the last visit, within error.",
        "classify_bundle 0.1.0",
    ):
        assert said in text
    assert followed.classification is not None
    assert followed.classification.algorithm.weights_digest in text


def test_the_parts_of_the_risk_and_what_it_lacks_are_told(single: Case) -> None:
    text = text_of(single)
    assert "malignancy 0.6 × 0.7 = 0.42" in text
    assert "Missing: volume – no metric surface" in text
    assert "The heights are relative, not millimetres" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_not_done_is_said_in_every_language(tmp_path: Path, language: Language) -> None:
    case = case_of([photograph(1)], tmp_path)
    failed = StageReport(stage="segment", status=StageStatus.FAILED, plugin="acme-segment", reason="missed its deadline of 2 s")
    absent = StageReport(stage="risk", status=StageStatus.NOT_SERVED)
    told = replace(outcome_of(case, (failed, absent)), unreadable=((UID("1.2.3.4"), "the JPEG stream ends early"),))
    text = text_of(case, told, language)
    said = {
        "en": ("ANALYSIS FAILED", "Segmentation: not performed (failed)", "must not be read as negative"),
        "de": ("ANALYSE FEHLGESCHLAGEN", "Segmentierung: nicht durchgeführt", "unauffälliger Befund"),
        "fr": ("ÉCHEC DE L'ANALYSE", "Segmentation : non effectuée", "ne doit pas être interprété comme négatif"),
        "es": ("EL ANÁLISIS HA FALLADO", "Segmentación: no realizada", "no debe interpretarse como negativo"),
        "hi": ("1.2.3.4",),  # what Devanagari's marks become when text is taken out of a PDF differs from reader to reader
        "ar": ("فشل", "سلبية"),
    }[language]
    for words in (*said, "missed its deadline of 2 s", "the JPEG stream ends early"):
        assert words in text


def test_a_stage_declined_makes_the_analysis_incomplete_not_failed(single: Case) -> None:
    declined = StageReport(stage="progression", status=StageStatus.DECLINED, plugin="p", reason="no earlier visit is known")
    text = text_of(single, outcome_of(single, (declined,)))
    assert "Analysis incomplete" in text
    assert "Comparison with earlier visits: not performed (declined) [p] – no earlier visit is known" in text
    assert "FAILED" not in text


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("de", ("Malignes Melanom der Haut · 62\xa0% ± 4", "14,6 mm³", "28.11.2026, 19:30 UTC", "Haut des Rückens", "Größe der Läsion")),
        ("fr", ("Mélanome malin de la peau", "14,6 mm³", "28 nov. 2026", "Peau du dos", "Risque élevé")),
        ("es", ("Melanoma maligno de la piel", "14,6 mm³", "28 nov 2026", "Piel de la espalda", "Riesgo alto")),
        ("hi", ("14.6 mm³", "Müller, Jörg")),
        ("ar", ("14.6 mm³", "Müller, Jörg", "28/11/2026")),
    ],
)
def test_words_numbers_and_dates_are_those_of_the_language(told: Told, language: Language, said: tuple[str, ...]) -> None:
    text = " ".join(told(language)).replace("\xa0", " ")
    for words in said:
        assert words.replace("\xa0", " ") in text


def test_hindi_and_arabic_letters_can_be_taken_out_again(told: Told) -> None:
    hindi, arabic = " ".join(told("hi")), " ".join(told("ar"))
    assert sum("\u0900" <= letter <= "\u097f" for letter in hindi) > 800
    assert sum("\u0600" <= letter <= "\u06ff" or "\ufb50" <= letter <= "\ufeff" for letter in arabic) > 800


def test_an_english_sentence_of_a_plugin_keeps_its_order_in_arabic(told: Told) -> None:
    assert "Volume rose by 24 % since the last visit (2026-08-21, 91 days before), more than 20 %." in " ".join(told("ar"))


def test_language_title_dates_and_identifier_are_set_and_bytes_are_the_same_again(single: Case) -> None:
    pdf = encoded(single, language="ar")
    assert pdf == encoded(single, language="ar")
    document = pypdf.PdfReader(io.BytesIO(pdf))
    assert document.root_object["/Lang"] == "ar"
    assert document.root_object["/ViewerPreferences"]["/Direction"] == "/R2L"  # type: ignore[index]
    assert document.metadata is not None
    assert document.metadata.title is not None
    assert document.metadata.title.endswith("case-1")
    assert document.metadata.creation_date == MADE_AT
    about = document.root_object["/Metadata"].get_object().get_data()  # type: ignore[attr-defined]
    assert b"pdfaid:part" in about or b'part="3"' in about
    assert len(pdf) < 2_000_000


def test_every_font_is_embedded(followed: Case) -> None:
    document = pypdf.PdfReader(io.BytesIO(encoded(followed, language="hi")))
    fonts_used = [font.get_object() for page in document.pages for font in page["/Resources"]["/Font"].values()]  # type: ignore[index]
    names = {str(font["/BaseFont"]) for font in fonts_used}
    assert any("DejaVu" in name for name in names)
    assert any("Lohit" in name for name in names)
    for font in fonts_used:
        descriptor = font["/DescendantFonts"][0].get_object()["/FontDescriptor"]
        assert {"/FontFile2", "/FontFile3"} & set(descriptor)
        assert "/ToUnicode" in font


def test_a_hostile_name_is_shown_as_it_is_and_fetches_nothing(single: Case, caplog: pytest.LogCaptureFixture) -> None:
    name = '<img src="file:///etc/passwd"><script>alert(1)</script>\x00\x07\u202egpj^{{7*7}}'
    case = of(single, Patient(patient_id="<b>1</b>&", name=name, sex="<i>"))
    with caplog.at_level(logging.WARNING, "weasyprint"):
        text = text_of(case)
    assert '"file:///etc/passwd"><script>alert(1)</script>' in text.replace(" ", "")
    assert "{{7*7}}" in text
    assert "<b>1</b>&" in text
    assert "\u202e" not in text
    assert "root:" not in text
    assert caplog.records == []


def test_a_name_without_a_font_here_falls_back_to_its_letters_and_says_so(single: Case) -> None:
    case = of(single, Patient(patient_id="1", name="Yamada^Tarou=\U000e0041^\U000e0042"))
    text = text_of(case)
    assert "Yamada, Tarou" in text
    assert "This machine has no font for some characters of this report" in text


def test_an_arabic_name_and_a_japanese_one_are_set_in_any_language(single: Case) -> None:
    for name in ("الأحمد^محمد", "Yamada^Tarou=山田^太郎=やまだ^たろう"):
        assert text_of(of(single, Patient(patient_id="1", name=name)), language="de")


def test_numbers_that_are_none_are_not_measured_and_a_faulty_classification_is_a_failure(single: Case) -> None:
    def broken(finding: object) -> object:
        if isinstance(finding, Classification):
            wrong = replace(finding.diagnosis[0], probability=math.nan)
            return replace(finding, diagnosis=(wrong, *finding.diagnosis[1:]))
        return replace(finding, score=math.inf) if isinstance(finding, Risk) else finding

    text = text_of(with_finding(single, broken))
    assert "Classification: not performed (failed)" in text
    assert "Risk assessment: not performed (failed)" in text
    assert "it gave numbers that are not between 0 and 1" in text
    assert "nan" not in text.lower().replace("dominan", "")
    assert "Most probable class" not in text


def test_pictures_the_classifier_does_not_know_raise_an_alert(single: Case) -> None:
    text = text_of(with_finding(single, lambda one: replace(one, is_in_domain=False) if isinstance(one, Classification) else one))
    assert "its probabilities must not be relied on" in text
    assert "Malignant melanoma of skin · 62% ± 4 Not to be relied on" in text


def test_a_view_that_cannot_be_decoded_does_not_cost_the_report(single: Case) -> None:
    class Torn:
        def decode(self, longest_side_px: int | None = None) -> object:
            raise UnreadableObject("1.2", "torn")

    views = tuple(replace(view, source=Torn()) for view in single.series.views)  # type: ignore[arg-type]
    assert "Müller, Jörg" in text_of(replace(single, series=replace(single.series, views=views)))


def test_a_series_without_anything_to_name_it_is_still_reported(tmp_path: Path) -> None:
    case = case_of([photograph(1, spacing_mm=None)], tmp_path)
    bare = replace(case.series, patient=Patient(patient_id=""), body_site=None, laterality="", tracking_id=None, acquired_at=None)
    text = text_of(replace(case, series=bare), outcome_of(case, ()))
    assert "There is no result to show." in text
    assert "Patient ID –" in text


def test_a_correction_and_the_order_are_named(single: Case) -> None:
    ordered = replace(
        single,
        order=Order(accession_number="ACC-9", placer_number="PLACER-5"),
        series=replace(single.series, accession_number=""),
        is_correction=True,
    )
    first = pages_of(encoded(ordered))[0]
    assert "Corrected report: it replaces the report of an earlier revision of this case." in first
    assert "Accession number: ACC-9" in first
    assert "Order number: PLACER-5" in first


def test_views_laid_over_an_earlier_visit_are_shown_with_its_date(followed: Case) -> None:
    grey = np.full((60, 80, 3), 128, np.uint8)
    now, then = followed.series.views[2].sop_instance_uid, followed.series.views[0].sop_instance_uid
    pair = ViewComparison(
        sop_instance_uid=now, prior_case_id="case-2", prior_view_uid=then, to_prior=np.eye(3), now=grey, then=grey, difference=grey
    )

    def pictured(finding: object) -> object:
        if not isinstance(finding, Progression):
            return finding
        known = {one.name: getattr(finding, one.name) for one in fields(finding)}
        return PicturedProgression(**known, comparisons=(pair,))

    text = text_of(with_finding(followed, pictured))
    assert "This visit · View 3" in text
    assert "Earlier visit: Aug 21, 2026" in text


def test_earlier_visits_that_could_not_be_asked_for_are_told(single: Case) -> None:
    assert "Earlier visits may be missing archive could not be asked" in text_of(
        replace(single, prior_gaps=("archive could not be asked",))
    )


def test_a_site_unknown_to_the_catalogue_stays_as_the_device_wrote_it(single: Case) -> None:
    series = replace(single.series, body_site=Code("1", "SCT", "Skin of left big toe web"))
    assert "Skin of left big toe web" in text_of(replace(single, series=series), language="de")


def test_a_missing_library_is_an_error_that_names_the_package(single: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fonts.LIBRARIES, "libno-such-thing.so.7", "libno-such-thing7")
    with pytest.raises(CannotSetPages, match=r"libno-such-thing\.so\.7 cannot be loaded.*apt-get install libno-such-thing7"):
        encode_pdf(single, outcome_of(single), language="en", made_at=MADE_AT)


def test_a_missing_font_is_an_error_that_names_the_package(single: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "has_font_with", lambda letters: "अ" not in letters)
    with pytest.raises(CannotSetPages, match=r"language 'hi'.*fonts-lohit-deva"):
        encode_pdf(single, outcome_of(single), language="hi", made_at=MADE_AT)
    assert report.fonts.lacking_font("de") is None
