"""Photographs with their outline drawn in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dermanode.testing import worked_cases


def test_every_view_is_shown_also_where_nothing_was_found(everything: Any) -> None:
    pictures = everything.datasets("OVERLAY")
    assert [picture.InstanceNumber for picture in pictures] == [1, 2, 3]
    assert ["no lesion found" in picture.DerivationDescription for picture in pictures] == [False, True, False]
    assert all("research use" in picture.ImageComments for picture in pictures)


def test_the_outline_lies_on_the_lesions_border_and_moves_no_pixel_within(tmp_path: Path, make_objects: Any, all_kinds: Any) -> None:
    photograph = worked_cases.photograph(1, rows=600, columns=800)
    made = make_objects(worked_cases.worked([photograph], tmp_path), None, all_kinds)
    shown = made.datasets("OVERLAY")[0].pixel_array[:600, :800]
    source = photograph.pixel_array
    changed = (shown != source).any(-1)
    y, x = np.nonzero(changed)
    away = np.hypot(x - 400, y - 300) - 0.3 * 600
    assert len(away) > 500
    assert np.abs(away).max() < 8
    assert (shown[changed].max(-1) > 200).any()  # white
    assert (shown[changed].max(-1) < 60).any()  # with a dark border


def test_it_shows_colours_and_says_what_it_is_made_of(everything: Any) -> None:
    picture, view = everything.datasets("OVERLAY")[0], everything.case.series.views[0]
    assert list(picture.ImageType) == ["DERIVED", "SECONDARY"]
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == view.sop_instance_uid
    assert (picture.Modality, picture.SeriesDescription) == ("OT", "DermaNode outlines")
    red, _, blue = picture.pixel_array[:300].reshape(-1, 3).mean(0)
    assert red - blue > 30  # skin, not grey
