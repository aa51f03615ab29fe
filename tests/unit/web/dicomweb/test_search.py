from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dermanode.ledger.records import ObjectState
from dermanode.testing.dicomweb import ROOT, Service, photograph
from dermanode.web.dicomweb import search
from dermanode.web.dicomweb.matching import is_like

KIND = "application/dicom+json"


@pytest.fixture
def filled(service: Service) -> Service:
    """Two patients; the first has a study of two series, one of them not dermoscopic."""
    service.store(
        photograph("2.25.11"),
        photograph("2.25.12", InstanceNumber=2),
        photograph("2.25.21", series="2.25.20", Modality="XC", SeriesNumber=2, rows=16),
        photograph("2.25.31", "2.25.30", "2.25.3", PatientID="P_2", PatientName="Roe^Richard", StudyDate="20260410", AccessionNumber="B-1"),
    )
    return service


def uids(service: Service, path: str, tag: str, **parameters: str) -> list[str]:
    response = service.get(path, **parameters)
    assert response.status_code == 200, response.text
    return sorted(item[tag]["Value"][0] for item in response.json())


def studies(service: Service, **parameters: str) -> list[str]:
    return uids(service, "/studies", "0020000D", **parameters)


def test_a_study_says_all_that_the_standard_requires(filled: Service) -> None:
    found = filled.get("/studies", PatientID="P1")
    assert found.headers["content-type"] == KIND
    (study,) = found.json()
    assert study["00080061"] == {"vr": "CS", "Value": ["DMS", "XC"]}
    assert study["00201206"] == {"vr": "IS", "Value": [2]}
    assert study["00201208"] == {"vr": "IS", "Value": [3]}
    assert study["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    assert study["00080020"] == {"vr": "DA", "Value": ["20260301"]}
    assert study["00081190"]["Value"] == [f"{ROOT}/dicom-web/studies/2.25.1"]
    assert study["00080056"]["Value"] == ["ONLINE"]
    assert {"00080030", "00080050", "00100020", "00100030", "00100040", "0020000D", "00200010"} <= study.keys()


def test_series_and_instances_say_where_they_are(filled: Service) -> None:
    first, second = filled.get("/studies/2.25.1/series").json()
    assert first["00081190"]["Value"] == [f"{ROOT}/dicom-web/studies/2.25.1/series/2.25.10"]
    assert [one["00201209"]["Value"] for one in (first, second)] == [[2], [1]]
    assert [one["00080060"]["Value"] for one in (first, second)] == [["DMS"], ["XC"]]
    (instance,) = filled.get("/studies/2.25.1/series/2.25.20/instances").json()
    assert instance["00280010"] == {"vr": "US", "Value": [16]}
    assert instance["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]
    assert "00100010" not in instance
    (anywhere,) = filled.get("/instances", SOPInstanceUID="2.25.21").json()
    assert anywhere["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert anywhere["00200011"] == {"vr": "IS", "Value": [2]}


MATCHING: tuple[tuple[dict[str, str], list[str]], ...] = (
    ({}, ["2.25.1", "2.25.3"]),
    ({"PatientName": "doe*"}, ["2.25.1"]),
    ({"00100010": "ROE^RICHARD"}, ["2.25.3"]),
    ({"PatientName": "*^R?chard"}, ["2.25.3"]),
    ({"PatientName": ""}, ["2.25.1", "2.25.3"]),
    ({"PatientID": "P_2"}, ["2.25.3"]),
    ({"PatientID": "P%"}, []),
    ({"PatientID": "P?2"}, ["2.25.3"]),
    ({"PatientID": "p1"}, []),
    ({"StudyDate": "20260301-20260331"}, ["2.25.1"]),
    ({"StudyDate": "-20260401"}, ["2.25.1"]),
    ({"StudyDate": "20260401-"}, ["2.25.3"]),
    ({"StudyDate": "20260410"}, ["2.25.3"]),
    ({"StudyTime": "0900-0959"}, ["2.25.1", "2.25.3"]),
    ({"StudyTime": "10-"}, []),
    ({"AccessionNumber": "B*"}, ["2.25.3"]),
    ({"ModalitiesInStudy": "XC"}, ["2.25.1"]),
    ({"ModalitiesInStudy": "CT"}, []),
    ({"StudyInstanceUID": "2.25.1,2.25.3"}, ["2.25.1", "2.25.3"]),
    ({"StudyInstanceUID": "2.25.3\\2.25.99"}, ["2.25.3"]),
    ({"Modality": "XC"}, ["2.25.1"]),
    ({"SOPInstanceUID": "2.25.31"}, ["2.25.3"]),
    ({"PatientSex": "M"}, []),
)


def test_studies_are_found_by_what_matches(filled: Service) -> None:
    for parameters, expected in MATCHING:
        assert studies(filled, **parameters) == expected, parameters


def test_series_and_instances_are_found_by_their_own_attributes(filled: Service) -> None:
    assert uids(filled, "/series", "0020000E", Modality="DMS") == ["2.25.10", "2.25.30"]
    assert uids(filled, "/series", "0020000E", SeriesNumber="2") == ["2.25.20"]
    assert uids(filled, "/series", "0020000E", SeriesInstanceUID="2.25.30") == ["2.25.30"]
    assert uids(filled, "/studies/2.25.1/instances", "00080018", InstanceNumber="2") == ["2.25.12"]
    assert uids(filled, "/instances", "00080018", SOPClassUID="1.2.3") == []
    assert uids(filled, "/instances", "00080018", Rows="16") == ["2.25.21"]
    assert uids(filled, "/studies/2.25.1/instances", "00080018", StudyInstanceUID="2.25.3") == ["2.25.11", "2.25.12", "2.25.21"]
    assert filled.get("/studies/2.25.99/series").json() == []


def test_more_fields_are_told_where_they_are_asked_for(filled: Service) -> None:
    (plain,) = filled.get("/studies", PatientID="P1").json()
    assert "00280004" not in plain
    (more,) = filled.get("/studies", PatientID="P1", includefield="PhotometricInterpretation,00280100").json()
    assert more["00280004"]["Value"] == ["RGB"]
    assert more["00280100"]["Value"] == [8]
    (everything,) = filled.get("/instances", SOPInstanceUID="2.25.21", includefield="all").json()
    assert everything["00280103"]["Value"] == [0]
    assert everything["7FE00010"]["BulkDataURI"].startswith(f"{ROOT}/dicom-web/studies/2.25.1/series/2.25.20/instances/2.25.21/bulkdata")


def test_pages_follow_one_another_and_say_that_there_is_more(filled: Service) -> None:
    first = filled.get("/instances", limit="3")
    assert len(first.json()) == 3
    assert first.headers["warning"].startswith('299 DermaNode "There are additional results')
    rest = filled.get("/instances", limit="3", offset="3")
    assert len(rest.json()) == 1
    assert "warning" not in rest.headers
    assert filled.get("/instances", offset="40").json() == []
    assert "fuzzymatching" in filled.get("/studies", fuzzymatching="true").headers["warning"]


WRONG = (
    {"PatientNam": "x"},
    {"limit": "-1"},
    {"limit": "1e9"},
    {"offset": "٣"},
    {"StudyDate": "yesterday"},
    {"StudyDate": "-"},
    {"StudyTime": "25 past"},
    {"StudyInstanceUID": "../../etc/passwd"},
    {"SeriesNumber": "one"},
    {"PixelData": "x"},
    {"includefield": "NoSuchField"},
    {"PatientName": "a" * 9000},
    {"00100010.0010": "x"},
)


def test_a_query_that_makes_no_sense_is_refused_in_a_sentence(filled: Service) -> None:
    for parameters in WRONG:
        response = filled.get("/studies", **parameters)
        assert response.status_code == 400, parameters
        assert response.text.endswith((".", "1,2,3.")), parameters
    assert filled.client.get("/dicom-web/studies?PatientID=a&PatientID=b").status_code == 400
    assert filled.get("/studies/..%2F..%2Fetc/series").status_code in (400, 404)
    assert filled.get("/studies/x/series").status_code == 400
    assert filled.get("/studies", accept="application/dicom+xml").status_code == 406


def test_hostile_values_are_only_texts(filled: Service) -> None:
    for value in ("'; DROP TABLE objects; --", "%", "\\", "*" * 60 + "x", "\0", "💥", '"><script>'):
        for name in ("PatientID", "AccessionNumber", "PatientName"):
            assert studies(filled, **{name: value}) == []
    assert is_like("a" * 64, "*a" * 30 + "b") is False


def test_what_is_quarantined_or_unread_is_not_told(filled: Service) -> None:
    object_id = filled.ledger.objects.find("2.25.21")[0].id
    filled.ledger.objects.quarantine([object_id], "it is broken")
    (study,) = filled.get("/studies", PatientID="P1").json()
    assert study["00080061"]["Value"] == ["DMS"]
    assert study["00201208"]["Value"] == [2]
    filled.store(photograph("2.25.11", PatientID="P9"))
    assert filled.ledger.objects.counts()[ObjectState.QUARANTINED] == 2
    assert studies(filled, PatientID="P9") == []


def test_an_object_whose_file_is_gone_breaks_no_answer(filled: Service) -> None:
    Path(filled.spool.path(filled.ledger.objects.find("2.25.31")[0].arrival.path)).unlink()
    found: list[dict[str, Any]] = filled.get("/studies").json()
    assert len(found) == 2
    assert filled.get("/studies", PatientName="Doe*").status_code == 200
    assert filled.get("/studies/2.25.3/instances").status_code == 200
    assert len(filled.get("/instances").json()) == 4


def test_a_query_that_would_open_every_file_is_refused(filled: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_HEADERS", 3)
    response = filled.get("/instances", PatientName="*e*")
    assert response.status_code == 413
    assert "too broad" in response.text
    assert filled.get("/studies", PatientName="Doe*").status_code == 413 or filled.get("/studies", PatientName="Doe*").status_code == 200
    assert filled.get("/studies/2.25.3/instances").status_code == 200


def test_a_name_in_three_writings_is_found_by_each(service: Service) -> None:
    service.store(photograph(SpecificCharacterSet="ISO_IR 192", PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう"))
    assert studies(service, PatientName="山田*") == ["2.25.1"]
    (study,) = service.get("/studies").json()
    assert study["00100010"]["Value"] == [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}]
    assert study["00080005"]["Value"] == ["ISO_IR 192"]
