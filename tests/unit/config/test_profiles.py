"""What each shipped profile sends, and what a profile does to destinations and pipelines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dermanode.config import Pipeline, Profile, Settings, load_pipelines, load_settings
from dermanode.config.load import load_profiles
from dermanode.domain import UID, Digest, ProducedObject
from dermanode.errors import ConfigurationError
from dermanode.messages.selection import NAMED_KINDS, select

SHIPPED = Path(__file__).parents[3] / "config" / "profiles"
SETTINGS = """
destinations:
  pacs:
    type: dimse
    ae_title: PACS
    host: h
    port: 104
    profile: {profile}
"""
PIPELINE = "name: one\nmatch: {modalities: [DMS]}\nstages: {}\noutputs: {kinds: [SEG, SR]}\ndeliver: [pacs]\n"
EVERYTHING = tuple(
    ProducedObject(
        kind=kind,
        path="c/kos-pacs.dcm" if kind == "KOS" else f"c/{kind.lower()}-1.dcm",
        digest=Digest("0" * 64),
        size_bytes=1,
        sop_instance_uid=UID("1.2"),
    )
    for kind in ("OTHER", *sorted(NAMED_KINDS, key=lambda kind: (kind == "KOS", kind)))
)
EXPECTED = {
    "orthanc": {"SEG", "SURFACE_SEG", "STL", "SC", "OVERLAY", "PMAP", "SR", "PDF", "OTHER"},
    "ohif": {"SEG", "SR", "OVERLAY", "SC", "PDF"},
    "weasis": {"SEG", "SR", "SC", "PDF"},
    "slicer": {"SEG", "PMAP", "STL", "SURFACE_SEG", "SR"},
    "plain": {"OVERLAY", "SC", "PDF", "SR"},
}


def loaded(folder: Path, profile: str, more: str = "", files: dict[str, str] | None = None) -> Settings:
    (folder / "profiles").mkdir(exist_ok=True)
    for source in SHIPPED.glob("*.yaml"):
        (folder / "profiles" / source.name).write_bytes(source.read_bytes())
    for name, text in (files or {}).items():
        (folder / "profiles" / name).write_text(text, encoding="utf-8")
    file = folder / "dermanode.yaml"
    file.write_text(SETTINGS.format(profile=profile) + more, encoding="utf-8")
    return load_settings(file)


def test_the_shipped_profiles_are_those_that_are_described() -> None:
    assert set(load_profiles(Settings(), SHIPPED.parent)) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_case_with_everything_sends(name: str, tmp_path: Path) -> None:
    pacs = loaded(tmp_path, name).destinations["pacs"]
    sent = {made.kind for made in EVERYTHING if made.path in select("pacs", pacs, EVERYTHING)}
    assert sent == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_line_of_a_shipped_profile_has_its_reason(name: str) -> None:
    lines = [line for line in (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8").splitlines() if line.startswith("  - ")]
    assert len(lines) == len(EXPECTED[name])
    assert [line for line in lines if not re.search(r"# \w{2,}.*\w", line)] == []


def test_the_pipeline_makes_what_the_profile_wants(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "plain", "pipelines: [one.yaml]\n")
    (tmp_path / "one.yaml").write_text(PIPELINE, encoding="utf-8")
    (pipeline,) = load_pipelines(settings, tmp_path)
    assert pipeline.outputs.kinds == ("SEG", "SR", "OVERLAY", "SC", "PDF")


def test_forms_are_made_only_for_whom_they_are_meant(tmp_path: Path) -> None:
    own = {"research.yaml": "name: research\nsend: [SEG_FRACTIONAL, SEG_LABELMAP]\n"}
    for profile, expected in (("ohif", set()), ("research", {"SEG_FRACTIONAL", "SEG_LABELMAP"})):
        settings = loaded(tmp_path, profile, "pipelines: [one.yaml]\n", own)
        (tmp_path / "one.yaml").write_text(PIPELINE, encoding="utf-8")
        (pipeline,) = load_pipelines(settings, tmp_path)
        assert {kind for kind in pipeline.outputs.kinds if kind in ("SEG_FRACTIONAL", "SEG_LABELMAP")} == expected


def test_kinds_that_a_destination_names_itself_win(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "ohif", "    send: [SR, KOS]\npipelines: [one.yaml]\n")
    pacs = settings.destinations["pacs"]
    assert select("pacs", pacs, EVERYTHING) == ("c/sr-1.dcm", "c/kos-pacs.dcm")
    (tmp_path / "one.yaml").write_text(PIPELINE, encoding="utf-8")
    (pipeline,) = load_pipelines(settings, tmp_path)
    assert pipeline.outputs.kinds == ("SEG", "SR", "KOS")


def test_without_a_profile_a_pipeline_makes_what_its_file_names(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "null", "pipelines: [one.yaml]\n")
    (tmp_path / "one.yaml").write_text(PIPELINE, encoding="utf-8")
    (pipeline,) = load_pipelines(settings, tmp_path)
    assert isinstance(pipeline, Pipeline)
    assert pipeline.outputs.kinds == ("SEG", "SR")


def test_an_unknown_profile_names_its_line_and_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        loaded(tmp_path, "oviyam")
    assert raised.value.line == 8
    assert "`destinations.pacs.profile` names the unknown profile 'oviyam'" in str(raised.value)
    assert "Known profiles: ohif, orthanc, plain, slicer, weasis." in str(raised.value)


def test_a_kind_that_nobody_makes_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        loaded(tmp_path, "mine", files={"mine.yaml": "name: mine\nsend:\n  - SEG\n  - HOLOGRAM\n"})
    assert (raised.value.line, Path(str(raised.value.file)).name) == (4, "mine.yaml")


def test_two_profiles_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="profile 'ohif' is already defined in"):
        loaded(tmp_path, "ohif", files={"zz.yaml": "name: ohif\nsend: [SR]\n"})


def test_a_profile_that_sends_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`send`"):
        loaded(tmp_path, "none", files={"none.yaml": "name: none\nsend: []\n"})


def test_what_can_be_sent_is_what_can_be_selected() -> None:
    kinds = Profile.model_json_schema()["properties"]["send"]["items"]["enum"]
    assert set(kinds) == NAMED_KINDS | {"OTHER"}
