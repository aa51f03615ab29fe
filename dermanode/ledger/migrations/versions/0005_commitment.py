"""Promises to keep what was sent, and procedure steps that are done for others."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from dermanode.ledger.columns import LongText, Name, RowId, UtcDateTime, Words

revision = "0005"
down_revision = "0004"
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
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.add_column(sa.Column("committed_at", UtcDateTime, nullable=True))
        deliveries.drop_constraint(op.f("ck_deliveries_state"), type_="check")
        states = "state IN ('pending', 'sending', 'delivered', 'committed', 'dead')"
        deliveries.create_check_constraint(op.f("ck_deliveries_state"), states)
    op.create_table(
        "commitments",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("delivery_id", RowId, nullable=True),
        sa.Column("peer", Name(128), nullable=False),
        sa.Column("instances", LongText, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("asked_at", UtcDateTime, nullable=True),
        sa.Column("next_at", UtcDateTime, nullable=False),
        sa.Column("words", Words, nullable=False),
        sa.CheckConstraint("state IN ('pending', 'committed', 'failed')", name=op.f("ck_commitments_state")),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_commitments_delivery_id_deliveries")),
        sa.PrimaryKeyConstraint("transaction_uid", name=op.f("pk_commitments")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_commitments_delivery_id"), "commitments", ["delivery_id"])
    op.create_index(op.f("ix_commitments_state_next_at"), "commitments", ["state", "next_at"])
    op.create_table(
        "steps",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("worklist", Name(128), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("label", Words, nullable=False),
        sa.Column("patient_id", Name(255), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("input", LongText, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("case_id", sa.String(length=40), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime, nullable=False),
        sa.Column("claimed_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime, nullable=True),
        sa.Column("words", Words, nullable=False),
        sa.CheckConstraint("state IN ('claiming', 'claimed', 'completed', 'canceled')", name=op.f("ck_steps_state")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_steps_case_id_cases")),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_steps")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_steps_state_next_at"), "steps", ["state", "next_at"])
    op.create_index(op.f("ix_steps_study_instance_uid"), "steps", ["study_instance_uid"])
