"""The catalogues hold every word, translated, with its placeholders; what gettext reads is what people read."""

from __future__ import annotations

import gettext
import json
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog

from dermanode.document import catalogues, vocabulary
from dermanode.document.wording import LANGUAGES, Language, Wording
from dermanode.domain.codes import Quantity
from dermanode.messages.results import STAGE_WORDS

TRANSLATED: tuple[Language, ...] = tuple(language for language in LANGUAGES if language != "en")
ROOT = Path(__file__).parents[3]
_PLACE = re.compile(r"{(\w*)}")

each_language = pytest.mark.parametrize("language", TRANSLATED)


@each_language
def test_every_message_is_in_the_catalogue_translated_and_no_other(language: Language) -> None:
    catalogue = catalogues.read(language)
    held = {str(message.id): message for message in catalogue if message.id}
    assert set(held) == set(catalogues.said())
    assert [name for name, message in held.items() if not message.string or message.fuzzy] == []


@each_language
def test_placeholders_agree(language: Language) -> None:
    for message in catalogues.read(language):
        assert sorted(_PLACE.findall(str(message.id))) == sorted(_PLACE.findall(str(message.string))), message.id


@each_language
def test_the_compiled_catalogue_says_what_the_written_one_says(language: Language) -> None:
    with catalogues.po_file(language).with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for message in catalogues.read(language):
        if message.id:
            assert compiled.gettext(str(message.id)) == message.string


@each_language
def test_the_written_catalogue_is_up_to_date(language: Language) -> None:
    old = catalogues.read(language)
    new = catalogues.updated(old, catalogues.said())
    assert [message.id for message in new if message.id] == [message.id for message in old if message.id]


def test_what_is_said_is_taken_from_templates_and_code() -> None:
    said = catalogues.said()
    assert said["What is missing here was not assessed and must not be read as negative."] == "templates/report.html"
    assert said["Trend: {share} of the first visit's value in 30 days"] == "templates/chart.svg"
    assert said["Malignant melanoma of skin"] == "vocabulary.py"
    assert said["Not segmented"] == "report.py"


def test_an_updated_catalogue_keeps_translations_and_adds_what_is_new() -> None:
    old = Catalog(locale="de")
    old.add("Left", "Links")
    old.add("Gone", "Weg")
    new = catalogues.updated(old, {"Left": "a.py", "New": "b.html"})
    assert {str(message.id): message.string for message in new if message.id} == {"Left": "Links", "New": ""}


def test_stages_are_called_as_the_messages_call_them() -> None:
    assert {stage: vocabulary.STAGES[stage] for stage in STAGE_WORDS} == STAGE_WORDS


def test_every_measurement_of_the_nodes_own_plugins_has_a_name_in_every_language() -> None:
    catalogue = pytest.importorskip("dermanode_fuse.catalogue")
    difference = pytest.importorskip("dermanode_progression.difference")
    tracked = pytest.importorskip("dermanode_progression.tracked")
    settings = pytest.importorskip("dermanode_progression.settings").ProgressionSettings()
    quantities = [one for module in (catalogue, difference) for one in vars(module).values() if isinstance(one, Quantity)]
    names = {one.concept.meaning for one in quantities}
    followed = [*tracked.tracked(settings), tracked.tracked_probability(settings)]
    names |= {f"Change of {one.name.lower()} since the {which} visit" for one in followed for which in ("last", "first")}
    names |= {f"Growth of {one.name.lower()} in 30 days, as a share of the first visit's" for one in followed if one.has_trend}
    assert len(names) > 50
    for language in TRANSLATED:
        assert {name for name in names if Wording(language).phrase(name).is_english} == set()
    # Sizes in pixels and what pictures show are measured or left out, never named as missing.
    in_mm = {one.key for one in vars(catalogue).values() if isinstance(one, Quantity) and not one.key.endswith("_px")}
    assert in_mm <= set(vocabulary.KEYS)


def test_every_class_of_the_nodes_own_model_has_a_name_in_every_language() -> None:
    told = json.loads((ROOT / "models" / "lesion_classifier" / "configs" / "classes.json").read_text(encoding="utf-8"))
    names = {one["concept"][2] for listing in (*told["diagnoses"].values(), told["groups"]) for one in listing}
    for language in TRANSLATED:
        assert {name for name in names if Wording(language).phrase(name).is_english} == set()


def test_every_default_recommendation_and_part_of_the_risk_is_translated() -> None:
    settings = pytest.importorskip("dermanode_risk.settings").RiskSettings()
    words = {settings.recommendation_low, settings.recommendation_moderate, settings.recommendation_high}
    words |= {"probability", "growth", "curvature", "asymmetry", "ABCD change"}
    for language in TRANSLATED:
        assert {one for one in words if Wording(language).phrase(one).is_english} == set()
