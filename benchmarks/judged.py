"""What independent judges say of the objects of many odd cases: prints a table, and fails where one of them finds an error.

    python benchmarks/judged.py [--cases 200] [--first 0] [--keep DIR] [--json FILE]

Each case is another: photometric interpretation, transfer syntax, character set, spacing, number of views, class, tracking, lost type 2
values (`dermanode.testing.odd_sources`). Every kind of object is encoded and judged: by the node's own gate; by dciodvfy (dicom3tools),
each object; by dsrdump (dcmtk), each report; by PixelMed, one report of each kind of measurement group in ten; by GDCM's surface reader,
some surfaces; read back by highdicom and by dcmtk; stored in Orthanc by STOW-RS and got back by WADO-RS with the same content. A judge
that is not installed is said to be missing. One file, so that it can be read and run by itself.
"""

from __future__ import annotations

import argparse
import email.parser
import email.policy
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import highdicom
import httpx
import pydicom
from pydicom import Dataset
from rich.console import Console
from rich.table import Table

from dermanode.dicom import gate
from dermanode.dicom.encode import EncodingOrder, encode_case
from dermanode.dicom.references import Instance
from dermanode.dicom.rejection import Rejection
from dermanode.testing import worked_cases
from dermanode.testing.odd_sources import OddCase, odd_case
from dermanode.testing.real_pacs import DICOMWEB_PLUGIN, ORTHANC, RealPacs, running_orthanc

KINDS = ("SEG", "SEG_FRACTIONAL", "SEG_LABELMAP", "SURFACE_SEG", "STL", "SC", "OVERLAY", "PMAP", "PDF", "SR", "KOS")
MADE_AT = datetime(2026, 11, 21, 12, 0)
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
ALLOWED = {LABEL_MAP: ("Information Object Not found", "SegmentNumber not monotonically increasing")}
"""Errors of dciodvfy (2022) that come of its age, by SOP class: it knows no label maps, whose background is number 0 (PS3.3 C.8.20.4)."""
NOT_OUR_FAULT = (
    "The VR checker does not support this Specific Character Set",
    "unknown/unsupported SpecificCharacterSet",
    "Check for template constraints not yet supported",
)
"""What dcmtk 3.6.7 says of character sets and templates that it does not know; the character set is always the source's."""
OF_THE_SOURCE = {"none, UTF-8 bytes": ("Character invalid for character repertoire", "contains invalid character(s) in PatientModule")}
"""What a source does wrong itself, by its names: a name is kept byte for byte, also where it is not in the set that is stated."""
JARS = tuple(Path("/usr/share/java") / f"{jar}.jar" for jar in ("pixelmed", "commons-codec", "slf4j-api", "slf4j-nop", "vecmath"))
PIXELMED = Path(__file__).parents[1] / "tests" / "integration" / "PixelMedReports.java"
SURFACE_READER = Path(__file__).parents[2] / "shared" / "oracles" / "surface_reader.cxx"


@dataclass(frozen=True)
class Made:
    """The objects of one case, written."""

    odd: OddCase
    files: tuple[tuple[str, Path], ...]
    """(kind, file)."""

    def of(self, *kinds: str) -> list[Path]:
        return [file for kind, file in self.files if kind in kinds]

    @property
    def faults(self) -> tuple[str, ...]:
        """What judges say of the source's own attributes."""
        return OF_THE_SOURCE.get(dict(self.odd.traits)["names"], ())

    @property
    def group(self) -> str:
        """Which kind of measurement groups its report has."""
        found = self.odd.case.segmentation
        if found is not None and any(mask.mask.any() for mask in found.masks):
            return "planar"
        return "without a region" if self.odd.case.findings else "none"


