"""Colours of a device with an ICC profile, brought to sRGB (PS3.3 C.11.15)."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from dermanode.domain.series import RGB

_LONGEST_BYTES = 4 << 20


def in_srgb(rgb: RGB, icc_profile: bytes) -> RGB:
    """The pixels as sRGB, perceptual intent; unchanged where the profile is sRGB already, or cannot be used.

    A damaged profile is no reason to lose a photograph: most viewers ignore profiles altogether.
    """
    if not 128 < len(icc_profile) <= _LONGEST_BYTES:
        return rgb
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        if "srgb" in (source.profile.profile_description or "").lower() or source.profile.xcolor_space.strip() != "RGB":
            return rgb
        converted = ImageCms.profileToProfile(Image.fromarray(rgb), source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return rgb
    return rgb if converted is None else np.asarray(converted)
