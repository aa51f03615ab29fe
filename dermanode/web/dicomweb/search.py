"""QIDO-RS (PS3.18 10.6): which studies, series and instances the node holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from dermanode.dicom.elements import Elements
from dermanode.errors import UnreadableObject
from dermanode.ledger.served import Wanted
from dermanode.web.dicomweb import attributes as known
from dermanode.web.dicomweb import json_model, matching
from dermanode.web.dicomweb.attributes import COMPUTED, OF_LEVEL, RETURNED, Level
from dermanode.web.dicomweb.json_model import Model, attribute, name_of
from dermanode.web.dicomweb.metadata import metadata
from dermanode.web.dicomweb.problem import Problem
from dermanode.web.dicomweb.query import Match, Query
from dermanode.web.dicomweb.shelf import Shelf, Volume

log = structlog.get_logger(__name__)

MOST_HEADERS = 20000
"""A query that would have to open more files than this is too broad."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The entities found, and what is to be said about them."""

    entities: tuple[Model, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Entity:
    """A study, series or instance."""

    study: tuple[Volume, ...]
    own: tuple[Volume, ...]
    """Its own objects: those of the study, those of the series, or the one."""


class _Reader:
    """Reads headers for one query, and not more than it may."""

    def __init__(self, more: frozenset[int]) -> None:
        self._more, self._seen = more, set[str]()

    def elements(self, volume: Volume) -> Elements:
        """Empty where the file is gone or damaged."""
        self._seen.add(volume.tag)
        if len(self._seen) > MOST_HEADERS:
            raise Problem(413, "The query is too broad: name a Patient ID, an Accession Number or a study, or ask for fewer with `limit`.")
        try:
            return volume.read(self._more).elements
        except UnreadableObject as error:
            log.warning("header_not_read", sop_instance_uid=str(volume.instance), reason=error.reason)
            return Elements({})

    def syntaxes(self, volume: Volume) -> list[str]:
        """Its transfer syntax; none where the file is gone or damaged: one such object must not hide all others."""
        try:
            return [volume.read(frozenset()).transfer_syntax]
        except UnreadableObject:  # said in the log where its attributes were read
            return []


def search(shelf: Shelf, query: Query, root: str) -> Answer:
    """What matches the query, studies with the newest objects first. `root`: the service's URL. Raises `Problem` 413."""
    more = frozenset(match.path[0] for match in query.matches) | query.includes
    reader = _Reader(more - COMPUTED)
    found = _matching(shelf, query, reader)
    page = list(islice(found, query.offset, query.offset + query.limit + 1))
    entities = tuple(_told(entity, query, reader, root) for entity in page[: query.limit])
    more_words = ("There are additional results that can be requested.",) if len(page) > query.limit else ()
    return Answer(entities, (*query.warnings, *more_words))


def _matching(shelf: Shelf, query: Query, reader: _Reader) -> Iterator[_Entity]:
    wanted: Wanted = query.wanted()
    for study in shelf.studies(wanted):
        for own in _entities(study, query.level):
            entity = _Entity(study, own)
            if _is_match(entity, query, reader):
                yield entity


def _entities(study: tuple[Volume, ...], level: Level) -> Iterator[tuple[Volume, ...]]:
    if level is Level.STUDY:
        yield study
    elif level is Level.INSTANCE:
        yield from ((volume,) for volume in study)
    else:
        series: dict[str, list[Volume]] = {}
        for volume in study:
            series.setdefault(str(volume.series), []).append(volume)
        yield from (tuple(volumes) for volumes in series.values())


def _is_match(entity: _Entity, query: Query, reader: _Reader) -> bool:
    own, level = entity.own, query.level
    of_all = OF_LEVEL.get(level)
    in_header = [match for match in query.matches if match.path[0] not in COMPUTED]
    # What a study or series says alike is read of one of its objects; for anything else, one object that fits will do.
    some = own[:1] if of_all is None or all(match.path[0] in of_all for match in in_header) else own
    if in_header and not any(all(_fits(match, volume, reader.elements(volume)) for match in in_header) for volume in some):
        return False
    return all(_fits_computed(match, entity, reader) for match in query.matches if match.path[0] in COMPUTED)


def _fits(match: Match, volume: Volume, elements: Elements, depth: int = 0) -> bool:
    tag = match.path[depth]
    if match.path == (known.PATIENT_ID,):
        return matching.matches(match.vr, match.value, [volume.patient_id])
    if depth + 1 < len(match.path):
        return any(_fits(match, volume, item, depth + 1) for item in elements.items(tag))
    return matching.matches(match.vr, match.value, json_model.texts(elements, tag))


def _fits_computed(match: Match, entity: _Entity, reader: _Reader) -> bool:
    tag = match.path[0]
    if tag == known.MODALITIES:
        return matching.matches("CS", match.value, _modalities(entity.study, reader))
    if tag in (known.SERIES_IN_STUDY, known.INSTANCES_IN_STUDY, known.INSTANCES_IN_SERIES):
        return matching.matches("IS", match.value, [str(_count(tag, entity))])
    if tag == known.AVAILABILITY:
        return matching.matches("CS", match.value, ["ONLINE"])
    if tag == known.SYNTAXES:
        return any(matching.matches("UI", match.value, reader.syntaxes(volume)) for volume in entity.own)
    raise Problem(400, f"{name_of(tag)} cannot be searched by.")


def _told(entity: _Entity, query: Query, reader: _Reader, root: str) -> Model:
    first = entity.own[0]
    has_study_named = any(match.path == (known.STUDY_UID,) for match in query.matches)
    tags = set(query.includes)
    for level in Level:
        if level == query.level or (level < query.level and not has_study_named):
            tags |= RETURNED[level]
    if query.is_all_included:
        tags |= OF_LEVEL.get(query.level, frozenset())
    model = _all_of(first, root) if query.is_all_included and query.level is Level.INSTANCE else {}
    model |= json_model.model_of(reader.elements(first), tags - COMPUTED)
    if known.PATIENT_ID in tags:
        model[name_of(known.PATIENT_ID)] = attribute("LO", [first.patient_id] if first.patient_id else [])
    model[name_of(known.STUDY_UID)] = attribute("UI", [str(first.study)])
    url = f"/studies/{first.study}"
    if query.level >= Level.SERIES:
        url += f"/series/{first.series}"
        model[name_of(known.SERIES_UID)] = attribute("UI", [str(first.series)])
    if query.level is Level.INSTANCE:
        url += f"/instances/{first.instance}"
        model[name_of(known.SYNTAXES)] = attribute("UI", reader.syntaxes(first))
    for tag in (known.SERIES_IN_STUDY, known.INSTANCES_IN_STUDY, known.INSTANCES_IN_SERIES):
        if tag in tags:
            model[name_of(tag)] = attribute("IS", [_count(tag, entity)])
    if known.MODALITIES in tags:
        model[name_of(known.MODALITIES)] = attribute("CS", _modalities(entity.study, reader))
    if known.AVAILABILITY in tags:
        model[name_of(known.AVAILABILITY)] = attribute("CS", ["ONLINE"])
    model[name_of(known.RETRIEVE_URL)] = attribute("UR", [root + url])
    model[name_of(known.CHARSET)] = attribute("CS", ["ISO_IR 192"])
    return dict(sorted(model.items()))


def _all_of(volume: Volume, root: str) -> Model:
    try:
        return metadata(volume, root)
    except UnreadableObject:
        return {}


def _modalities(study: Sequence[Volume], reader: _Reader) -> list[str]:
    found = {reader.elements(volume).text(known.MODALITY) for volume in _entities_first(study)}
    return sorted(modality for modality in found if modality)


def _entities_first(study: Sequence[Volume]) -> list[Volume]:
    """One object of each series: they have the modality in common (PS3.3 C.7.3.1)."""
    return list({volume.series: volume for volume in reversed(study)}.values())


def _count(tag: int, entity: _Entity) -> int:
    if tag == known.SERIES_IN_STUDY:
        return len({volume.series for volume in entity.study})
    if tag == known.INSTANCES_IN_STUDY:
        return len(entity.study)
    series = entity.own[0].series
    return sum(volume.series == series for volume in entity.study)
