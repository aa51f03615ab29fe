"""Parametric Maps: the lesion's heights, and where an answer comes from, as numbers (PS3.3 A.75)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence, VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from numpy.typing import NDArray
from pydicom import Dataset

from dermanode.dicom import concepts, equipment, overlay
from dermanode.dicom.capture import explains, named_maps
from dermanode.dicom.coding import coded
from dermanode.dicom.plane import decimal, planar
from dermanode.dicom.references import referenced_series, view_reference
from dermanode.dicom.result import ResultContext
from dermanode.dicom.sources import SourceImage
from dermanode.dicom.surface import frame_uid
from dermanode.domain import UID, Code, HeatMap, HeatMaps, Surface
from dermanode.domain.codes import MM, NO_UNITS

KIND = "PMAP"
_HEIGHTS, _SALIENCY = "PMAP", "PMAP_SALIENCY"
"""Two series: they lie in other frames of reference."""
_UNKNOWN = np.float32(-9999.0)
"""Stands in a map where no height is known, as its Float Pixel Padding Value."""
LONGEST_PX = 512
"""A heat map is laid over its view at most so large: its own grid is coarser still."""


def heights_uid(context: ResultContext) -> UID:
    """The SOP Instance UID of the case's map of heights."""
    return context.uid("instance", KIND, "heights")


def saliency_uid(context: ResultContext, finding: int, view_uid: str) -> UID:
    """The SOP Instance UID of a view's map; `finding` counts the case's heat maps from 0."""
    return context.uid("instance", KIND, "saliency", str(finding), view_uid)


def why_no_heights(surface: Surface) -> str | None:
    """Why there is no map of heights, in words; None when there is one."""
    if surface.height_field is None:
        return "the method keeps no field of heights"
    if not surface.is_metric or surface.lateral_unit != "mm":
        return "the surface's heights are relative, and a map of heights is in millimetres"
    if not np.isfinite(surface.height_field.heights).any():
        return "no height is known"
    return None


def encode_heights(context: ResultContext, surface: Surface) -> Dataset:
    """Heights above the skin as it would be without the lesion, in mm, as a plane of the surface's own frame of reference.

    Rows run towards smaller y, so that the picture shows the lesion as the reference view does. Where no height is known stands the padding
    value.
    """
    field = surface.height_field
    assert field is not None, "the caller asks why_no_heights first"
    step = decimal(field.step)
    reference = planar(context.sources.image(surface.used_views[0]), frame_uid(context))
    made = _map(
        context,
        [reference],
        field.heights,
        _HEIGHTS,
        quantity=concepts.HEIGHT,
        unit=MM,
        explanation="Height above the skin without the lesion",
        measures=PixelMeasuresSequence([step, step], slice_thickness=step),
        # PS3.3 C.7.6.2.1.1: of the rows x grows, of the columns y falls; the first pixel is the one with the largest y.
        orientation=PlaneOrientationSequence("PATIENT", [1, 0, 0, 0, -1, 0]),
        position=[field.left, field.top, 0.0],
    )
    made.SOPInstanceUID = heights_uid(context)
    made.InstanceNumber = 1
    made.ReferencedSeriesSequence = referenced_series(context)
    for derivation in _derivations(made):
        derivation.SourceImageSequence = [_derived_from(context, uid) for uid in surface.used_views]
    return _finish(context, made, _HEIGHTS, "heights")


def encode_saliency(context: ResultContext) -> Iterator[tuple[HeatMaps, HeatMap, Dataset]]:
    """Each heat map as numbers from 0 to 1 over its view, in the view's own plane."""
    for instance, (number, found, heat_map) in enumerate(named_maps(context.case), start=1):
        source = context.sources.image(heat_map.sop_instance_uid)
        made = _saliency(context, source, found, heat_map)
        made.SOPInstanceUID = saliency_uid(context, number, heat_map.sop_instance_uid)
        made.InstanceNumber = instance
        yield found, heat_map, _finish(context, made, _SALIENCY, "saliency")


