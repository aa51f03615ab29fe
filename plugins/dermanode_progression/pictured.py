"""Views of this visit laid over those of an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from dermanode.domain import Case, View, ViewComparison
from dermanode.errors import UnreadableObject
from dermanode_progression.difference import differ
from dermanode_progression.drawing import draw
from dermanode_progression.pairing import Outlined, outlined_now, outlined_then, partner
from dermanode_progression.picture import inverse, open_picture
from dermanode_progression.registration import Marks, Registration, marks, register
from dermanode_progression.settings import ProgressionSettings
from dermanode_progression.visits import EarlierVisit

_SPARE_TRIES = 2


@dataclass
class Pictured:
    """The comparisons that held, and why others did not."""

    comparisons: list[ViewComparison] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def pictured(case: Case, visits: Sequence[EarlierVisit], settings: ProgressionSettings, *, threads: int = 1) -> Pictured:
    """As many views as the settings ask for over the last of `visits` that has photographs; `visits` come the last one first.

    A view is laid over its like: same azimuth, view code or number. Where that does not fit, or is not stated, one view is tried with all
    earlier ones, and the one with the most matches is taken: a patient may have lain the other way round.
    """
    result = Pictured()
    if not settings.pictures or not visits:
        return result
    if case.segmentation is None:
        result.remarks.append("No picture of the change: the lesion was not outlined now.")
        return result
    chosen = next(((visit, earlier) for visit in visits if (earlier := outlined_then(visit.prior))), None)
    if chosen is None:
        result.remarks.append("No picture of the change: no outlined photographs of the visits that were compared are at hand.")
        return result
    visit, earlier = chosen
    since = visit.since(case.series.acquired_at)
    has_searched = False
    with ThreadPoolExecutor(max(1, min(threads, 2)), thread_name_prefix="progression") as pool:
        desk = _Desk(pool, settings)
        for one in islice(outlined_now(case), settings.pictures + _SPARE_TRIES):
            alike = partner(one.view, earlier)
            fit = desk.fit(one, [alike]) if alike is not None else "which view is its like is not stated"
            others = [other for other in earlier if other is not alike]
            if isinstance(fit, str) and others and not has_searched:
                has_searched = True
                found = desk.fit(one, others)
                # Why its like does not fit says more than why the last of all others does not.
                fit = fit if isinstance(found, str) else found
            if isinstance(fit, str):
                result.remarks.append(f"{_name(one.view)} could not be laid over a view of {since}: {fit}.")
                continue
            _compare(visit, fit, result)
            if len(result.comparisons) == settings.pictures:
                break
    return result


@dataclass(frozen=True, eq=False)
class _Fit:
    now: Marks
    then: Marks
    registration: Registration


@dataclass
class _Desk:
    """Opens each view once."""

    pool: ThreadPoolExecutor
    settings: ProgressionSettings
    opened: dict[str, Marks | str] = field(default_factory=dict)

    def fit(self, now: Outlined, candidates: Sequence[Outlined]) -> _Fit | str:
        """The candidate that fits with the most matches, or why the last one does not."""
        self._open([now, *candidates])
        here = self.opened[now.view.sop_instance_uid]
        if isinstance(here, str):
            return here
        best: _Fit | None = None
        reason = ""
        for candidate in candidates:
            there = self.opened[candidate.view.sop_instance_uid]
            if isinstance(there, str):
                reason = there
                continue
            found = register(here, there, least_matches=self.settings.least_matches, least_likeness=self.settings.least_likeness)
            if isinstance(found, str):
                reason = found
            elif best is None or found.matches > best.registration.matches:
                best = _Fit(here, there, found)
        return best or reason

    def _open(self, wanted: Sequence[Outlined]) -> None:
        closed = [one for one in wanted if one.view.sop_instance_uid not in self.opened]
        for one, found in zip(closed, self.pool.map(_marks, closed), strict=True):
            self.opened[one.view.sop_instance_uid] = found


def _marks(one: Outlined) -> Marks | str:
    try:
        return marks(open_picture(one.view, one.outlines))
    except UnreadableObject as error:
        return f"it cannot be read ({error.reason})"


def _compare(visit: EarlierVisit, fit: _Fit, result: Pictured) -> None:
    now, then = fit.now.picture, fit.then.picture
    found = differ(now, then, fit.registration)
    result.comparisons.append(
        ViewComparison(
            sop_instance_uid=now.view.sop_instance_uid,
            prior_case_id=visit.prior.case_id,
            prior_view_uid=then.view.sop_instance_uid,
            to_prior=then.to_source @ fit.registration.to_then @ inverse(now.to_source),
            now=now.pixels,
            then=found.then,
            difference=draw(now.pixels, found),
            measurements=found.measurements,
        )
    )
    result.remarks.extend(f"{_name(now.view)}, laid over the earlier picture: {remark}." for remark in found.remarks)


def _name(view: View) -> str:
    return f"View {view.number}" if view.number is not None else f"View {view.sop_instance_uid}"
