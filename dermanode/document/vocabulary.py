"""The words of findings that the catalogues translate: names of stages, measurements, classes, sites.

A plugin may use others: those stay English and are set off as such. Words of whole sentences stand where they are used.
"""

from __future__ import annotations


def marked(*words: str) -> tuple[str, ...]:
    """The words as they are: calls of this function are where the catalogues take them from."""
    return words


STAGES = dict(
    zip(
        ("preprocess", "segment", "reconstruct", "fuse", "classify", "explain", "progression", "risk", "encode"),
        marked(
            "Image preparation",
            "Segmentation",
            "Surface reconstruction",
            "Measurement",
            "Classification",
            "Explanation of the classification",
            "Comparison with earlier visits",
            "Risk assessment",
            "Making of the results",
        ),
        strict=True,
    )
)
"""By the name of the stage; a vendor's own stage goes by its name."""

STATUSES = dict(zip(("declined", "failed", "not served"), marked("declined", "failed", "not served"), strict=True))

LEVELS = dict(zip(("low", "moderate", "high"), marked("Low risk", "Moderate risk", "High risk"), strict=True))

SIDES = dict(zip("LRBU", marked("Left", "Right", "Both sides", "Unpaired"), strict=True))
"""By Laterality (0020,0060), Image Laterality (0020,0062) and Frame Laterality."""

SEXES = dict(zip("MFO", marked("Male", "Female", "Other"), strict=True))
"""By Patient's Sex (0010,0040)."""

CLASSES = marked(
    "Benign",
    "Suspicious",
    "Malignant",
    "Actinic keratosis",
    "Actinic keratosis or intraepithelial carcinoma",
    "Basal cell carcinoma of skin",
    "Benign keratosis",
    "Dermatofibroma",
    "Malignant melanoma of skin",
    "Melanocytic nevus",
    "Squamous cell carcinoma of skin",
    "Vascular lesion of skin",
)

DERIVATIONS = marked("Maximum", "Mean", "Median")

MEASUREMENTS = marked(
    "Area",
    "Perimeter",
    "Long axis",
    "Short axis",
    "Height",
    "Volume of Mesh",
    "Surface Area of Mesh",
    "Asymmetry of shape",
    "Border irregularity",
    "Colour variance",
    "Eccentricity",
    "Compactness",
    "ABCD rule: asymmetry score",
    "ABCD rule: border score",
    "ABCD rule: colour score",
    "ABCD rule: differential structures score",
    "ABCD rule: weighted sum of A, B and C",
    "ABCD rule: total dermoscopy score",
    "Change of the total dermoscopy score",
    "Mean absolute curvature",
    "Maximum mean curvature",
    "Share of the bounding box",
    "Surface over footprint",
    "Relative relief",
    "Tilt of the cameras against the skin",
    "Reprojection error of the tracked points",
    "Confidence of the surface",
    "Number of views that the surface was made of",
    "Change of area, registered",
    "Overlap of outlines",
    "Mean displacement of the border",
    "Largest displacement of the border",
    "Change of colour",
    "Change of colour of the skin around",
)

CHANGES = marked(
    "Change of volume since the last visit",
    "Change of area since the last visit",
    "Change of maximum height since the last visit",
    "Change of long axis since the last visit",
    "Change of short axis since the last visit",
    "Change of maximum mean curvature since the last visit",
    "Change of mean absolute curvature since the last visit",
    "Change of asymmetry of shape since the last visit",
    "Change of border irregularity since the last visit",
    "Change of total dermoscopy score since the last visit",
    "Change of weighted sum of a, b and c since the last visit",
    "Change of probability of malignant or suspicious since the last visit",
    "Change of volume since the first visit",
    "Change of area since the first visit",
    "Change of maximum height since the first visit",
    "Change of long axis since the first visit",
    "Change of short axis since the first visit",
    "Change of maximum mean curvature since the first visit",
    "Change of mean absolute curvature since the first visit",
    "Change of asymmetry of shape since the first visit",
    "Change of border irregularity since the first visit",
    "Change of total dermoscopy score since the first visit",
    "Change of weighted sum of a, b and c since the first visit",
    "Change of probability of malignant or suspicious since the first visit",
    "Growth of volume in 30 days, as a share of the first visit's",
    "Growth of area in 30 days, as a share of the first visit's",
    "Growth of maximum height in 30 days, as a share of the first visit's",
)

