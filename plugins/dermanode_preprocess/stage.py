"""From the views of a series to clean views, in parallel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from dermanode.domain import Algorithm, CleanView, CleanViews, View
from dermanode.domain.codes import Code
from dermanode.hookspecs import StageContext
from dermanode_preprocess.cleaning import Cleaned, clean, scaling
from dermanode_preprocess.settings import CleaningSettings

ALGORITHM = Algorithm("DermaNode preprocess", "0.1.0", family=Code("123104", "DCM", "Morphological Operations"))


def clean_views(views: Sequence[View], settings: CleaningSettings, context: StageContext) -> CleanViews:
    """Every view cleaned, in the order of the series. Raises `UnreadableObject` where a view does not decode."""
    threads = max(1, min(context.threads, len(views)))
    done: list[tuple[CleanView, tuple[str, ...]]] = []
    # Decoding and OpenCV let go of the interpreter's lock, so threads are enough.
    with ThreadPoolExecutor(threads, thread_name_prefix="preprocess") as pool:
        for cleaned in pool.map(lambda view: _clean_view(view, settings), views):
            done.append(cleaned)
            context.progress(len(done) / len(views))
    remarks = tuple(remark for _, of_view in done for remark in of_view)
    return CleanViews(algorithm=ALGORITHM, views=tuple(view for view, _ in done), remarks=remarks)


def _clean_view(view: View, settings: CleaningSettings) -> tuple[CleanView, tuple[str, ...]]:
    # Both sides are to be at least the working size, where the source has as much: it is the shorter one that decides.
    shorter = min(view.rows, view.columns)
    longest_side_px = -(-settings.working_size_px * max(view.rows, view.columns) // shorter)
    pixels = view.pixels(longest_side_px=longest_side_px)
    cleaned = clean(pixels, settings)
    rows, columns = pixels.shape[:2]
    # The codec's own down-scaling is a sampling of the same picture: its pixel centres map like those of any other.
    to_source = scaling((rows, columns), (view.rows, view.columns)) @ cleaned.to_source
    clean_view = CleanView(sop_instance_uid=view.sop_instance_uid, pixels=cleaned.pixels, to_source=to_source, quality=cleaned.quality)
    name = f"View {view.number}" if view.number is not None else f"View {view.sop_instance_uid}"
    return clean_view, tuple(f"{name}: {remark}" for remark in _remarks(view, cleaned, settings))


def _remarks(view: View, cleaned: Cleaned, settings: CleaningSettings) -> Iterator[str]:
    quality, size = cleaned.quality, settings.working_size_px
    if max(view.rows, view.columns) < size // 2:
        yield f"only {view.columns} x {view.rows} pixels, enlarged to {size} x {size}."
    elif quality.blur < settings.blurred_below:
        yield f"blurred (variance of the Laplacian {quality.blur:.1f}, below {settings.blurred_below:g})."
    if quality.glare_fraction > settings.glaring_above:
        yield f"glare on {quality.glare_fraction:.0%} of the picture."
    if cleaned.is_grey:
        yield "no colour; contrast was enhanced and colours were left as they are."
    elif cleaned.skin_fraction < settings.least_skin_fraction:
        yield "no healthy skin was found, so light and colours were not normalised."
    elif quality.delta_e_after > settings.most_delta_e:
        yield (
            f"the skin's colour stays {quality.delta_e_after:.1f} (CIE76) from the reference, "
            f"more than {settings.most_delta_e:g}, after colour normalisation."
        )
