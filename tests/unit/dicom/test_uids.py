from __future__ import annotations

from dermanode.dicom.uids import derive_uid


def test_same_parts_give_the_same_uid() -> None:
    assert derive_uid("case", "1") == derive_uid("case", "1")


def test_moving_a_letter_between_parts_gives_another_uid() -> None:
    assert derive_uid("ab", "c") != derive_uid("a", "bc")


def test_a_uid_is_a_128_bit_number_under_2_25() -> None:
    uid = derive_uid("anything")
    assert uid.startswith("2.25.")
    assert int(uid[5:]) < 2**128
    assert len(uid) <= 64
