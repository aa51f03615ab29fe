"""The report for people: one PDF of a finished case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dermanode import __version__
from dermanode.document import chart, fonts, vocabulary
from dermanode.document.content import content_of
from dermanode.document.pages import set_pages
from dermanode.document.pictures import (
    ComparedPictures,
    Picture,
    ViewPicture,
    compared_pictures,
    surface_pictures,
    view_pictures,
)
from dermanode.document.visits import visits_of
from dermanode.document.wording import Language, Wording, cleaned, direction_of, is_turned, person_name
from dermanode.domain import Case, Outcome, View


def encode_pdf(case: Case, outcome: Outcome, *, language: Language, made_at: datetime, institution: str = "") -> bytes:
    """The bytes of the PDF: the same for the same case, and for the same fonts.

    `outcome` says how the case ended, also a failed one; `institution` stands at the top of every page. Raises `CannotSetPages` where
    libraries or fonts are missing.
    """
    fonts.require(language)
    wording = Wording(language)
    content = content_of(case, outcome, wording)
    views = view_pictures(case, outcome)
    surface = surface_pictures(case.surface) if case.surface is not None else None
    compared = compared_pictures(case)
    values: dict[str, Any] = {
        **_words(case, wording),
        "case": case,
        "series": case.series,
        "content": content,
        "unreadable": outcome.unreadable,
        "research": wording.phrase(outcome.research_use),
        "institution": institution,
        "made_at": made_at.astimezone(UTC),
        "made_at_w3c": made_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "best": next((view for view in views if view.is_best), None),
        "others": [view for view in views if not view.is_best],
        "view_columns": (columns := 4 if len(views) <= 5 else 5),
        "view_width": f"{100 / columns:g}%",
        "surface": surface,
        "compared": compared,
        "charts": _charts(case, outcome, wording),
        "chart_size": (chart.WIDTH, chart.HEIGHT),
        "chart_box": {"left": chart.LEFT, "right": chart.WIDTH - chart.RIGHT},
        "view_remarks": lambda view: _view_remarks(case, view, wording),
        "view_number": lambda uid: next((n for n, view in enumerate(case.series.views, 1) if view.sop_instance_uid == uid), uid),
        "visit_day": lambda case_id: _visit_day(case, case_id, wording),
        "has_gaps_in_fonts": False,
    }
    environment = _environment(language)
    template = environment.get_template("report.html")
    html = template.render(values)
    if fonts.without_font(html):
        html = template.render({**values, "has_gaps_in_fonts": True})
    css = environment.get_template("report.css").render(values)
    files = _files(views, surface.pictures if surface else (), compared)
    return set_pages(html, css, files, identifier=f"{case.id}-{case.revision}", is_right_to_left=wording.direction == "rtl")


@cache
def _environment(language: Language) -> Environment:
    environment = Environment(
        loader=PackageLoader("dermanode.document"),
        autoescape=lambda name: name is not None and not name.endswith(".css"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    wording = Wording(language)

    def said(message: str, **values: object) -> Markup:
        return Markup.format(escape(wording.gettext(message)), **values) if values else escape(wording.gettext(message))

    environment.globals["_"] = said
    return environment


def _finalized(value: object) -> object:
    """What a template puts out: names and reasons come from anywhere."""
    return cleaned(value) if isinstance(value, str) else value


def _words(case: Case, wording: Wording) -> dict[str, Any]:
    patient = case.series.patient
    sex, side = vocabulary.SEXES.get(patient.sex), vocabulary.SIDES.get(case.series.laterality)
    issuer = f" ({patient.issuer})" if patient.issuer else ""
    return {
        "language": wording.language,
        "colon": "\u00a0:" if wording.language == "fr" else ":",
        "direction_of": direction_of,
        "is_turned": is_turned,
        "direction": wording.direction,
        "start": "right" if wording.direction == "rtl" else "left",
        "end": "left" if wording.direction == "rtl" else "right",
        "version": __version__,
        "title": wording.gettext("Analysis of a skin lesion"),
        "patient_name": person_name(patient.name),
        "patient_id": f"{patient.patient_id}{issuer}" if patient.patient_id else "",
        "accession_number": case.series.accession_number or (case.order.accession_number if case.order else ""),
        "placer_number": case.order.placer_number if case.order else "",
        "sex": wording.gettext(sex) if sex else patient.sex,
        "side": wording.gettext(side) if side else case.series.laterality,
        "phrase": wording.phrase,
        "moment": wording.moment,
        "day": wording.day,
        "short_day": wording.short_day,
        "number": lambda value, short=False: wording.short(value) if short else wording.number(value),
        "growth": lambda share: ("+" if share > 0 else "") + wording.share(share, 1),
    }


def _charts(case: Case, outcome: Outcome, wording: Wording) -> tuple[chart.Chart, ...]:
    features = case.features
    if features and case.surface:  # the features' own come last: they are what is reported
        features = replace(features, measurements=(*case.surface.measurements, *features.measurements))
    told = replace(outcome, features=features, classification=case.classification, progression=case.progression, risk=case.risk)
    visits = visits_of(told, case.series.acquired_at)
    if visits is None or case.progression is None:
        return ()
    return chart.charts(visits, case.progression, chart.Lettering(wording.short, wording.unit, wording.short_day))


def _visit_day(case: Case, case_id: str, wording: Wording) -> str:
    visits = case.progression.history if case.progression else ()
    taken = next((visit.acquired_at for visit in visits if visit.case_id == case_id), None)
    return wording.short_day(taken.date()) if taken else "–"


def _view_remarks(case: Case, view: View, wording: Wording) -> list[str]:
    if case.segmentation is None:
        return []
    mask = case.segmentation.mask(view.sop_instance_uid)
    if mask is None:
        return [wording.gettext("Not segmented")]
    if not mask.mask.any():
        return [wording.gettext("No lesion was found here")]
    return [wording.gettext("The lesion reaches the border: what lies beyond is not measured")] if mask.touches_border else []


def _files(views: Sequence[ViewPicture], surface: Sequence[Picture], compared: Sequence[ComparedPictures]) -> Mapping[str, bytes]:
    pictures = [view.picture for view in views if view.picture is not None]
    pictures += [*surface, *(picture for pair in compared for picture in (pair.now, pair.then, pair.difference))]
    return {picture.name: picture.jpeg for picture in pictures}