@dataclass
class Verdicts:
    """What the judges said."""

    judged: Counter[str] = field(default_factory=Counter)
    found: list[tuple[str, str, str]] = field(default_factory=list)
    """(judge, object, what is wrong)."""
    missing: dict[str, str] = field(default_factory=dict)
    took_s: Counter[str] = field(default_factory=Counter)

    def say(self, judge: str, what: object, wrong: Iterable[str]) -> None:
        self.judged[judge] += 1
        self.found += [(judge, str(what), line) for line in wrong]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was judged and what was found; 1 where anything was."""
    options = _options(arguments)
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made, verdicts = judged(folder, range(options.first, options.first + options.cases), is_all=not options.quick)
    console = Console(width=130)
    console.print(_inputs(made), _judges(verdicts))
    for judge, what, wrong in verdicts.found[:40]:
        console.print(f"[red]{judge}[/red] {what}: {wrong}", soft_wrap=True)
    if options.json:
        summary = {"cases": len(made), "judged": verdicts.judged, "found": verdicts.found, "missing": verdicts.missing}
        options.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return 1 if verdicts.found else 0


def judged(folder: Path, numbers: Iterable[int], *, is_all: bool = True) -> tuple[list[Made], Verdicts]:
    """The cases of those numbers, encoded into `folder` and judged. Without `is_all` the slow judges (PixelMed, GDCM) are left out."""
    verdicts = Verdicts()
    with _timed(verdicts, "encoding, gate"):
        made = [_encoded(number, folder, verdicts) for number in numbers]
    judges = {"dciodvfy": _dciodvfy, "dsrdump": _dsrdump, "dcmtk": _dcmtk, "highdicom": _highdicom, "Orthanc": _orthanc}
    if is_all:
        judges |= {"PixelMed": _pixelmed, "GDCM": _gdcm}
    for name, judge in judges.items():
        with _timed(verdicts, name):
            judge(made, folder, verdicts)
    return made, verdicts


class _timed:  # noqa: N801 - it reads as a function
    def __init__(self, verdicts: Verdicts, name: str) -> None:
        self.verdicts, self.name = verdicts, name

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.verdicts.took_s[self.name] += round(time.perf_counter() - self.began)


def _encoded(number: int, folder: Path, verdicts: Verdicts) -> Made:
    """Two revisions of the case: the second has a predecessor, and rejects the first."""
    odd = odd_case(number, folder / f"{number}" / "sources")
    outcome = worked_cases.outcome_of(odd.case)
    order = EncodingOrder(made_at=MADE_AT, pipeline="judged", kinds=KINDS)
    first = encode_case(odd.case, outcome, replace(order, kinds=("SR",)))[0].dataset
    before = Instance.of(first)
    predecessor = (before.sop_class_uid, before.sop_instance_uid, before.series_uid, before.study_uid)
    order = replace(order, predecessor_report=predecessor, rejections=(Rejection("pacs", (before,)),))
    files = []
    case, outcome = replace(odd.case, revision=2), replace(outcome, revision=2)
    for encoded in encode_case(case, outcome, order, worked_cases.SMALL_PDF):
        files.append((encoded.kind, folder / f"{number}" / f"{len(files):03}-{encoded.kind.lower()}.dcm"))
        encoded.dataset.save_as(files[-1][1], enforce_file_format=True)
    sources = sorted((folder / f"{number}" / "sources").iterdir())
    for (kind, file), reasons in zip(files, gate.check_all([file for _, file in files], sources), strict=True):
        verdicts.say(f"gate: {kind}", file, reasons)
    return Made(odd, tuple(files))


def _said(*command: str | Path, timeout_s: float = 900) -> str:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, check=False, timeout=timeout_s, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def _program(name: str, judge: str, verdicts: Verdicts) -> str | None:
    found = shutil.which(name)
    if found is None:
        verdicts.missing[judge] = f"{name} is not installed"
    return found


def _dciodvfy(made: Sequence[Made], _folder: Path, verdicts: Verdicts) -> None:
    if program := _program("dciodvfy", "dciodvfy", verdicts):
        for one in made:
            for kind, file in one.files:
                allowed = (*one.faults, *(ALLOWED[LABEL_MAP] if kind == "SEG_LABELMAP" else ()))
                lines = [line for line in _said(program, "-new", file).splitlines() if "Error" in line]
                verdicts.say(f"dciodvfy: {kind}", file, (line for line in lines if not any(text in line for text in allowed)))


def _dsrdump(made: Sequence[Made], _folder: Path, verdicts: Verdicts) -> None:
    if program := _program("dsrdump", "dsrdump", verdicts):
        for one in made:
            for file in one.of("SR", "KOS"):
                said = _said(program, file)
                allowed = (*NOT_OUR_FAULT, *one.faults)
                lines = [line for line in said.splitlines() if line.startswith(("W:", "E:", "F:"))]
                wrong = [line for line in lines if not any(text in line for text in allowed)]
                if "Research use" not in said and "sr" in file.name:
                    wrong.append("no word of research use")
                verdicts.say("dsrdump", file, wrong)


def _dcmtk(made: Sequence[Made], _folder: Path, verdicts: Verdicts) -> None:
    """Each object's patient, in its bytes, is the source's; read for all objects of a case in one run."""
    if program := _program("dcmdump", "dcmtk", verdicts):
        for one in made:
            source = Path(getattr(one.odd.case.series.views[0].source, "path"))  # noqa: B009 - a pixel source need not lie in a file
            patient = _patients(program, [source])
            files = [file for _, file in one.files]
            found = _patients(program, files)
            wrong = [] if len(found) == len(files) and set(found) == set(patient) else [f"{set(found)} of {patient}"]
            for file in files:
                verdicts.say("dcmtk", file, wrong)


def _patients(program: str, files: Sequence[Path]) -> list[str]:
    said = subprocess.run([program, "-q", "+P", "PatientName", "+P", "SOPInstanceUID", *map(str, files)], capture_output=True, check=False)
    lines = said.stdout.decode("latin-1").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith("(0010,0010)")]


def _highdicom(made: Sequence[Made], _folder: Path, verdicts: Verdicts) -> None:
    for one in made:
        masks = one.odd.case.segmentation
        for file in one.of("SEG", "SEG_LABELMAP"):
            seg = highdicom.seg.segread(file)
            (view,) = {str(image[2]) for image in seg.get_source_image_uids()}
            mask = masks.mask(view) if masks else None
            found = seg.get_pixels_by_source_instance([view], ignore_spatial_locations=True, segment_numbers=[1])[0, :, :, 0]
            verdicts.say("highdicom", file, [] if mask is not None and (found.astype(bool) == mask.mask).all() else ["another mask"])
        for file in one.of("SR"):
            content = highdicom.sr.srread(file).content
            groups = [*content.get_planar_roi_measurement_groups(), *content.get_image_measurement_groups()]
            outlined = sum(bool(mask.mask.any()) for mask in (masks.masks if masks else ()))
            expected = 1 + outlined if outlined else int(bool(one.odd.case.findings))
            verdicts.say("highdicom", file, [] if len(groups) == expected else [f"{len(groups)} groups instead of {expected}"])


def _orthanc(made: Sequence[Made], folder: Path, verdicts: Verdicts) -> None:
    if ORTHANC is None or not DICOMWEB_PLUGIN.exists():
        verdicts.missing["Orthanc"] = "Orthanc or its DICOMweb plugin is not installed"
        return
    with running_orthanc(folder / "orthanc", plugins=[DICOMWEB_PLUGIN]) as pacs, httpx.Client(timeout=120) as client:
        for one in made:
            for kind, file, wrong in _stored_and_got_back(one, pacs, client):
                verdicts.say(f"Orthanc: {kind}", file, wrong)


def _stored_and_got_back(one: Made, pacs: RealPacs, client: httpx.Client) -> Iterator[tuple[str, Path, list[str]]]:
    """A case's study goes there by STOW-RS at once, and comes back by WADO-RS."""
    sent = {str(dataset.SOPInstanceUID): dataset for dataset in (pydicom.dcmread(file) for _, file in one.files)}
    parts = [b"--part\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n" for _, file in one.files]
    kind = 'multipart/related; type="application/dicom"; boundary=part'
    stored = client.post(f"{pacs.web_url}/studies", content=b"".join([*parts, b"--part--"]), headers={"Content-Type": kind})
    answer = f"STOW-RS answered {stored.status_code}: {stored.text[:300]}" if stored.status_code != 200 else ""
    wanted = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    got = client.get(f"{pacs.web_url}/studies/{one.odd.case.series.study_instance_uid}", headers=wanted)
    back = {str(dataset.SOPInstanceUID): dataset for dataset in _parts(got)}
    for (named, file), (uid, dataset) in zip(one.files, sent.items(), strict=True):
        wrong = [answer] if answer else []
        if uid not in back:
            wrong.append("it does not come back")
        elif changed := _changed(dataset, back[uid]):
            wrong.append(f"comes back changed: {', '.join(changed)}")
        yield named, file, wrong


