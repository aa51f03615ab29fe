"""What is asked of a manager of procedure steps, whatever the road."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from pydicom import Dataset

from dermanode.dicom.procedure_step import ProcedureStep, StepProgress
from dermanode.domain.identifiers import UID
from dermanode.errors import DermaNodeError


class WorklistUnavailable(DermaNodeError):
    """A manager that did not answer, or said that it cannot now; it is asked again."""

    def __init__(self, worklist: str, reason: str) -> None:
        self.worklist, self.reason = worklist, reason
        super().__init__(f"Worklist {worklist}: {reason}")


class Verdict(Enum):
    """What a manager makes of a change."""

    DONE = auto()
    CONFLICT = auto()
    """The step is in a state, or in somebody's hands, that does not allow it."""
    UNKNOWN = auto()
    """It has no such step."""
    REFUSED = auto()
    """It does not like what it is told."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A manager's answer to a change."""

    verdict: Verdict
    words: str


class Session(Protocol):
    """A conversation with a manager. Each call raises `WorklistUnavailable`."""

    def find(self, label: str, station: str) -> Sequence[ProcedureStep]:
        """Scheduled steps whose input is ready."""
        ...

    def get(self, sop_instance_uid: UID) -> ProcedureStep | None:
        """The step as it is now; None where the manager has none of that UID."""
        ...

    def change_state(self, sop_instance_uid: UID, transaction_uid: UID, progress: StepProgress) -> Answer: ...

    def update(self, sop_instance_uid: UID, transaction_uid: UID, changes: Dataset) -> Answer: ...


class Manager(Protocol):
    """A manager that can be called."""

    def session(self) -> AbstractContextManager[Session]:
        """Raises `WorklistUnavailable`."""
        ...