CHART_WORDS = marked(
    "Volume",
    "Height",
    "Curvature",
    "Class probabilities",
    "Risk",
    "Largest mean curvature",
    "Probability of malignant",
    "Probability of suspicious",
)
"""Titles and names of `chart` and `visits`."""

RISK_PARTS = marked("probability", "growth", "curvature", "asymmetry", "ABCD change")

RECOMMENDATIONS = marked(
    "The software's score is low, which excludes nothing. Routine skin checks as the physician advises.",
    "Review by a dermatologist; consider dermoscopic follow-up within three months.",
    "Prompt review by a dermatologist; consider biopsy or excision.",
)
"""Those of the risk stage's default settings; a hospital's own stay as they are written."""

RESEARCH = marked("Research software, not a cleared medical device: not for diagnosis without a physician's review.")

KEYS = {
    "volume_mm3": "Volume of Mesh",
    "surface_mm2": "Surface Area of Mesh",
    "max_height_mm": "Height",
    "mean_height_mm": "Height",
    "footprint_mm2": "Area",
    "mean_curvature_per_mm": "Mean absolute curvature",
    "max_curvature_per_mm": "Maximum mean curvature",
    "box_share": "Share of the bounding box",
    "surface_ratio": "Surface over footprint",
    "area_mm2": "Area",
    "long_axis_mm": "Long axis",
    "short_axis_mm": "Short axis",
    "perimeter_mm": "Perimeter",
    "asymmetry": "Asymmetry of shape",
    "border_irregularity": "Border irregularity",
    "colour_variance": "Colour variance",
    "eccentricity": "Eccentricity",
    "compactness": "Compactness",
    "abcd_a": "ABCD rule: asymmetry score",
    "abcd_b": "ABCD rule: border score",
    "abcd_c": "ABCD rule: colour score",
    "abcd_d": "ABCD rule: differential structures score",
    "abc_partial_score": "ABCD rule: weighted sum of A, B and C",
    "total_dermoscopy_score": "ABCD rule: total dermoscopy score",
    "abcd_change": "Change of the total dermoscopy score",
}
"""What measurements that could not be made would be called, by their keys."""

KEY_DERIVATIONS = {"max_height_mm": "Maximum", "mean_height_mm": "Mean"}

SITES = marked(
    "Skin",
    "Skin of abdomen",
    "Skin of ankle",
    "Skin of axilla",
    "Skin of back",
    "Skin of breast",
    "Skin of buttock",
    "Skin of cheek",
    "Skin of chest",
    "Skin of chin",
    "Skin of ear",
    "Skin of elbow",
    "Skin of eyebrow",
    "Skin of face",
    "Skin of foot",
    "Skin of forearm",
    "Skin of forehead",
    "Skin of hand",
    "Skin of head",
    "Skin of heel",
    "Skin of hip",
    "Skin of knee",
    "Skin of lip",
    "Skin of lower back",
    "Skin of lower extremity",
    "Skin of lower leg",
    "Skin of neck",
    "Skin of nose",
    "Skin of palm of hand",
    "Skin of scalp",
    "Skin of shoulder",
    "Skin of sole of foot",
    "Skin of thigh",
    "Skin of toe",
    "Skin of trunk",
    "Skin of upper arm",
    "Skin of upper extremity",
    "Skin of wrist",
)
"""The usual ones of CID 4029; others stay as the device wrote them."""
