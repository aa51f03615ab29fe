"""The tables of the ledger."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from dermanode.ledger.columns import DeviceTime, LongText, Name, RowId, UtcDateTime, Words
from dermanode.ledger.records import CaseState, CommitmentState, DeliveryState, FetchState, ObjectState, StepState

REVISION = "0006"
"""The newest migration, so that an up-to-date ledger opens without loading Alembic; a test holds it to the migrations."""

# Binary comparison without padding: MariaDB's default would call the patients `ab1` and `AB1` one person.
_MARIADB = {"charset": "utf8mb4", "collate": "utf8mb4_nopad_bin"}
# SQLAlchemy knows the server by two names, after the URL.
OPTIONS: dict[str, Any] = {f"{dialect}_{option}": value for dialect in ("mysql", "mariadb") for option, value in _MARIADB.items()}

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, states: type[StrEnum]) -> CheckConstraint:
    quoted = ", ".join(f"'{state.value}'" for state in states)
    return CheckConstraint(f"{column} IN ({quoted})", name=column)


objects = Table(
    "objects",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("sop_instance_uid", String(64), nullable=False),
    # 0 for the first content that came under this UID, counting on for every later one: conflicts.
    Column("copy", Integer, nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("path", String(255), nullable=False),
    Column("association", Name(128), nullable=False),
    Column("calling_ae", Name(64), nullable=False),
    Column("called_ae", Name(64), nullable=False),
    Column("source_address", Name(64), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Words, nullable=False),
    Column("duplicates", Integer, nullable=False),
    # The header: NULL until it was read.
    Column("study_instance_uid", String(64)),
    Column("series_instance_uid", String(64)),
    Column("modality", Name(16)),
    Column("patient_id", Name(255)),
    Column("issuer_of_patient_id", Name(255)),
    Column("accession_number", Name(64)),
    Column("body_site", Name(64)),
    Column("tracking_uid", String(64)),
    Column("tracking_id", Name(255)),
    Column("acquired_at", DeviceTime),
    Column("is_image", Boolean(create_constraint=False)),
    Column("laterality", Name(16)),
    _one_of("state", ObjectState),
    # The digest first: a file of the spool is looked up by it, an object by its UID in the next one.
    UniqueConstraint("digest", "sop_instance_uid"),
    UniqueConstraint("sop_instance_uid", "copy"),
    Index(None, "state", "series_instance_uid"),
    Index(None, "series_instance_uid"),
    # All that a list of studies is made of, so that it reads no rows.
    Index(None, "study_instance_uid", "state", "received_at"),
    **OPTIONS,
)

cases = Table(
    "cases",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("study_instance_uid", String(64), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("patient_id", Name(255), nullable=False),
    Column("issuer_of_patient_id", Name(255), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("pipeline", Name(128), nullable=False),
    Column("plan", LongText, nullable=False),
    Column("evidence_kind", Name(64), nullable=False),
    Column("evidence_words", Words, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("reason", Words, nullable=False),
    Column("tracking_uid", String(64)),
    Column("tracking_id", Name(255)),
    Column("body_site", Name(64)),
    Column("acquired_at", DeviceTime),
    Column("accession_number", Name(64), nullable=False),
    Column("source_ae", Name(64), nullable=False),
    Column("outcome", LongText),
    Column("supersedes", String(40), ForeignKey("cases.id")),
    Column("laterality", Name(16)),
    _one_of("state", CaseState),
    Index(None, "state", "opened_at"),
    Index(None, "study_instance_uid"),
    Index(None, "series_instance_uid"),
    Index(None, "patient_id"),
    Index(None, "opened_at"),
    **OPTIONS,
)

case_objects = Table(
    "case_objects",
    metadata,
    Column("case_id", String(40), ForeignKey("cases.id"), primary_key=True),
    Column("object_id", RowId, ForeignKey("objects.id"), primary_key=True, autoincrement=False),
    Index(None, "object_id"),
    **OPTIONS,
)

results = Table(
    "results",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("case_id", String(40), ForeignKey("cases.id"), nullable=False),
    Column("kind", Name(32), nullable=False),
    Column("sop_class_uid", String(64)),
    Column("sop_instance_uid", String(64)),
    Column("path", Name(255), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("passed_gate", Boolean(create_constraint=False), nullable=False),
    Column("reasons", LongText, nullable=False),
    Column("description", Words, nullable=False),
    Index(None, "case_id"),
    Index(None, "sop_instance_uid"),
    **OPTIONS,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("case_id", String(40), ForeignKey("cases.id"), nullable=False),
    Column("destination", Name(128), nullable=False),
    Column("paths", LongText, nullable=False),
    # SHA-256 over paths and digests: a case that is run again and makes the same files is not delivered again.
    Column("content", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcDateTime, nullable=False),
    Column("last_error", Words, nullable=False),
    Column("receipt", Words, nullable=False),
    Column("delivered_at", UtcDateTime),
    Column("committed_at", UtcDateTime),
    _one_of("state", DeliveryState),
    UniqueConstraint("case_id", "destination"),
    Index(None, "destination", "state", "next_at"),
    **OPTIONS,
)

plugins = Table(
    "plugins",
    metadata,
    Column("plugin", Name(128), primary_key=True),
    Column("failures_in_a_row", Integer, nullable=False),
    Column("last_failure", Words, nullable=False),
    Column("suspended_at", UtcDateTime),
    **OPTIONS,
)

events = Table(
    "events",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("subject", Name(160), nullable=False),
    Column("kind", Name(64), nullable=False),
    Column("words", Words, nullable=False),
    Index(None, "subject"),
    **OPTIONS,
)

orders = Table(
    "orders",
    metadata,
    Column("id", RowId, primary_key=True),
    # The number that the order is known by, with who gave it out: a later message of the same order finds it.
    Column("number", Name(255), nullable=False),
    Column("placer_number", Name(128), nullable=False),
    Column("filler_number", Name(128), nullable=False),
    Column("accession_number", Name(64), nullable=False),
    # Who it is for, as JSON: [[patient id, issuer], ...]
    Column("identities", LongText, nullable=False),
    Column("study_instance_uid", String(64)),
    Column("procedure_code", Name(64), nullable=False),
    Column("procedure_words", Words, nullable=False),
    Column("requester", Words, nullable=False),
    # ORC-1 of the last message: NW, XO, CA, ...
    Column("control", Name(8), nullable=False),
    Column("is_cancelled", Boolean(create_constraint=False), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    UniqueConstraint("number"),
    Index(None, "accession_number"),
    Index(None, "study_instance_uid"),
    **OPTIONS,
)

patients = Table(
    "patients",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("patient_id", Name(255), nullable=False),
    Column("issuer_of_patient_id", Name(255), nullable=False),
    # DICOM PN, as the hospital's last message has it; what it has not stated is empty.
    Column("name", Words, nullable=False),
    Column("birth_date", Name(8), nullable=False),
    Column("sex", Name(8), nullable=False),
    # The identity that this one was merged into; empty while it stands for itself.
    Column("merged_into", Name(255), nullable=False),
    Column("merged_into_issuer", Name(255), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    UniqueConstraint("patient_id", "issuer_of_patient_id"),
    Index(None, "merged_into"),
    **OPTIONS,
)

messages = Table(
    "messages",
    metadata,
    Column("id", RowId, primary_key=True),
    # MSH-3 and MSH-4, then MSH-10: a message that comes again is answered again, and done once.
    Column("sender", Name(160), nullable=False),
    Column("control_id", Name(128), nullable=False),
    Column("kind", Name(32), nullable=False),
    Column("digest", String(64), nullable=False),
    # MSA-1, and the ERR segment: code of HL7 table 0357, and where.
    Column("answer", Name(8), nullable=False),
    Column("error", Name(8), nullable=False),
    Column("place", Name(64), nullable=False),
    Column("words", Words, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    UniqueConstraint("sender", "control_id"),
    Index(None, "received_at"),
    **OPTIONS,
)

fetches = Table(
    "fetches",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("source", Name(128), nullable=False),
    # What is asked for, as JSON: patient_id, accession_number, study_date, study_instance_uid, series_instance_uid.
    Column("query", LongText, nullable=False),
    Column("asked_by", Name(128), nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcDateTime, nullable=False),
    Column("objects", Integer, nullable=False),
    Column("words", Words, nullable=False),
    Column("ended_at", UtcDateTime),
    _one_of("state", FetchState),
    Index(None, "state", "next_at"),
    **OPTIONS,
)

commitments = Table(
    "commitments",
    metadata,
    Column("transaction_uid", String(64), primary_key=True),
    # The delivery that we asked for; NULL where a sender asked us.
    Column("delivery_id", RowId, ForeignKey("deliveries.id")),
    Column("peer", Name(128), nullable=False),
    # The instances, as JSON: [[SOP Class UID, SOP Instance UID], ...]
    Column("instances", LongText, nullable=False),
    Column("state", String(16), nullable=False),
    # Tries in vain to ask, or to report to a sender.
    Column("attempts", Integer, nullable=False),
    # When the request was taken; NULL while ours waits to be sent.
    Column("asked_at", UtcDateTime),
    Column("next_at", UtcDateTime, nullable=False),
    Column("words", Words, nullable=False),
    _one_of("state", CommitmentState),
    Index(None, "state", "next_at"),
    Index(None, "delivery_id"),
    **OPTIONS,
)

steps = Table(
    "steps",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("worklist", Name(128), nullable=False),
    # The key with which we hold the step: PS3.4 CC.1.1
    Column("transaction_uid", String(64), nullable=False),
    Column("label", Words, nullable=False),
    Column("patient_id", Name(255), nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    # The input, as JSON: [[Study, Series, SOP Instance UID], ...]
    Column("input", LongText, nullable=False),
    Column("state", String(16), nullable=False),
    Column("case_id", String(40), ForeignKey("cases.id")),
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcDateTime, nullable=False),
    Column("claimed_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("words", Words, nullable=False),
    _one_of("state", StepState),
    Index(None, "state", "next_at"),
    Index(None, "study_instance_uid"),
    **OPTIONS,
)
