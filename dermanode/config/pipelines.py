"""A pipeline: which series it wants, which plugins serve its stages, and where its results go."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from dermanode.config.destinations import ObjectKind
from dermanode.config.section import Section
from dermanode.domain.identifiers import UID, AETitle


class Views(Section):
    """How many views a series must have."""

    fewest: int = Field(1, ge=1, description="Fewer views than this: another pipeline, or none.")
    most: int | None = Field(None, ge=1, description="More views than this: another pipeline, or none.")


class Match(Section):
    """Which series a pipeline wants. An empty list asks for nothing; every list that is not empty must match."""

    sop_classes: tuple[UID, ...] = Field((), description="SOP Class UIDs of the images.")
    modalities: tuple[str, ...] = Field((), description="Modality (0008,0060): DMS, XC, ...")
    ae_titles: tuple[AETitle, ...] = Field((), description="Calling AE titles.")
    body_sites: tuple[str, ...] = Field((), description="Code values of the anatomic region.")
    views: Views = Field(Views(), description="How many views.")

    @property
    def is_empty(self) -> bool:
        return not (self.sop_classes or self.modalities or self.ae_titles or self.body_sites)


class Outputs(Section):
    """Which objects a case makes."""

    kinds: tuple[ObjectKind, ...] = Field(
        ("SEG", "SURFACE_SEG", "SC", "SR"),
        description="The objects to encode. SEG: binary segmentations; SEG_FRACTIONAL, SEG_LABELMAP: in those forms. SURFACE_SEG, STL: "
        "the surface, as a body where it is in mm. SC: heat maps, where a stage made any. OVERLAY: photographs with outlines. PMAP: "
        "heights and saliency as parametric maps. SR: the report; PDF: the report for people. KOS: rejection notes for what a later "
        "revision replaces.",
    )
    language: Literal["en", "de", "fr", "es", "hi", "ar"] = Field("en", description="The language of the report for people (PDF).")
    series_description: str = Field("DermaNode", description="Begins the Series Description of every result.")


class Pipeline(Section):
    """One chain of stages for one kind of series."""

    name: str = Field(..., pattern=r"^[a-z0-9][a-z0-9-]*$", description="Lower case, digits and '-'.")
    summary: str = Field("", description="One sentence for people.")
    priority: int = Field(0, description="Where several pipelines match, the highest priority wins, then the name.")
    match: Match = Field(
        ..., description="Which series it wants. It must ask for something: a pipeline that matches everything is refused."
    )
    expected_views: int | None = Field(
        None, ge=1, description="With so many views present when the association is released, the series is complete without waiting."
    )
    quiet_s: float | None = Field(None, gt=0, description="Overrides complete.quiet_s for this pipeline.")
    stages: dict[str, tuple[str, ...]] = Field(..., description="For each stage the plugins to ask, in this order.")
    settings: dict[str, dict[str, Any]] = Field({}, description="Settings for each plugin, handed to it as they stand.")
    outputs: Outputs = Field(Outputs(), description="Which objects are made.")
    deliver: tuple[str, ...] = Field((), description="Names of the destinations that get the results.")

    @field_validator("match")
    @classmethod
    def _asks_for_something(cls, match: Match) -> Match:
        if match.is_empty:
            raise ValueError("an empty match would take every series: name SOP classes, modalities, AE titles or body sites")
        return match