def _saliency(context: ResultContext, source: SourceImage, found: HeatMaps, heat_map: HeatMap) -> Dataset:
    view = source.view
    scale = min(1.0, LONGEST_PX / max(view.rows, view.columns))
    rows, columns = max(1, round(view.rows * scale)), max(1, round(view.columns * scale))
    between_rows, between_columns = source.spacing_mm or (1.0, 1.0)
    spacing = between_rows * view.rows / rows, between_columns * view.columns / columns
    # The centre of the first pixel, from the centre of the view's first.
    position = [(spacing[1] - between_columns) / 2, (spacing[0] - between_rows) / 2, 0.0]
    return _map(
        context,
        [planar(source)],
        overlay.heat_on(heat_map, (rows, columns), (view.rows, view.columns)),
        _SALIENCY,
        quantity=found.concept,
        unit=NO_UNITS,
        explanation=explains(found),
        measures=PixelMeasuresSequence([decimal(mm) for mm in spacing], slice_thickness=1),
        orientation=PlaneOrientationSequence("PATIENT", [1, 0, 0, 0, 1, 0]),
        position=position,
    )


def _map(
    context: ResultContext,
    sources: list[Dataset],
    values: NDArray[np.float32],
    series: str,
    *,
    quantity: Code,
    unit: Code,
    explanation: str,
    measures: PixelMeasuresSequence,
    orientation: PlaneOrientationSequence,
    position: list[float],
) -> Dataset:
    is_known = np.isfinite(values)
    lowest, highest = float(values[is_known].min()), float(values[is_known].max())
    repertoire = context.sources.repertoire
    label = "HEIGHTS" if series == _HEIGHTS else "SALIENCY"
    made: Dataset = ParametricMap(
        source_images=sources,
        pixel_array=np.where(is_known, values, _UNKNOWN)[None],
        series_instance_uid=context.series_uid(series),
        series_number=context.series_number(series),
        sop_instance_uid=context.uid("instance", KIND),
        instance_number=1,
        manufacturer=equipment.MANUFACTURER,
        manufacturer_model_name=equipment.MODEL,
        software_versions=equipment.software_version(),
        device_serial_number=equipment.SERIAL_NUMBER,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            RealWorldValueMapping(
                lut_label=label,
                lut_explanation=context.fit(explanation),
                unit=coded(unit, repertoire),
                value_range=(lowest, max(highest, lowest + 1e-6)),
                slope=1.0,
                intercept=0.0,
                quantity_definition=coded(quantity, repertoire),
            )
        ],
        voi_lut_transformations=[
            # LINEAR is for whole numbers: its window cannot be narrower than 1 (PS3.3 C.11.2.1.2.1).
            VOILUTTransformation((lowest + highest) / 2, max(highest - lowest, 1e-3), voi_lut_function="LINEAR_EXACT")
        ],
        content_description=context.fit(explanation),
        content_label=label,
        pixel_measures=measures,
        plane_orientation=orientation,
        plane_positions=[PlanePositionSequence("PATIENT", [decimal(mm) for mm in position])],
    )
    if not is_known.all():
        made.FloatPixelPaddingValue = float(_UNKNOWN)
    return made


def _derivations(made: Dataset) -> Iterator[Dataset]:
    for group in (*made.SharedFunctionalGroupsSequence, *made.PerFrameFunctionalGroupsSequence):
        yield from group.get("DerivationImageSequence", ())


def _derived_from(context: ResultContext, uid: str) -> Dataset:
    item = view_reference(context, uid)
    item.PurposeOfReferenceCodeSequence = [coded(concepts.SOURCE_OF_PROCESSING, context.sources.repertoire)]
    return item


def _finish(context: ResultContext, made: Dataset, series: str, what: str) -> Dataset:
    """What highdicom draws at random or has no place for, and the map's place in the study."""
    organization = context.uid("dimension organization", KIND, str(made.SOPInstanceUID))
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    context.sources.name(made)
    made.PatientOrientation = None
    # PS3.3 C.7.3.1: type 2C for what is paired, and it is not known here which side a code for a site means.
    side = context.case.series.laterality
    made.Laterality = side if side in ("L", "R") else None
    context.place(made, series, what)
    return made
