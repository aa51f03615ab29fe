"""The doctor says whether pages can be set here, and what to install."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermanode.cli.doctor import Health, Sign, pages
from dermanode.cli.opened import Configuration
from dermanode.config import Pipeline, Settings
from dermanode.document import fonts


def chosen(*kinds: str, language: str = "en") -> Configuration:
    told = {
        "name": "one",
        "match": {"modalities": ["DMS"]},
        "stages": {},
        "outputs": {"kinds": kinds, "language": language},
    }
    return Configuration(Settings(), Path("dermanode.yaml"), (Pipeline.model_validate(told),))


def test_a_font_that_a_pipelines_language_lacks_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "lacking_libraries", dict)
    monkeypatch.setattr(fonts, "lacking_font", lambda language: "fonts-lohit-deva" if language == "hi" else None)
    sign = pages(chosen("PDF", language="hi"))
    assert sign.health is Health.MISSING
    assert sign.words == "a font for hi missing: sudo apt-get install -y fonts-lohit-deva"
    assert pages(chosen("PDF", language="de")).health is Health.GOOD


def test_where_no_pipeline_makes_the_report_what_it_lacks_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "lacking_libraries", lambda: {"libpango-1.0.so.0": "libpango-1.0-0"})
    monkeypatch.setattr(fonts, "lacking_font", lambda language: None)
    assert pages(chosen("SR")) == Sign(
        "report for people (PDF)", Health.NOTE, "libpango-1.0.so.0 missing: sudo apt-get install -y libpango-1.0-0"
    )
