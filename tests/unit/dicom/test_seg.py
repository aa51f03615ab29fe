from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from pydicom import Dataset

from dermanode.testing import worked_cases


def test_the_mask_comes_back_pixel_by_pixel(made: Any) -> None:
    for mask, seg in zip(made.case.segmentation.masks, made.datasets("SEG"), strict=True):
        np.testing.assert_array_equal(seg.pixel_array.astype(bool), mask.mask)


def test_highdicom_reads_it_as_a_segmentation_of_its_image(made: Any, tmp_path: Path) -> None:
    path = worked_cases.save(made.datasets("SEG")[0], tmp_path)
    seg = highdicom.seg.segread(path)
    view = made.case.series.views[0].sop_instance_uid
    pixels = seg.get_pixels_by_source_instance([view], ignore_spatial_locations=True)
    np.testing.assert_array_equal(pixels[0, :, :, 0].astype(bool), made.case.segmentation.masks[0].mask)


def test_spacing_is_the_sources(made: Any) -> None:
    measures = made.datasets("SEG")[0].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(mm) for mm in measures.PixelSpacing] == [0.05, 0.05]


def test_each_image_has_a_frame_of_reference_of_its_own_that_does_not_change(made: Any, make_objects: Any) -> None:
    frames = [seg.FrameOfReferenceUID for seg in made.datasets("SEG")]
    assert len(set(frames)) == 2
    assert frames == [seg.FrameOfReferenceUID for seg in make_objects(made.case).datasets("SEG")]


def test_the_segment_names_lesion_site_algorithm_and_tracking(made: Any) -> None:
    segment: Dataset = made.datasets("SEG")[0].SegmentSequence[0]
    assert segment.TrackingUID == made.case.series.tracking_uid
    assert segment.TrackingID == "Lesion 3"
    assert segment.AnatomicRegionSequence[0].CodeMeaning == "Skin of back"
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "example-segment"


def test_a_source_that_was_compressed_with_loss_makes_a_lossy_seg(tmp_path: Path, make_objects: Any) -> None:
    photograph = worked_cases.photograph(1)
    photograph.LossyImageCompression = "01"
    photograph.LossyImageCompressionRatio = "12.5"
    photograph.LossyImageCompressionMethod = "ISO_10918_1"
    seg = make_objects(worked_cases.worked([photograph], tmp_path)).datasets("SEG")[0]
    assert (seg.LossyImageCompression, float(seg.LossyImageCompressionRatio)) == ("01", 12.5)
