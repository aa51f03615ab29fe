"""Which pipeline wants a series, and which plugins will be asked: a pure decision, with its reasons in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pydicom.uid

from dermanode.config import Match, Pipeline
from dermanode.ledger.records import WaitingSeries
from dermanode.pipeline.manifest import Manifest, Wants


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a series before anything is decoded."""

    views: int
    sop_classes: frozenset[str]
    modality: str
    body_site: str
    calling_aes: frozenset[str] = frozenset()
    is_image: bool = True

    @classmethod
    def of(cls, series: WaitingSeries) -> Facts:
        """A late image joins the views that are in a case already, so both are counted."""
        return cls(
            views=series.waiting + series.in_case,
            sop_classes=series.sop_classes,
            modality=series.modality,
            body_site=series.body_site,
            calling_aes=series.calling_aes,
            is_image=series.is_image,
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin that the pipeline names for a stage."""

    plugin: str
    will_be_asked: bool
    reason: str = ""
    """Why it will not be asked; empty when it will."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """Who is asked for one stage, in this order."""

    stage: str
    candidates: tuple[Candidate, ...]

    @property
    def words(self) -> str:
        asked = [candidate.plugin for candidate in self.candidates if candidate.will_be_asked]
        others = [f"{candidate.plugin} is not asked: {candidate.reason}" for candidate in self.candidates if not candidate.will_be_asked]
        first = f"{', then '.join(asked)} will be asked" if asked else "nobody can be asked"
        return f"{self.stage}: {'; '.join([first, *others])}."


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline that wants the series, with its stages in their order."""

    pipeline: str
    stages: tuple[StagePlan, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return (f"The pipeline {self.pipeline} takes the series.", *(stage.words for stage in self.stages))


@dataclass(frozen=True, slots=True)
class Unwanted:
    """No pipeline wants the series."""

    reason: str


def plan(
    series: WaitingSeries,
    pipelines: Sequence[Pipeline],
    manifests: Mapping[str, Manifest],
    suspended: Mapping[str, str],
    broken: Mapping[str, str] | None = None,
) -> Plan | Unwanted:
    """The first of `pipelines` (highest priority first) that wants the series, and who serves its stages.

    `suspended` and `broken` hold, for each plugin that cannot be asked, the reason.
    """
    facts = Facts.of(series)
    if not facts.is_image:
        return Unwanted(f"{_class_names(facts)}: no image, and only images are processed.")
    objections: dict[str, str] = {}
    for pipeline in pipelines:
        objection = _objection(facts, pipeline.match)
        if objection is None:
            return Plan(pipeline.name, plan_stages(facts, pipeline, manifests, suspended, broken))
        objections[pipeline.name] = objection
    return Unwanted(_unwanted(facts, objections))


def plan_stages(
    facts: Facts,
    pipeline: Pipeline,
    manifests: Mapping[str, Manifest],
    suspended: Mapping[str, str],
    broken: Mapping[str, str] | None = None,
) -> tuple[StagePlan, ...]:
    """Who serves the stages of a pipeline that has been chosen."""

    def candidate(plugin: str, stage: str) -> Candidate:
        if plugin in (broken or {}):
            return Candidate(plugin, False, f"it is broken. {(broken or {})[plugin]}")
        if plugin not in manifests:
            return Candidate(plugin, False, "it is not installed")
        served = manifests[plugin].stages.get(stage)
        if served is None:
            return Candidate(plugin, False, f"its manifest has no [stages.{stage}]")
        if plugin in suspended:
            return Candidate(plugin, False, f"it is suspended: {suspended[plugin]}")
        lack = _lack(facts, served.wants)
        return Candidate(plugin, lack is None, lack or "")

    return tuple(StagePlan(stage, tuple(candidate(plugin, stage) for plugin in names)) for stage, names in pipeline.stages.items())


def _objection(facts: Facts, match: Match) -> str | None:
    """Why a pipeline does not want the series, None when it does."""
    if match.sop_classes and not facts.sop_classes <= set(match.sop_classes):
        return f"takes no {_class_names(facts, without=match.sop_classes)}"
    if match.modalities and facts.modality not in match.modalities:
        return f"takes modality {_any_of(match.modalities)}, not {facts.modality or 'an empty one'}"
    if match.ae_titles and not facts.calling_aes <= set(match.ae_titles):
        return f"takes series from {_any_of(match.ae_titles)}, not from {', '.join(sorted(facts.calling_aes - set(match.ae_titles)))}"
    if match.body_sites and facts.body_site not in match.body_sites:
        return f"takes body site {_any_of(match.body_sites)}, not {facts.body_site or 'an unnamed one'}"
    if facts.views < match.views.fewest:
        return f"needs {match.views.fewest} views, and there {_are(facts.views)}"
    if match.views.most is not None and facts.views > match.views.most:
        return f"takes at most {match.views.most} views, and there {_are(facts.views)}"
    return None


def _lack(facts: Facts, wants: Wants) -> str | None:
    """What a plugin's stage misses in the series, None when it has all it wants."""
    if wants.sop_classes and not facts.sop_classes <= set(wants.sop_classes):
        return f"it does not read {_class_names(facts, without=wants.sop_classes)}"
    if wants.modalities and facts.modality not in wants.modalities:
        return f"it wants modality {_any_of(wants.modalities)}, not {facts.modality or 'an empty one'}"
    if wants.body_sites and facts.body_site not in wants.body_sites:
        return f"it wants body site {_any_of(wants.body_sites)}, not {facts.body_site or 'an unnamed one'}"
    if facts.views < wants.fewest_views:
        return f"it needs {wants.fewest_views} views, and there {_are(facts.views)}"
    return None


def _unwanted(facts: Facts, objections: Mapping[str, str]) -> str:
    if not objections:
        return "No pipeline is configured."
    if all(objection.startswith("takes no ") for objection in objections.values()):
        return f"{_class_names(facts)} is no dermoscopic image: no pipeline wants it."
    return f"No pipeline wants it. {'. '.join(f'{name} {objection}' for name, objection in objections.items())}."


def _class_names(facts: Facts, without: Iterable[str] = ()) -> str:
    return " and ".join(sorted(pydicom.uid.UID(uid).name for uid in facts.sop_classes - set(without)))


def _any_of(names: Iterable[str]) -> str:
    return " or ".join(names)


def _are(views: int) -> str:
    return "is 1" if views == 1 else f"are {views}"
