"""`doctor`: what is missing on this machine, and the cure."""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dermanode.app import models_dir
from dermanode.cli.opened import Configuration, configuration, ledger_of
from dermanode.cli.peers import FIND, answers, answers_at, certificate_sign, lets_us_in, orthanc_sign
from dermanode.cli.sign import Health, Sign
from dermanode.config import (
    Destination,
    DicomwebDestination,
    DicomwebSource,
    DimseDestination,
    FhirDestination,
    FolderDestination,
    Hl7Listener,
    MllpDestination,
    Settings,
    Source,
    WatchedFolder,
)
from dermanode.domain.identifiers import AETitle
from dermanode.errors import BundleError, DermaNodeError
from dermanode.pipeline.bundles import open_bundle
from dermanode.pipeline.plugins import discover

_LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libudev.so.1": "libudev1",
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libidn2.so.0": "libidn2-0",
    "libgomp.so.1": "libgomp1",
}
"""What Open3D loads, with the Debian package that brings it."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="say what is missing on this machine, and the cure",
        description="Looks at libraries, plugins, models, GPU, disk, ports, ledger and destinations. "
        "Exit code 1 where something is missing.",
    )
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    signs = []
    for sign in examine(configuration(arguments)):
        print(f"{sign.health:<8} {sign.subject}: {sign.words}", flush=True)
        signs.append(sign)
    missing = sum(sign.health is Health.MISSING for sign in signs)
    print(f"{missing} things are missing." if missing else "Nothing is missing.")
    return 1 if missing else 0


def examine(chosen: Configuration) -> Iterator[Sign]:
    """Everything that is looked at, in turn."""
    yield Sign("Python", Health.GOOD, f"{sys.version.split()[0]} on {sys.platform}")
    yield from _libraries()
    yield pages(chosen)
    yield from _plugins()
    yield from _models(
        models_dir(chosen.settings, chosen.folder), {f.manifest.bundle for f in discover() if f.manifest and f.manifest.bundle}
    )
    yield _gpu()
    yield _disk(chosen.settings.node.data_dir, chosen.settings.receive.minimum_free_mib)
    yield _port("DICOM port", chosen.settings.receive.host, chosen.settings.receive.port, "receive.port")
    if chosen.settings.web.is_enabled:
        yield _port("page's port", chosen.settings.web.host, chosen.settings.web.port, "web.port")
    if (tls := chosen.settings.receive.tls) is not None:
        yield certificate_sign("DICOM port (TLS)", tls.certificate, tls.key, datetime.now(UTC))
    yield from hl7_signs(chosen.settings.hl7)
    for name, folder in chosen.settings.folders.items():
        yield folder_sign(name, folder)
    yield _ledger(chosen)
    yield from source_signs(chosen.settings)
    for name, destination in chosen.settings.destinations.items():
        yield from destination_signs(name, destination, chosen.settings.node.ae_title)


def _libraries() -> Iterator[Sign]:
    absent = []
    for library, package in _LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            absent.append(package)
    if absent:
        yield Sign("libraries", Health.MISSING, f"Open3D needs them: sudo apt-get install -y {' '.join(absent)}")
    else:
        yield Sign("libraries", Health.GOOD, "all that Open3D needs are here")


def pages(chosen: Configuration) -> Sign:
    """What the report for people (PDF) needs, in the languages that pipelines ask for."""
    from dermanode.document import fonts  # brings the languages' data, which no other command needs
    from dermanode.document.wording import Language

    english: Language = "en"
    wanted = {pipeline.outputs.language for pipeline in chosen.pipelines if "PDF" in pipeline.outputs.kinds}
    absent = fonts.lacking_libraries()
    absent |= {f"a font for {one}": lack for one in sorted(wanted or {english}) if (lack := fonts.lacking_font(one))}
    if absent:
        words = f"{', '.join(absent)} missing: sudo apt-get install -y {' '.join(dict.fromkeys(absent.values()))}"
        return Sign("report for people (PDF)", Health.MISSING if wanted else Health.NOTE, words)
    return Sign("report for people (PDF)", Health.GOOD, f"libraries and fonts are here for {', '.join(sorted(wanted)) or 'English'}")


def _plugins() -> Iterator[Sign]:
    found = discover()
    if not found:
        yield Sign("plugins", Health.MISSING, "none is installed: pip install dermanode-plugins")
    for plugin in found:
        if plugin.manifest is None:
            yield Sign(plugin.name, Health.MISSING, f"broken: {plugin.error}")
        else:
            yield Sign(plugin.name, Health.GOOD, f"{plugin.manifest.version}, serves {', '.join(plugin.manifest.stages)}")


def _models(folder: Path, bundles: set[str]) -> Iterator[Sign]:
    for name in sorted(bundles):
        try:
            bundle = open_bundle(folder, name)
            yield Sign(
                f"model {name}", Health.GOOD, f"{bundle.version}, weights {bundle.weights_path.stat().st_size / 1e6:.1f} MB, digest right"
            )
        except BundleError as error:
            yield Sign(f"model {name}", Health.MISSING, str(error))


def _gpu() -> Sign:
    # In a process of its own: torch takes seconds and hundreds of megabytes.
    script = "import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())"
    try:
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return Sign("PyTorch", Health.MISSING, "does not load within two minutes: is the disk very slow?")
    if said.returncode:
        reason = said.stderr.strip().splitlines()[-1:] or ["no reason given"]
        return Sign("PyTorch", Health.MISSING, f"cannot be imported ({reason[0]}): pip install torch")
    version, _, gpu = said.stdout.strip().partition(" ")
    if gpu == "False":
        return Sign("GPU", Health.NOTE, f"none is usable by PyTorch {version}; the CPU serves, more slowly")
    return Sign("GPU", Health.GOOD, f"{gpu}, PyTorch {version}")


def _disk(folder: Path, minimum_free_mib: int) -> Sign:
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free_mib = shutil.disk_usage(existing).free / 2**20
    if free_mib < minimum_free_mib:
        return Sign(
            "disk", Health.MISSING, f"{free_mib:.0f} MiB free at {folder}, {minimum_free_mib} wanted: objects are refused. Free some space."
        )
    return Sign("disk", Health.GOOD, f"{free_mib / 1024:.0f} GiB free at {folder}")


def _port(subject: str, host: str, port: int, setting: str) -> Sign:
    if port == 0:
        return Sign(subject, Health.GOOD, "the system chooses one at the start")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Sign(subject, Health.NOTE, f"{host}:{port} is taken ({error.strerror}): by a running node, or set another `{setting}`")
    return Sign(subject, Health.GOOD, f"{host}:{port} is free")


def hl7_signs(settings: Hl7Listener) -> Iterator[Sign]:
    """Whether messages are taken, and what keeps them from being understood."""
    if not settings.is_enabled:
        yield Sign("HL7", Health.GOOD, "no messages are taken: `hl7.is_enabled` is off")
        return
    if settings.tls is not None:
        yield certificate_sign("HL7", settings.tls.certificate, settings.tls.key, datetime.now(UTC))
    if not settings.default_issuer:
        words = "`hl7.default_issuer` is not set: changes and merges do not reach images without Issuer of Patient ID"
        yield Sign("HL7", Health.NOTE, words)
    yield _port(f"HL7 port{' (TLS)' if settings.tls is not None else ''}", settings.host, settings.port, "hl7.port")


def folder_sign(name: str, folder: WatchedFolder) -> Sign:
    """Whether a watched folder can be looked into, and whether its photographs can be put away."""
    subject = f"watched folder {name}"
    if not folder.path.is_dir():
        return Sign(subject, Health.NOTE, f"{folder.path} is not there now: make or mount it, or set another `folders.{name}.path`")
    if not os.access(folder.path, os.R_OK | os.X_OK):
        return Sign(subject, Health.MISSING, f"{folder.path} may not be read: give the node's user the right to")
    if folder.after != "keep" and not os.access(folder.path, os.W_OK):
        words = f"{folder.path} may not be written, and photographs are to be put away: give the right to, or set `after: keep`"
        return Sign(subject, Health.MISSING, words)
    return Sign(subject, Health.GOOD, f"{folder.path} can be {'read' if folder.after == 'keep' else 'read and written'}")


def _ledger(chosen: Configuration) -> Sign:
    try:
        with ledger_of(chosen.settings) as ledger:
            counts = ledger.objects.counts()
    except DermaNodeError as error:
        return Sign("ledger", Health.MISSING, str(error))
    return Sign("ledger", Health.GOOD, f"answers; {sum(counts.values())} objects on record")


_VERIFICATION = "1.2.840.10008.1.1"
_RETRIEVE = {"get": "1.2.840.10008.5.1.4.1.2.2.3", "move": "1.2.840.10008.5.1.4.1.2.2.2"}
_STEPS = "1.2.840.10008.5.1.4.34.6.3"


def source_signs(settings: Settings) -> Iterator[Sign]:
    """Whether the sources, the Orthanc servers that are watched, and the worklists answer and let us in."""
    own, later = settings.node.ae_title, "it is asked again"
    for name, source in settings.sources.items():
        subject = f"source {name}"
        if isinstance(source, DicomwebSource):
            yield answers_at(subject, source.url, source.tls, later)
        else:
            yield lets_us_in(subject, source, own, {FIND: "C-FIND", _RETRIEVE[source.retrieve]: f"C-{source.retrieve.upper()}"}, later)
        if name in settings.priors.ask and isinstance(source, Source) and source.retrieve == "move":
            words = "`priors.ask` names it, but earlier reports are read by C-GET only: set `retrieve: get`, or ask another source"
            yield Sign(subject, Health.MISSING, words)
    for name, watch in settings.orthanc.items():
        yield orthanc_sign(name, watch)
    for name, worklist in settings.worklists.items():
        subject = f"worklist {name}"
        if worklist.url is not None:
            yield answers_at(subject, worklist.url, worklist.tls, later)
        elif worklist.ae_title is not None and worklist.host is not None and worklist.port is not None:
            manager = Source(ae_title=worklist.ae_title, host=worklist.host, port=worklist.port, tls=worklist.tls)
            yield lets_us_in(subject, manager, own, {_STEPS: "unified procedure steps (Pull)"}, later)


def _share(subject: str, path: Path) -> Sign:
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        return Sign(subject, Health.MISSING, f"folder {path}: {existing} may not be written: give the node's user the right to")
    return Sign(subject, Health.GOOD, f"folder {path}")


def destination_signs(name: str, destination: Destination, own_title: AETitle) -> Iterator[Sign]:
    """Whether a destination answers and lets us in, and whether the certificates for it can be used."""
    subject, waits = f"destination {name}", "what is for it will wait in the outbox"
    match destination:
        case FolderDestination():
            yield _share(subject, destination.path)
        case DimseDestination():
            pacs = Source(ae_title=destination.ae_title, host=destination.host, port=destination.port, tls=destination.tls)
            yield lets_us_in(subject, pacs, own_title, {_VERIFICATION: "C-ECHO"}, waits)
        case MllpDestination():
            yield answers(subject, destination.host, destination.port, destination.tls, waits)
        case DicomwebDestination():
            yield answers_at(subject, destination.url, destination.tls, waits)
        case FhirDestination():
            yield answers_at(subject, destination.url, destination.tls, waits)
            if destination.oauth is not None:
                yield answers_at(f"{subject}, its token server", destination.oauth.token_url, destination.tls, waits)
    if not isinstance(destination, FolderDestination) and (tls := destination.tls) is not None and tls.certificate and tls.key:
        yield certificate_sign(subject, tls.certificate, tls.key, datetime.now(UTC))
