"""Studies are looked up by their UID: viewers ask for them."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_objects_study_instance_uid_state_received_at"), "objects", ["study_instance_uid", "state", "received_at"])
    op.create_index(op.f("ix_cases_study_instance_uid"), "cases", ["study_instance_uid"])
