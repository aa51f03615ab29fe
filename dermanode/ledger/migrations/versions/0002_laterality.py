"""The side of the body, which tells two lesions of one name and site apart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from dermanode.ledger.columns import Name

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # NULL in what was recorded before: not known, which speaks against nothing.
    for table in ("objects", "cases"):
        op.add_column(table, sa.Column("laterality", Name(16), nullable=True))
