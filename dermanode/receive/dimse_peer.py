"""A PACS by DIMSE: an association that we open, and C-FIND over it (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dermanode.config import Source
from dermanode.config.tls import towards
from dermanode.deliver.answers import undisturbed
from dermanode.domain.identifiers import AETitle
from dermanode.errors import SourceRefused, SourceUnavailable
from dermanode.receive.searcher import INSTANCE_KEYS, MOST_ANSWERS, SERIES_KEYS, STUDY_KEYS
from dermanode.receive.source import without_delay

PENDING = (0xFF00, 0xFF01)

# PS3.8 table 9-21, by (source, reason); only those that stay until somebody changes a setting.
_REJECTIONS = {
    (1, 2): "it does not support the application context",
    (1, 3): "it does not know our AE title {own}: enter it there",
    (1, 7): "it does not answer to the AE title {called}: check `ae_title` of the source",
}


class DimsePeer:
    """Opens associations with one source. Its errors are `SourceUnavailable`, and `SourceRefused` for what a setting has to change."""

    def __init__(self, name: str, source: Source, own_title: AETitle) -> None:
        self.name, self.source, self.own_title = name, source, own_title

    @contextmanager
    def association(
        self,
        contexts: Sequence[PresentationContext],
        *,
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        handlers: Sequence[Any] = (),
    ) -> Iterator[Association]:
        """Released at the end; aborted where the work raised, so that the source stops sending."""
        entity = AE(ae_title=str(self.own_title))
        entity.maximum_pdu_size = 131072
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.source.timeout_s
        association = entity.associate(
            self.source.host,
            self.source.port,
            contexts=list(contexts),
            ae_title=str(self.source.ae_title),
            ext_neg=list(roles),
            evt_handlers=[(evt.EVT_CONN_OPEN, without_delay), (evt.EVT_CONN_OPEN, undisturbed), *handlers],
            tls_args=towards(self.source.host, self.source.tls),
        )
        if not association.is_established:
            raise self._not_established(association)
        try:
            yield association
        except BaseException:
            association.abort(block=False)
            raise
        else:
            if association.is_established:
                association.release()

    def _not_established(self, association: Association) -> SourceUnavailable:
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None:
            known = _REJECTIONS.get((answer.result_source, answer.diagnostic))
            if known is not None:
                return SourceRefused(self.name, known.format(own=self.own_title, called=self.source.ae_title))
            return SourceUnavailable(self.name, f"it rejects the association (source {answer.result_source}, reason {answer.diagnostic})")
        if association.rejected_contexts:
            return SourceRefused(self.name, f"it offers none of {_names(association.rejected_contexts)}")
        return SourceUnavailable(self.name, "it does not answer")


class DimseSearch:
    """C-FIND over one association."""

    def __init__(self, peer: DimsePeer, association: Association) -> None:
        self.name, self._own_title = peer.name, peer.own_title
        self._association = association
        self._has_answered = False

    def studies(self, matching: Mapping[str, str]) -> list[Dataset]:
        return self._find("STUDY", dict.fromkeys(STUDY_KEYS, "") | dict(matching))

    def series(self, study: str, matching: Mapping[str, str]) -> list[Dataset]:
        return self._find("SERIES", dict.fromkeys(SERIES_KEYS, "") | {"StudyInstanceUID": study} | dict(matching))

    def instances(self, study: str, series: str) -> list[Dataset]:
        return self._find("IMAGE", dict.fromkeys(INSTANCE_KEYS, "") | {"StudyInstanceUID": study, "SeriesInstanceUID": series})

    def _find(self, level: str, keys: Mapping[str, str]) -> list[Dataset]:
        if not self._association.is_established:
            raise SourceUnavailable(self.name, "the association was lost")
        found: list[Dataset] = []
        for status, answer in self._association.send_c_find(identifier(level, keys), StudyRootQueryRetrieveInformationModelFind):
            if "Status" not in status:
                raise SourceUnavailable(self.name, self._silence())
            self._has_answered = True
            if status.Status in PENDING:
                found += [answer] if answer is not None else []
                if len(found) > MOST_ANSWERS:
                    raise SourceRefused(self.name, f"it answers more than {MOST_ANSWERS} times: ask for less")
            elif status.Status != 0x0000:
                raise SourceUnavailable(self.name, f"it refuses the search ({words(status)})")
        return found

    def _silence(self) -> str:
        if self._has_answered:
            return "it stopped answering"
        # Orthanc accepts the association of a caller that it does not know, and breaks it off at the first question.
        return f"it gave no answer to our first question: enter {self._own_title} with this node's address there, where it is not known"


def find_context() -> PresentationContext:
    return build_context(StudyRootQueryRetrieveInformationModelFind)


def identifier(level: str, keys: Mapping[str, str]) -> Dataset:
    """A query of that level; empty keys ask for their values (PS3.4 C.2.2.2.3)."""
    query = Dataset()
    query.QueryRetrieveLevel = level
    if not all(value.isascii() for value in keys.values()):
        query.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(query, keyword, value or None)
    return query


def words(status: Dataset) -> str:
    """`status 0xA701: out of memory`."""
    comment = str(status.get("ErrorComment") or "").strip()
    return f"status 0x{status.Status:04X}" + (f": {comment}" if comment else "")


def _names(contexts: Sequence[PresentationContext]) -> str:
    return ", ".join(sorted({context.abstract_syntax.name for context in contexts if context.abstract_syntax is not None}))
