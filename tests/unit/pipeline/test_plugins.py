"""Discovery imports nothing, and one broken package never stops it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dermanode.pipeline.plugins import Found, discover, errors, manifests
from dermanode.testing.plugin_package import installed_in, manifest_text, write_plugin


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def found_in(site: Path) -> dict[str, Found]:
    return {plugin.name: plugin for plugin in discover(installed_in(site))}


def test_plugin_is_known_without_being_imported(site: Path) -> None:
    write_plugin(site, "acme-quiet", "raise AssertionError('it was imported')", stages={"segment": {}})
    found = found_in(site)["acme-quiet"]
    assert found.error == ""
    assert found.manifest is not None
    assert list(found.manifest.stages) == ["segment"]
    assert found.distribution == "acme-quiet 1.0"
    assert "acme_quiet" not in sys.modules


def test_broken_package_is_listed_with_its_error_beside_a_good_one(site: Path) -> None:
    write_plugin(site, "acme-bad", "", manifest="name = ")
    write_plugin(site, "acme-future", "", manifest=manifest_text("acme-future", {}, api=99))
    write_plugin(site, "acme-good", "", stages={"risk": {}})
    found = discover(installed_in(site))
    assert [plugin.name for plugin in found] == ["acme-bad", "acme-future", "acme-good"]
    assert "is not valid TOML" in errors(found)["acme-bad"]
    assert "`api` is 99" in errors(found)["acme-future"]
    assert list(manifests(found)) == ["acme-good"]


def test_package_without_manifest_is_listed(site: Path) -> None:
    write_plugin(site, "acme-bare", "")
    (site / "acme_bare" / "dermanode.toml").unlink()
    assert "dermanode.toml is missing" in found_in(site)["acme-bare"].error


def test_metadata_without_a_package_is_listed(site: Path) -> None:
    write_plugin(site, "acme-gone", "")
    for file in (site / "acme_gone").iterdir():
        file.unlink()
    (site / "acme_gone").rmdir()
    assert "is not installed, though its metadata is" in found_in(site)["acme-gone"].error


def test_single_module_is_listed_as_no_package(site: Path) -> None:
    write_plugin(site, "acme-flat", "", package="acme_flat")
    for file in (site / "acme_flat").iterdir():
        file.unlink()
    (site / "acme_flat").rmdir()
    (site / "acme_flat.py").write_text("", encoding="utf-8")
    assert "is a single module" in found_in(site)["acme-flat"].error


def test_metadata_that_cannot_be_read_stops_nobody_else(site: Path) -> None:
    write_plugin(site, "acme-garbled", "")
    (site / "acme_garbled-1.0.dist-info" / "entry_points.txt").write_text("[dermanode.plugins]\nno equals sign here\n", encoding="utf-8")
    (site / "acme_garbled-1.0.dist-info" / "METADATA").unlink()
    write_plugin(site, "acme-good", "", stages={"risk": {}})
    found = discover(installed_in(site))
    assert list(manifests(found)) == ["acme-good"]
    assert [words for words in errors(found).values() if "Install it again." in words]


def test_entry_point_that_names_no_module_is_listed(site: Path) -> None:
    write_plugin(site, "acme-odd", "", stages={"risk": {}})
    info = site / "acme_odd-1.0.dist-info" / "entry_points.txt"
    info.write_text("[dermanode.plugins]\nacme-odd = !\n", encoding="utf-8")
    assert "names '!'" in found_in(site)["acme-odd"].error


def test_two_packages_with_one_plugins_name_serve_neither(site: Path) -> None:
    write_plugin(site, "acme-one", "", stages={"risk": {}})
    write_plugin(site, "acme-two", "", manifest=manifest_text("acme-one", {"risk": {}}))
    info = site / "acme_two-1.0.dist-info" / "entry_points.txt"
    info.write_text("[dermanode.plugins]\nacme-one = acme_two\n", encoding="utf-8")
    found = discover(installed_in(site))
    assert [plugin.name for plugin in found] == ["acme-one", "acme-one"]
    assert manifests(found) == {}
    assert "acme-one 1.0 and acme-two 1.0 both bring a plugin called 'acme-one'" in errors(found)["acme-one"]


def test_manifest_of_a_nested_module_is_the_nearest_one(site: Path) -> None:
    write_plugin(site, "acme-deep", "", stages={"risk": {}})
    (site / "acme_deep" / "inner").mkdir()
    (site / "acme_deep" / "inner" / "__init__.py").write_text("", encoding="utf-8")
    info = site / "acme_deep-1.0.dist-info" / "entry_points.txt"
    info.write_text("[dermanode.plugins]\nacme-deep = acme_deep.inner:plugin\n", encoding="utf-8")
    assert found_in(site)["acme-deep"].error == ""
