"""What OpenCV does once, at its first use."""

from __future__ import annotations

import numpy as np

from dermanode.domain import UID, View
from dermanode.domain.series import RGB
from dermanode_progression.difference import differ
from dermanode_progression.drawing import draw
from dermanode_progression.picture import open_picture
from dermanode_progression.registration import marks, register


class _Noise:
    """A picture of nothing that can be laid over itself."""

    def decode(self, longest_side_px: int | None = None) -> RGB:
        return np.random.default_rng(0).integers(0, 255, (160, 200, 3), np.uint8).repeat(2, axis=0).repeat(2, axis=1)


def lay_one_over_another() -> None:
    """Goes the whole way once, on a picture that is made here."""
    view = View(UID("1.2.3"), UID("1.2.3"), 320, 400, _Noise())
    picture = open_picture(view, [[(150.0, 120.0), (250.0, 120.0), (250.0, 200.0), (150.0, 200.0)]])
    found = marks(picture)
    fit = register(found, found, least_matches=8, least_likeness=0.0)
    if not isinstance(fit, str):
        draw(picture.pixels, differ(picture, picture, fit))
