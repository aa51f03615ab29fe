"""This visit held against the earlier ones: numbers, trends and pictures."""

from __future__ import annotations

from dermanode.domain import Algorithm, Case, Features, PicturedProgression
from dermanode.domain.codes import Code
from dermanode_progression.numbers import compared, followed
from dermanode_progression.pictured import pictured
from dermanode_progression.settings import ProgressionSettings
from dermanode_progression.visits import Record

ALGORITHM = Algorithm("DermaNode progression", "0.2.0", family=Code("123105", "DCM", "Histogram Analysis"))


def follow(case: Case, now: Features, record: Record, settings: ProgressionSettings, *, threads: int = 1) -> PicturedProgression:
    """What changed since the last and the first visit of `record`, how fast over all of them, and what raises an alert."""
    numbers = compared(case, now, record.compared, settings)
    followed(case, now, record.visits, settings, numbers)
    pictures = pictured(case, record.compared, settings, threads=threads)
    held = {id(visit.prior) for visit in record.compared}
    return PicturedProgression(
        algorithm=ALGORITHM,
        priors=tuple(prior.case_id for prior in case.priors if id(prior) in held),
        changes=tuple(numbers.changes),
        trends=tuple(numbers.trends),
        history=record.history,
        alerts=tuple(numbers.alerts),
        remarks=(*numbers.remarks, *record.remarks, *pictures.remarks),
        comparisons=tuple(pictures.comparisons),
    )