def _parts(answer: httpx.Response) -> Iterator[Dataset]:
    if answer.status_code != 200:
        return
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + answer.content)
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            yield pydicom.dcmread(BytesIO(content))


def _changed(sent: Dataset, back: Dataset) -> list[str]:
    """The keywords of what is not as it was sent; pixels and documents are elements like the others."""
    return [str(element.keyword or element.tag) for element in sent if element.tag not in back or back[element.tag].value != element.value]


def _pixelmed(made: Sequence[Made], _folder: Path, verdicts: Verdicts) -> None:
    """A sample of each kind of measurement group; in one virtual machine, because it takes ten seconds to start."""
    java = _program("java", "PixelMed", verdicts)
    if java is None or not all(jar.exists() for jar in JARS):
        verdicts.missing["PixelMed"] = "java or pixelmed-apps is not installed"
        return
    chosen: list[Made] = []
    for group in ("planar", "without a region", "none"):
        of_group = [one for one in made if one.group == group]
        chosen += of_group[:: max(1, len(of_group) // max(2, len(made) // 30))]
    files = {str(one.of("SR")[0]): one.group for one in chosen}
    limits = [f"-Djdk.xml.xpath{name}=0" for name in ("ExprGrpLimit", "ExprOpLimit", "TotalOpLimit")]  # too low in JDK 17
    options = ["-Djava.awt.headless=true", *limits, "-XX:+UseSerialGC", "-Xss64m", "-Xmx2g"]
    said = _said(java, *options, "-cp", ":".join(map(str, JARS)), PIXELMED, *files)
    for part in said.split("=== ")[1:]:
        file, _, text = part.partition("\n")
        wrong = [line for line in text.splitlines() if "Error" in line]
        if "Root Template Validation Complete" not in text:
            wrong.append("the validation did not end")
        verdicts.say(f"PixelMed: {files[file.strip()]}", file.strip(), wrong)


def _gdcm(made: Sequence[Made], folder: Path, verdicts: Verdicts) -> None:
    compiler, headers = shutil.which("g++"), next(Path("/usr/include").glob("gdcm-*"), None)
    if compiler is None or headers is None or not SURFACE_READER.exists():
        verdicts.missing["GDCM"] = "g++, libgdcm-dev or ../shared/oracles/surface_reader.cxx is missing"
        return
    program = folder / "surface_reader"
    libraries = ["-lgdcmMSFF", "-lgdcmDSED", "-lgdcmCommon"]
    subprocess.run([compiler, f"-I{headers}", SURFACE_READER, "-o", program, *libraries], check=True, timeout=240)
    surfaces = [(one.odd.case.surface, file) for one in made for file in one.of("SURFACE_SEG")]
    for surface, file in surfaces[:: max(1, len(surfaces) // 20)]:
        assert surface is not None, "a Surface Segmentation was made of it"
        points, triangles = len(surface.vertices), len(surface.faces)
        said = _said(program, file)
        is_whole = f"points {points} vectors {points}" in said and f"bytes {12 * triangles}" in said
        verdicts.say("GDCM", file, [] if is_whole else [said])


def _inputs(made: Sequence[Made]) -> Table:
    table = Table("of what", "which, with the number of cases", title=f"{len(made)} cases")
    for trait in dict.fromkeys(name for one in made for name, _ in one.odd.traits):
        counted = Counter(dict(one.odd.traits)[trait] for one in made)
        table.add_row(trait, ", ".join(f"{name} {count}" for name, count in counted.most_common()))
    return table


def _judges(verdicts: Verdicts) -> Table:
    table = Table("judge", "judged", "wrong", title=f"Seconds: {', '.join(f'{name} {s}' for name, s in verdicts.took_s.items())}")
    for judge, count in verdicts.judged.items():
        table.add_row(judge, str(count), str(sum(name == judge for name, _, _ in verdicts.found)))
    for judge, why in verdicts.missing.items():
        table.add_row(judge, "-", why)
    return table


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--quick", action="store_true", help="without PixelMed and GDCM")
    parser.add_argument("--keep", type=Path, help="keep all files there")
    parser.add_argument("--json", type=Path, help="write what was found there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
