"""A manifest is read without importing its plugin, and says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermanode.errors import PluginBroken
from dermanode.pipeline.manifest import Manifest, read_manifest

GOOD = """
name = "acme-segment"
version = "1.2.0"
api = 1
summary = "Finds lesions."
intended_use = "Research."
bundle = "acme_unet"

[stages.segment]
wants = { modalities = ["DMS"], fewest_views = 2, needs_priors = false }
timeout_s = 30
device = "cuda"
memory_mib = 2048

[stages.acme-stage]
"""


def read(folder: Path, text: str, name: str = "acme-segment") -> Manifest:
    file = folder / "dermanode.toml"
    file.write_text(text, encoding="utf-8")
    return read_manifest(file, name)


def refused(folder: Path, text: str, name: str = "acme-segment") -> str:
    with pytest.raises(PluginBroken) as error:
        read(folder, text, name)
    assert error.value.plugin == name
    return error.value.reason


def test_manifest_holds_what_each_stage_wants_and_may_take(tmp_path: Path) -> None:
    manifest = read(tmp_path, GOOD)
    segment = manifest.stages["segment"]
    assert (segment.wants.modalities, segment.wants.fewest_views) == (("DMS",), 2)
    assert (segment.timeout_s, segment.device, segment.memory_mib) == (30.0, "cuda", 2048)


def test_vendors_own_stage_gets_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD).stages["acme-stage"].timeout_s == 60.0


def test_another_api_is_refused_before_the_keys_of_another_contract(tmp_path: Path) -> None:
    words = refused(tmp_path, GOOD.replace("api = 1", "api = 7\nfuture_key = 1"))
    assert "`api` is 7, and this node speaks 1" in words


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('summary = "Finds lesions."', "", "`summary` is missing. Add it."),
        ("timeout_s = 30", "timeout = 30", "`stages.segment.timeout` is not a key. Did you mean `timeout_s`?"),
        ("fewest_views = 2", "fewest_view = 2", "`stages.segment.wants.fewest_view` is not a key. Did you mean `fewest_views`?"),
        ("api = 1", 'api = "one"', "`api` is 'one'"),
        ('device = "cuda"', 'device = "tpu"', "`stages.segment.device` is 'tpu'"),
        ("timeout_s = 30", "timeout_s = 0", "`stages.segment.timeout_s` is 0"),
        ("api = 1", "api = ", "is not valid TOML"),
    ],
)
def test_mistake_is_named_with_file_key_and_cure(tmp_path: Path, old: str, new: str, expected: str) -> None:
    words = refused(tmp_path, GOOD.replace(old, new))
    assert expected in words
    assert str(tmp_path / "dermanode.toml") in words


def test_manifest_must_bear_the_entry_points_name(tmp_path: Path) -> None:
    assert "Make them the same." in refused(tmp_path, GOOD, name="acme-other")


def test_missing_manifest_is_named_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(PluginBroken, match=r"is missing\. Put the manifest into the plugin's package"):
        read_manifest(tmp_path / "dermanode.toml", "acme")


def test_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dermanode.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PluginBroken, match="is not UTF-8 text"):
        read_manifest(tmp_path / "dermanode.toml", "acme")
