"""What the hospital says over HL7: orders, patients, and the messages themselves."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from dermanode.ledger.columns import LongText, Name, RowId, UtcDateTime, Words

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Written out, not taken from `tables.py`: this file must go on making what it made in its release.
_OPTIONS: dict[str, Any] = {
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_nopad_bin",
}


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", RowId, nullable=False),
        sa.Column("number", Name(255), nullable=False),
        sa.Column("placer_number", Name(128), nullable=False),
        sa.Column("filler_number", Name(128), nullable=False),
        sa.Column("accession_number", Name(64), nullable=False),
        sa.Column("identities", LongText, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("procedure_code", Name(64), nullable=False),
        sa.Column("procedure_words", Words, nullable=False),
        sa.Column("requester", Words, nullable=False),
        sa.Column("control", Name(8), nullable=False),
        sa.Column("is_cancelled", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("number", name=op.f("uq_orders_number")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_orders_accession_number"), "orders", ["accession_number"])
    op.create_index(op.f("ix_orders_study_instance_uid"), "orders", ["study_instance_uid"])
    op.create_table(
        "patients",
        sa.Column("id", RowId, nullable=False),
        sa.Column("patient_id", Name(255), nullable=False),
        sa.Column("issuer_of_patient_id", Name(255), nullable=False),
        sa.Column("name", Words, nullable=False),
        sa.Column("birth_date", Name(8), nullable=False),
        sa.Column("sex", Name(8), nullable=False),
        sa.Column("merged_into", Name(255), nullable=False),
        sa.Column("merged_into_issuer", Name(255), nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patients")),
        sa.UniqueConstraint("patient_id", "issuer_of_patient_id", name=op.f("uq_patients_patient_id_issuer_of_patient_id")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_patients_merged_into"), "patients", ["merged_into"])
    op.create_table(
        "messages",
        sa.Column("id", RowId, nullable=False),
        sa.Column("sender", Name(160), nullable=False),
        sa.Column("control_id", Name(128), nullable=False),
        sa.Column("kind", Name(32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("answer", Name(8), nullable=False),
        sa.Column("error", Name(8), nullable=False),
        sa.Column("place", Name(64), nullable=False),
        sa.Column("words", Words, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("sender", "control_id", name=op.f("uq_messages_sender_control_id")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_messages_received_at"), "messages", ["received_at"])
