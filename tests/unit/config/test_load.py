from __future__ import annotations

from pathlib import Path

import pytest

from dermanode.config import FolderDestination, MllpDestination, Settings, load_pipelines, load_settings
from dermanode.config.load import load_mapping
from dermanode.errors import ConfigurationError

PIPELINE = """
name: one
match: {modalities: [DMS]}
stages: {segment: [dermanode-segment]}
deliver: [archive]
"""


def write(folder: Path, text: str, name: str = "dermanode.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def refused(folder: Path, text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as raised:
        load_settings(write(folder, text))
    return raised.value


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, "# nothing\n")) == Settings()


def test_a_misspelt_key_names_its_line_and_the_right_key(tmp_path: Path) -> None:
    error = refused(tmp_path, "node:\n  ae_title: A\nreceive:\n  prot: 104\n")
    assert error.line == 4
    assert "`receive.prot` is not a setting. Did you mean `port`?" in str(error)


def test_a_value_out_of_range_names_its_line(tmp_path: Path) -> None:
    error = refused(tmp_path, "receive:\n  host: 127.0.0.1\n  port: 99999\n")
    assert error.line == 3
    assert "receive.port" in str(error)


def test_broken_yaml_names_its_line(tmp_path: Path) -> None:
    assert refused(tmp_path, "node: {ae_title: A\nreceive: {}\n").line == 2


def test_a_missing_file_is_no_traceback_but_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load_settings(tmp_path / "nowhere.yaml")


def test_whom_to_ask_for_earlier_visits_must_be_known(tmp_path: Path) -> None:
    assert "priors.ask names 'pacs', which stands neither under `sources` nor under `orthanc`" in str(
        refused(tmp_path, "priors: {ask: [pacs]}\n")
    )
    twice = "sources: {pacs: {ae_title: P, host: h, port: 104}}\northanc: {pacs: {url: 'http://h'}}\npriors: {ask: [pacs]}\n"
    assert "stands under `sources` and under `orthanc`" in str(refused(tmp_path, twice))


def test_a_value_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "s3cret")
    settings = load_settings(write(tmp_path, 'ledger: {url: "postgresql://u:${DB_PASSWORD}@db/d"}\n'))
    assert settings.ledger.url == "postgresql://u:s3cret@db/d"


def test_an_unset_environment_variable_names_its_line(tmp_path: Path) -> None:
    error = refused(tmp_path, 'node: {}\nledger: {url: "${DERMANODE_NO_SUCH_VARIABLE}"}\n')
    assert error.line == 2
    assert "DERMANODE_NO_SUCH_VARIABLE" in str(error)


def test_the_page_on_another_address_needs_a_login(tmp_path: Path) -> None:
    assert "login" in str(refused(tmp_path, "web: {host: 0.0.0.0}\n"))


def test_a_destination_with_a_missing_value_says_which(tmp_path: Path) -> None:
    error = refused(tmp_path, "destinations:\n  pacs:\n    type: dimse\n    host: a\n    port: 104\n")
    assert "ae_title` is missing" in str(error)


def test_pipelines_come_with_the_highest_priority_first(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "destinations: {archive: {type: folder, path: a}}\npipelines: ['p/*.yaml']\n"))
    (tmp_path / "p").mkdir()
    write(tmp_path / "p", PIPELINE, "a.yaml")
    write(tmp_path / "p", PIPELINE.replace("one", "two") + "priority: 5\n", "b.yaml")
    assert [p.name for p in load_pipelines(settings, tmp_path)] == ["two", "one"]


def test_an_unknown_destination_names_file_and_line(tmp_path: Path) -> None:
    file = write(tmp_path, PIPELINE, "p.yaml")
    with pytest.raises(ConfigurationError, match="unknown destination 'archive'") as raised:
        load_pipelines(Settings(pipelines=("p.yaml",)), tmp_path)
    assert (raised.value.file, raised.value.line) == (str(file), 5)


