"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from dermanode.ledger.columns import DeviceTime, LongText, Name, RowId, UtcDateTime, Words

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Written out, not taken from `tables.py`: this file must go on making what it made in the first release.
_OPTIONS: dict[str, Any] = {
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_nopad_bin",
}


def upgrade() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("patient_id", Name(255), nullable=False),
        sa.Column("issuer_of_patient_id", Name(255), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("pipeline", Name(128), nullable=False),
        sa.Column("plan", LongText, nullable=False),
        sa.Column("evidence_kind", Name(64), nullable=False),
        sa.Column("evidence_words", Words, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("opened_at", UtcDateTime, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=True),
        sa.Column("reason", Words, nullable=False),
        sa.Column("tracking_uid", sa.String(length=64), nullable=True),
        sa.Column("tracking_id", Name(255), nullable=True),
        sa.Column("body_site", Name(64), nullable=True),
        sa.Column("acquired_at", DeviceTime, nullable=True),
        sa.Column("accession_number", Name(64), nullable=False),
        sa.Column("source_ae", Name(64), nullable=False),
        sa.Column("outcome", LongText, nullable=True),
        sa.Column("supersedes", sa.String(length=40), nullable=True),
        sa.CheckConstraint("state IN ('ready', 'running', 'finished', 'failed', 'superseded')", name=op.f("ck_cases_state")),
        sa.ForeignKeyConstraint(["supersedes"], ["cases.id"], name=op.f("fk_cases_supersedes_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_cases_opened_at"), "cases", ["opened_at"])
    op.create_index(op.f("ix_cases_patient_id"), "cases", ["patient_id"])
    op.create_index(op.f("ix_cases_series_instance_uid"), "cases", ["series_instance_uid"])
    op.create_index(op.f("ix_cases_state_opened_at"), "cases", ["state", "opened_at"])
    op.create_table(
        "events",
        sa.Column("id", RowId, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("subject", Name(160), nullable=False),
        sa.Column("kind", Name(64), nullable=False),
        sa.Column("words", Words, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_events_subject"), "events", ["subject"])
    op.create_table(
        "objects",
        sa.Column("id", RowId, nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("copy", sa.Integer(), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("association", Name(128), nullable=False),
        sa.Column("calling_ae", Name(64), nullable=False),
        sa.Column("called_ae", Name(64), nullable=False),
        sa.Column("source_address", Name(64), nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", Words, nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("modality", Name(16), nullable=True),
        sa.Column("patient_id", Name(255), nullable=True),
        sa.Column("issuer_of_patient_id", Name(255), nullable=True),
        sa.Column("accession_number", Name(64), nullable=True),
        sa.Column("body_site", Name(64), nullable=True),
        sa.Column("tracking_uid", sa.String(length=64), nullable=True),
        sa.Column("tracking_id", Name(255), nullable=True),
        sa.Column("acquired_at", DeviceTime, nullable=True),
        sa.Column("is_image", sa.Boolean(), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'in case', 'ignored', 'quarantined', 'purged')", name=op.f("ck_objects_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_objects")),
        sa.UniqueConstraint("digest", "sop_instance_uid", name=op.f("uq_objects_digest_sop_instance_uid")),
        sa.UniqueConstraint("sop_instance_uid", "copy", name=op.f("uq_objects_sop_instance_uid_copy")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_objects_series_instance_uid"), "objects", ["series_instance_uid"])
    op.create_index(op.f("ix_objects_state_series_instance_uid"), "objects", ["state", "series_instance_uid"])
    op.create_table(
        "plugins",
        sa.Column("plugin", Name(128), nullable=False),
        sa.Column("failures_in_a_row", sa.Integer(), nullable=False),
        sa.Column("last_failure", Words, nullable=False),
        sa.Column("suspended_at", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("plugin", name=op.f("pk_plugins")),
        **_OPTIONS,
    )
    op.create_table(
        "case_objects",
        sa.Column("case_id", sa.String(length=40), nullable=False),
        sa.Column("object_id", RowId, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_objects_case_id_cases")),
        sa.ForeignKeyConstraint(["object_id"], ["objects.id"], name=op.f("fk_case_objects_object_id_objects")),
        sa.PrimaryKeyConstraint("case_id", "object_id", name=op.f("pk_case_objects")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_case_objects_object_id"), "case_objects", ["object_id"])
    op.create_table(
        "deliveries",
        sa.Column("id", RowId, nullable=False),
        sa.Column("case_id", sa.String(length=40), nullable=False),
        sa.Column("destination", Name(128), nullable=False),
        sa.Column("paths", LongText, nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime, nullable=False),
        sa.Column("last_error", Words, nullable=False),
        sa.Column("receipt", Words, nullable=False),
        sa.Column("delivered_at", UtcDateTime, nullable=True),
        sa.CheckConstraint("state IN ('pending', 'sending', 'delivered', 'dead')", name=op.f("ck_deliveries_state")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_deliveries_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("case_id", "destination", name=op.f("uq_deliveries_case_id_destination")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_deliveries_destination_state_next_at"), "deliveries", ["destination", "state", "next_at"])
    op.create_table(
        "results",
        sa.Column("id", RowId, nullable=False),
        sa.Column("case_id", sa.String(length=40), nullable=False),
        sa.Column("kind", Name(32), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=True),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("path", Name(255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("passed_gate", sa.Boolean(), nullable=False),
        sa.Column("reasons", LongText, nullable=False),
        sa.Column("description", Words, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_results_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_results_case_id"), "results", ["case_id"])
    op.create_index(op.f("ix_results_sop_instance_uid"), "results", ["sop_instance_uid"])
