"""What is asked for at other places."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from dermanode.ledger.columns import LongText, Name, RowId, UtcDateTime, Words

revision = "0004"
down_revision = "0003"
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
        "fetches",
        sa.Column("id", RowId, nullable=False),
        sa.Column("source", Name(128), nullable=False),
        sa.Column("query", LongText, nullable=False),
        sa.Column("asked_by", Name(128), nullable=False),
        sa.Column("asked_at", UtcDateTime, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime, nullable=False),
        sa.Column("objects", sa.Integer(), nullable=False),
        sa.Column("words", Words, nullable=False),
        sa.Column("ended_at", UtcDateTime, nullable=True),
        sa.CheckConstraint("state IN ('pending', 'running', 'done', 'failed')", name=op.f("ck_fetches_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fetches")),
        **_OPTIONS,
    )
    op.create_index(op.f("ix_fetches_state_next_at"), "fetches", ["state", "next_at"])