def test_a_match_that_takes_everything_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "name: all\nmatch: {}\nstages: {}\n", "p.yaml")
    with pytest.raises(ConfigurationError, match="empty match would take every series"):
        load_pipelines(Settings(pipelines=("p.yaml",)), tmp_path)


def test_two_pipelines_of_one_name_are_refused(tmp_path: Path) -> None:
    settings = Settings(pipelines=("*.yaml",), destinations={"archive": FolderDestination(type="folder", path=tmp_path)})
    write(tmp_path, PIPELINE, "a.yaml")
    write(tmp_path, PIPELINE, "b.yaml")
    with pytest.raises(ConfigurationError, match="'one' is already defined in"):
        load_pipelines(settings, tmp_path)


def test_no_pipeline_file_is_said_with_the_pattern(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no pipeline file matches"):
        load_pipelines(Settings(), tmp_path)


def test_the_shipped_configuration_loads() -> None:
    folder = Path(__file__).parents[3] / "config"
    settings = load_settings(folder / "dermanode.yaml")
    assert {p.name for p in load_pipelines(settings, folder)} == {"dermoscopy-series", "dermoscopy-photograph"}


def test_the_configuration_for_docker_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMANODE_DB_PASSWORD", "secret")
    monkeypatch.setenv("DERMANODE_PAGE_HASH", f"scrypt${'0' * 32}${'0' * 128}")
    settings = load_settings(Path(__file__).parents[3] / "docker" / "dermanode.yaml")
    assert settings.web.login is not None


def test_a_mapping_is_looked_through_with_the_settings_that_name_it(tmp_path: Path) -> None:
    settings = "destinations: {his: {type: mllp, host: h, port: 2575, mapping: his.yaml}}\n"
    (tmp_path / "his.yaml").write_text("observations:\n  - take: volume_mm3\n    unti: {value: ul}\n")
    error = refused(tmp_path, settings)
    assert (error.file, error.line) == (str(tmp_path / "his.yaml"), 3)
    (tmp_path / "his.yaml").write_text("observations:\n  - take: volume_mm3\n    decimals: 1\n")
    his = load_settings(write(tmp_path, settings)).destinations["his"]
    assert isinstance(his, MllpDestination)
    assert his.mapping == tmp_path / "his.yaml"


def test_the_shipped_mapping_is_one() -> None:
    mapping = load_mapping(Path(__file__).parents[3] / "config" / "hl7" / "example.yaml")
    assert mapping.others == "drop"
    assert len(mapping.observations) >= 4


def test_what_is_wrong_is_named_by_the_keys_of_the_file_with_the_cure(tmp_path: Path) -> None:
    network = refused(tmp_path, "receive:\n  allow:\n    - {ae_title: PACS, network: 10.1.2.3/24}\n")
    assert network.line == 3
    assert "`receive.allow.0.network`: '10.1.2.3/24' is no network. Write 10.1.2.3 for that machine alone, 10.1.2.0/24" in str(network)
    assert "`receive.allow.0.network`: 'pacs' is no network. Write an address such as 10.1.2.3" in str(
        refused(tmp_path, "receive: {allow: [{network: pacs}]}\n")
    )
    assert "`destinations.pacs.port`:" in str(refused(tmp_path, "destinations: {pacs: {type: dimse, ae_title: P, host: h, port: x}}\n"))
    assert "`destinations.ehr.url`: 'h:80' is no address of a server. Begin it with http:// or https://." in str(
        refused(tmp_path, "destinations: {ehr: {type: fhir, url: 'h:80'}}\n")
    )
    assert "`complete` is empty. Indent what belongs to it below it" in str(refused(tmp_path, "complete:\nweb: {port: 0}\n"))


def test_what_a_worklist_fetches_from_must_be_known(tmp_path: Path) -> None:
    error = refused(tmp_path, "worklists:\n  ai: {ae_title: M, host: h, port: 104,\n       fetch_from: pacs}\n")
    assert error.line == 3
    assert "worklists.ai.fetch_from names 'pacs', which does not stand under `sources`" in str(error)
