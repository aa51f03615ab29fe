"""A DICOMweb service, with its data in the test's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dermanode.config import Web
from dermanode.testing.dicomweb import Service, dicomweb_service


@pytest.fixture
def web() -> Web:
    """The settings of the site; a test may give others."""
    return Web()


@pytest.fixture
def service(tmp_path: Path, web: Web) -> Iterator[Service]:
    with dicomweb_service(tmp_path, web) as made:
        yield made
