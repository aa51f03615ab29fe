"""A ledger that has lived: received objects, a finished case and a failed one, for tests of what shows them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from blake3 import blake3
from PIL import Image

from dermanode.domain import (
    UID,
    Algorithm,
    Classification,
    ClassProbability,
    Digest,
    Features,
    Measurement,
    Outcome,
    ProducedObject,
    Risk,
    RiskTerm,
    StageReport,
    StageStatus,
)
from dermanode.domain.codes import MALIGNANT, MM2, SUSPICIOUS, Code, private
from dermanode.domain.outcome import HeatMapSummary, SurfaceSummary, ViewSummary
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival, CaseRecord, Evidence, Header, NewDelivery, SeriesKey

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_ALGORITHM = Algorithm(name="recorded", version="1")


def receive_image(ledger: Ledger, series: int, image: int, *, patient_id: str = "P1", at: datetime = NOON) -> Arrival:
    """Records one dermoscopic image with its header; series and image number its UIDs."""
    arrival = Arrival(
        sop_instance_uid=UID(f"2.25.{series}.{image}"),
        sop_class_uid=UID("1.2.840.10008.5.1.4.1.1.77.1.7"),
        transfer_syntax_uid=UID("1.2.840.10008.1.2.4.50"),
        digest=Digest(blake3(f"{series}.{image}".encode()).hexdigest()),
        size_bytes=1000,
        path=f"00/{series}-{image}.dcm",
        association="a1",
        calling_ae="CAMERA",
        called_ae="DERMANODE",
        source_address="127.0.0.1",
        received_at=at,
    )
    receipt = ledger.objects.record([arrival])[0]
    header = Header(
        UID("2.25.1"), UID(f"2.25.{series}"), "DMS", patient_id, accession_number="A-7", tracking_id="left arm 1", acquired_at=at
    )
    ledger.objects.set_headers({receipt.object_id: header})
    return arrival


def open_case(ledger: Ledger, series: int, *, patient_id: str = "P1", now: datetime = NOON) -> CaseRecord:
    """Opens a case for the waiting images of a series, and claims it."""
    key = SeriesKey(UID("2.25.1"), UID(f"2.25.{series}"), patient_id)
    ledger.cases.open(
        key,
        pipeline="dermoscopy-series",
        plan=("The pipeline dermoscopy-series takes the series.", "segment: dermanode-segment will be asked."),
        evidence=Evidence("quiet period", "Nothing came for 20 s."),
        now=now,
    )
    claimed = ledger.cases.claim(now)
    assert claimed is not None, "the case that was just opened can be claimed"
    return claimed


def finished_outcome(case: CaseRecord, view: UID, results_dir: Path) -> Outcome:
    """An outcome with everything the page shows, its files written under the results folder."""
    folder = results_dir / case.id
    (folder / "views").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (320, 240), (200, 150, 130)).save(folder / "views" / f"{view}.jpg")
    (folder / "heat").mkdir(exist_ok=True)
    Image.new("RGBA", (64, 48), (53, 183, 121, 120)).save(folder / "heat" / f"0-{view}.png")
    corners = {"x": [0, 4, 4, 0, 2], "y": [0, 0, 4, 4, 2], "z": [0, 0, 0, 0, 1], "i": [0, 1, 2, 3], "j": [1, 2, 3, 0], "k": [4, 4, 4, 4]}
    mesh = {**corners, "colours": ["rgb(180,120,100)"] * 5, "lateral_unit": "mm", "z_unit": "relative height", "is_metric": False}
    (folder / "mesh.json").write_text(json.dumps(mesh), encoding="utf-8")
    nevus = Code("400096001", "SCT", "Melanocytic nevus")
    melanoma = Code("93655004", "SCT", "Malignant melanoma of skin")
    area = Measurement(
        key="area_mm2", concept=Code("42798000", "SCT", "Area"), value=12.3, unit=MM2, definition="Pixels times spacing squared."
    )
    return Outcome(
        case_id=case.id,
        revision=case.revision,
        is_failed=False,
        reports=(
            StageReport(stage="segment", status=StageStatus.PERFORMED, plugin="dermanode-segment", plugin_version="0.1", took_s=0.12),
            StageReport(
                stage="progression", status=StageStatus.DECLINED, plugin="dermanode-progression", reason="no earlier visit is known"
            ),
        ),
        views=(ViewSummary(sop_instance_uid=view, rows=240, columns=320, outlines=(((100, 80), (220, 80), (220, 160), (100, 160)),)),),
        surface=SurfaceSummary(
            method="shape from shading, one view",
            is_metric=False,
            scale_source="pixel spacing",
            vertices=5,
            faces=4,
            used_views=(view,),
            dropped_views=(),
        ),
        features=Features(algorithm=_ALGORITHM, measurements=(area,), absent=(("volume_mm3", "heights are relative"),)),
        classification=Classification(
            algorithm=_ALGORITHM,
            diagnosis=(
                ClassProbability(label="NV", concept=nevus, probability=0.9),
                ClassProbability(label="MEL", concept=melanoma, probability=0.1),
            ),
            groups=(
                ClassProbability(label="BENIGN", concept=private("BENIGN", "Benign"), probability=0.85),
                ClassProbability(label="SUSPICIOUS", concept=SUSPICIOUS, probability=0.05),
                ClassProbability(label="MALIGNANT", concept=MALIGNANT, probability=0.1),
            ),
        ),
        heat_maps=(
            HeatMapSummary(
                sop_instance_uid=view,
                method="Grad-CAM",
                explained=ClassProbability(label="NV", concept=nevus, probability=0.9),
                share_inside=0.78,
                picture=f"heat/0-{view}.png",
            ),
        ),
        risk=Risk(
            algorithm=_ALGORITHM,
            score=0.21,
            level="low",
            terms=(RiskTerm(name="malignancy", weight=0.8, value=0.1), RiskTerm(name="asymmetry", weight=0.2, value=0.65)),
            missing=(("growth", "no earlier visit is known"),),
        ),
        objects=(
            ProducedObject(
                kind="SR",
                path=f"{case.id}/sr.dcm",
                digest=Digest("0" * 64),
                size_bytes=4321,
                sop_class_uid=UID("1.2.840.10008.5.1.4.1.1.88.34"),
                sop_instance_uid=UID("2.25.99"),
                description="Report",
            ),
        ),
        took_s=1.4,
    )


def record_lived(ledger: Ledger, results_dir: Path) -> tuple[CaseRecord, CaseRecord]:
    """A finished case with a delivery that waits, and a failed case. Returns both as they were claimed."""
    view = receive_image(ledger, 10, 1).sop_instance_uid
    finished = open_case(ledger, 10)
    delivery = NewDelivery("archive", (f"{finished.id}/sr.dcm",))
    ledger.cases.finish(finished.id, finished_outcome(finished, view, results_dir), [delivery], NOON + timedelta(seconds=2))
    receive_image(ledger, 20, 1, patient_id="P2")
    failed = open_case(ledger, 20, patient_id="P2")
    report = StageReport(stage="segment", status=StageStatus.FAILED, plugin="acme-segment", reason="missed its deadline of 2 s")
    outcome = Outcome(case_id=failed.id, revision=1, is_failed=True, reports=(report,))
    ledger.cases.finish(failed.id, outcome, [], NOON + timedelta(seconds=9))
    return finished, failed
