"""The ways in: who may send, who is asked, watched or listened to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from dermanode.config.section import Network, Port, Section
from dermanode.config.tls import ClientTls, ServerTls
from dermanode.domain.identifiers import AETitle


class Allow(Section):
    """Who may send: an AE title and the network it calls from."""

    ae_title: str = Field("*", description="The calling AE title; `*` is any.")
    network: Network = Field(..., description="An address or a network in CIDR notation, such as 10.1.2.0/24.")


class Receive(Section):
    """The DICOM listener."""

    host: str = Field("127.0.0.1", description="The address to listen on; 0.0.0.0 for all. Senders must be allowed below in any case.")
    port: Port = Field(11112, description="The TCP port; 0 lets the system choose.")
    allow: tuple[Allow, ...] = Field((), description="Who may send from other machines. Empty: nobody. Loopback is always allowed.")
    is_called_ae_title_checked: bool = Field(True, description="Refuse associations that call another AE title than the node's.")
    maximum_associations: int = Field(64, ge=1, description="Associations at once; a further one is refused and the sender tries again.")
    network_timeout_s: float = Field(60.0, gt=0, description="An association that is silent for so long is aborted.")
    tls: ServerTls | None = Field(None, description="Listen with TLS; then nobody is heard without it.")
    minimum_free_mib: int = Field(1024, ge=0, description="Below this free disk space objects are refused with 'out of resources'.")


class Source(Section):
    """A PACS by DIMSE: asked for a series' own count, for earlier reports (`priors`), and fetched from."""

    type: Literal["dimse"] = Field("dimse", description="The protocol.")
    ae_title: AETitle = Field(..., description="The AE title of the source; the same that it calls us with.")
    host: str = Field(..., description="Its address.")
    port: Port = Field(..., description="Its DICOM port.")
    retrieve: Literal["get", "move"] = Field(
        "get", description="How objects are fetched: C-GET, or C-MOVE to this node's AE title, which the source must then know."
    )
    tls: ClientTls | None = Field(None, description="Call it with TLS.")
    timeout_s: float = Field(30.0, gt=0, description="How long to wait for an answer while fetching.")


class DicomwebSource(Section):
    """A PACS by DICOMweb (QIDO-RS and WADO-RS)."""

    type: Literal["dicomweb"]
    url: str = Field(..., description="The base URL, such as https://pacs.example.org/dicom-web.", pattern=r"^https?://")
    ae_title: AETitle | None = Field(None, description="The AE title under which the same PACS sends; it is then asked for series' counts.")
    username: str = Field("", description="For HTTP authentication.")
    password: str = Field("", description="For HTTP authentication.")
    token: str | None = Field(None, description="A bearer token, where the server wants one.")
    tls: ClientTls = ClientTls()
    timeout_s: float = Field(30.0, gt=0, description="How long to wait for an answer.")


def _source_type(value: Any) -> str:
    found = value.get("type", "dimse") if isinstance(value, dict) else getattr(value, "type", "dimse")
    return str(found)


AnySource = Annotated[Annotated[Source, Tag("dimse")] | Annotated[DicomwebSource, Tag("dicomweb")], Discriminator(_source_type)]


class OrthancWatch(Section):
    """An Orthanc that is watched for stable series, which are fetched."""

    url: str = Field(..., description="Its REST address.", pattern=r"^https?://")
    username: str = Field("", description="For HTTP authentication.")
    password: str = Field("", description="For HTTP authentication.")
    poll_s: float = Field(2.0, gt=0, description="How often its changes are read.")


class Priors(Section):
    """Where a lesion's earlier visits are asked for that the ledger does not know."""

    ask: tuple[str, ...] = Field((), description="Who is asked for earlier reports of the lesion: names under `sources` or `orthanc`.")
    timeout_s: float = Field(10.0, gt=0, le=60, description="No case waits longer for the answers; what had come by then is used.")
    most_reports: int = Field(20, ge=1, le=200, description="At most so many earlier reports of a lesion are used: the latest.")
    is_asked_always: bool = Field(False, description="Ask also when the ledger knows an earlier visit of the lesion.")


AccessionRule = Literal["IPC-1", "OBR-18", "OBR-19", "OBR-20", "filler", "placer"]


