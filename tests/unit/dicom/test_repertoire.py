from __future__ import annotations

import pytest

from dermanode.dicom.repertoire import Repertoire


def test_without_a_character_set_text_is_ascii() -> None:
    assert Repertoire.of(None).fit("Δ ± 3 °") == "Delta +/- 3 deg"


def test_utf_8_takes_everything_as_it_is() -> None:
    assert Repertoire.of("ISO_IR 192").fit("Δ ± 3 °, 皮膚") == "Δ ± 3 °, 皮膚"


@pytest.mark.parametrize(("terms", "text"), [(["", "ISO 2022 IR 87"], "皮膚"), ("GB18030", "皮肤"), ("ISO_IR 100", "Rücken")])
def test_text_of_the_declared_character_set_is_kept(terms: str | list[str], text: str) -> None:
    assert Repertoire.of(terms).fit(text) == text


def test_half_width_katakana_is_all_that_iso_ir_13_adds() -> None:
    repertoire = Repertoire.of("ISO_IR 13")
    assert repertoire.has("ﾔﾏﾀﾞ")
    assert not repertoire.has("山田")


def test_letters_with_accents_lose_them_where_they_cannot_be_written() -> None:
    assert Repertoire.of("ISO_IR 100").fit("Ángström ≤ 3, 皮") == "Ángström <= 3, ?"


def test_a_term_that_nobody_defined_leaves_ascii() -> None:
    assert Repertoire.of("UTF-8").fit("Müller") == "Muller"


def test_a_backslash_becomes_a_slash_because_it_would_part_the_value() -> None:
    assert Repertoire.of(None).fit("a\\b\nc") == "a/b c"


def test_too_long_a_text_ends_in_dots() -> None:
    assert Repertoire.of(None).fit("x" * 80, 64) == "x" * 61 + "..."
