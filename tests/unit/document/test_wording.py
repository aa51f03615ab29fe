"""Numbers, dates and names as each language writes them."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

import pytest
from markupsafe import Markup

from dermanode.document.wording import Language, Wording, cleaned, direction_of, is_turned, person_name

ENGLISH, GERMAN, ARABIC = Wording("en"), Wording("de"), Wording("ar")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (21.37, "21.4"),
        (5.9, "5.90"),
        (0.0123456, "0.0123"),
        (-2.0, "−2.00"),
        (0.0, "0"),
        (12345.6, "12,346"),
        (0.00001234, "1.23 × 10⁻⁵"),
        (4.2e7, "4.20 × 10⁷"),
        (math.nan, "–"),
        (None, "–"),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, written: str) -> None:
    assert ENGLISH.number(value) == written


def test_the_decimal_sign_is_that_of_the_language() -> None:
    assert GERMAN.number(21.37) == "21,4"
    assert Wording("fr").share(0.623).replace("\xa0", " ") == "62 %"
    assert ARABIC.number(21.37) == "21.4"


def test_shares_never_read_as_nothing() -> None:
    assert ENGLISH.share(0.0004, 1) == "< 0.1%"
    assert ENGLISH.share(0.0, 1) == "0.0%"
    assert ENGLISH.share(0.058, 1) == "5.8%"


def test_an_interval_with_a_negative_end_is_written_in_words() -> None:
    assert ENGLISH.span(20.1, 22.9) == "20.1 – 22.9"
    assert GERMAN.span(-2.0, 5.0) == "−2,00 bis 5,00"


@pytest.mark.parametrize(
    ("language", "day"),
    [
        ("en", "November 20, 2026"),
        ("de", "20. November 2026"),
        ("fr", "20 novembre 2026"),
        ("es", "20 de noviembre de 2026"),
        ("hi", "20 नवंबर 2026"),
        ("ar", "20 نوفمبر 2026"),
    ],
)
def test_days_are_written_out(language: Language, day: str) -> None:
    assert Wording(language).day(date(2026, 11, 20)) == day


def test_moments_say_utc_where_the_zone_is_known() -> None:
    assert GERMAN.moment(datetime(2026, 11, 20, 9, 5, tzinfo=UTC)) == "20.11.2026, 09:05 UTC"
    assert GERMAN.moment(datetime(2026, 11, 20, 9, 5)) == "20.11.2026, 09:05"
    assert GERMAN.moment(None) == "–"


def test_a_phrase_that_no_catalogue_has_stays_english_and_says_so() -> None:
    assert GERMAN.phrase("Area").text == "Fläche"
    assert not Wording("es").phrase("Dermatofibroma").is_english
    assert GERMAN.phrase("Something of a vendor").is_english
    assert not ENGLISH.phrase("Something of a vendor").is_english


def test_only_arabic_runs_from_right_to_left() -> None:
    assert ARABIC.direction == "rtl"
    assert GERMAN.direction == "ltr"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Müller^Jörg", "Müller, Jörg"),
        ("Doe^Jane^Q^Dr.^MD", "Doe, Dr. Jane Q, MD"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田, 太郎, やまだ, たろう)"),
        ("=山田^太郎", "山田, 太郎"),
        ("Single", "Single"),
        ("", ""),
        ("^^^^^^^", ""),
    ],
)
def test_person_names_are_taken_apart(name: str, written: str) -> None:
    assert person_name(name) == written


def test_control_characters_and_turns_of_direction_are_taken_out() -> None:
    assert cleaned("a\x00b\u202ec\ud800\u2028") == "a\ufffdbc\ufffd\ufffd"
    assert isinstance(cleaned(Markup("<b>\x07</b>")), Markup)
    assert not isinstance(cleaned("<b>"), Markup)


def test_the_direction_of_a_text_is_that_of_its_first_letter() -> None:
    assert direction_of("123 محمد abc") == "rtl"
    assert direction_of("<b>Müller</b> محمد") == "ltr"
    assert direction_of("4711") == "ltr"


def test_text_is_turned_where_any_of_it_is_written_from_right_to_left() -> None:
    assert is_turned("Clinic الأحمد")
    assert is_turned("٣")  # Arabic digits
    assert not is_turned("Müller, Jörg 山田 3")
    assert not is_turned(None)