class Hl7Listener(Section):
    """The HL7 v2 listener: orders, patients' changes and merges, over MLLP."""

    is_enabled: bool = Field(False, description="Listen for HL7 v2 messages.")
    host: str = Field("127.0.0.1", description="The address to listen on; 0.0.0.0 for all. Senders must be allowed below in any case.")
    port: Port = Field(2575, description="The TCP port; 0 lets the system choose.")
    allow: tuple[Network, ...] = Field((), description="Networks that may send. Empty: nobody but loopback.")
    tls: ServerTls | None = Field(None, description="Listen with TLS (MLLPS).")
    timeout_s: float = Field(600.0, gt=0, description="A connection that is silent for so long is closed.")
    maximum_connections: int = Field(64, ge=1, description="Connections at once; a further one is closed.")
    maximum_message_mib: float = Field(16.0, gt=0, le=256, description="A larger message is refused.")
    default_issuer: str = Field(
        "",
        description="The assigning authority that gave out the patient ids of images without Issuer of Patient ID, and of messages that "
        "name none. Empty: nobody's changes and merges reach such images. Set it before the first message comes.",
    )
    charset: str = Field("ASCII", description="What messages are written in whose MSH-18 is empty, named as MSH-18 would.")
    processing_ids: tuple[Literal["P", "T", "D"], ...] = Field(
        ("P",), description="MSH-11 of messages that are done: production, training, debugging. Others are recorded and acknowledged only."
    )
    accession_from: tuple[AccessionRule, ...] = Field(
        ("IPC-1", "OBR-18", "filler"),
        description="Where an order's accession number is looked for, in this order; the first that is stated.",
    )


class WatchedFolder(Section):
    """A folder into which a dermatoscope writes photographs."""

    path: Path = Field(..., description="The folder; its sub-folders are looked into.")
    name_template: str | None = Field(
        None,
        description="What a file's path below the folder says, such as `{patient_id}/{study}_{lesion}_{view}.jpg`.",
    )
    sidecar: Literal["none", "json", "csv"] = Field(
        "none", description="`json`: NAME.json beside NAME.jpg; `csv`: a table with a row a photograph in the same folder."
    )
    sidecar_wait_s: float = Field(
        60.0, ge=0, description="A photograph waits so long for its sidecar; then its name must say whose it is, or it goes to quarantine."
    )
    issuer_of_patient_id: str = Field("", description="Who gave out the patient ids, where the photograph's particulars do not say it.")
    photographs: Literal["dermoscopic", "photographic"] = Field(
        "dermoscopic", description="What they become: Dermoscopic Photography, or VL Photographic Image Storage."
    )
    poll_s: float = Field(2.0, gt=0, description="How often the folder is looked at.")
    settle_s: float = Field(2.0, ge=0, description="A file is taken when it has not changed for so long.")
    after: Literal["move", "delete", "keep"] = Field(
        "move", description="What becomes of a photograph that was taken in: moved to `.taken` below the folder, deleted, or left."
    )


class Worklist(Section):
    """A manager of unified procedure steps, whose work is asked for, claimed and done (IHE AI Workflow)."""

    type: Literal["dimse", "ups-rs"] = Field("dimse", description="`dimse`: C-FIND, N-ACTION, N-SET. `ups-rs`: DICOMweb.")
    ae_title: AETitle | None = Field(None, description="Its AE title (dimse).")
    host: str | None = Field(None, description="Its address (dimse).")
    port: Port | None = Field(None, description="Its DICOM port (dimse).")
    url: str | None = Field(None, description="Its base URL (ups-rs).", pattern=r"^https?://")
    token: str | None = Field(None, description="A bearer token, where the server wants one (ups-rs).")
    tls: ClientTls | None = Field(None, description="dimse: call it with TLS. ups-rs: whom an https address is to be vouched for by.")
    label: str = Field("", description="Only steps with this Worklist Label; empty: any.")
    station: str = Field("", description="Only steps for this Scheduled Station Name Code value; empty: any.")
    fetch_from: str | None = Field(None, description="The name under `sources` from which a step's input is fetched.")
    claim_at_once: int = Field(4, ge=1, description="So many steps are held at most; the others are left to other performers.")
    input_wait_s: float = Field(
        3600.0, gt=0, description="A step whose input has not come by then, and is not fetched, is canceled with that reason."
    )
    poll_s: float = Field(10.0, gt=0, description="How often it is asked for work.")
    timeout_s: float = Field(30.0, gt=0, description="How long to wait for an answer.")

    @model_validator(mode="after")
    def _can_be_called(self) -> Self:
        if self.type == "dimse" and not (self.ae_title and self.host and self.port):
            raise ValueError("a worklist by DIMSE needs `ae_title`, `host` and `port`")
        if self.type == "ups-rs" and not self.url:
            raise ValueError("a worklist by UPS-RS needs `url`")
        return self
