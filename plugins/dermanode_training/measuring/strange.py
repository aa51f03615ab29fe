"""What the stages say of pictures that show no lesion, and how many of them are flagged or declined."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dermanode.domain.series import RGB
from dermanode_training.fitting.classification import OUTPUTS
from dermanode_training.measuring.examination import Examination
from dermanode_training.measuring.tables import table


@dataclass(frozen=True)
class Verdict:
    """One strange picture."""

    name: str
    found_share: float
    """Of the frame that the segmenter took for lesion; 0 where it found none."""
    diagnosis: str
    """The most probable output and its probability; empty where the classifier said nothing."""
    strangeness: float | None
    is_flagged: bool
    declined: tuple[str, ...]

    @property
    def is_recognised(self) -> bool:
        """No diagnosis reaches the reader without a warning."""
        return self.is_flagged or not self.diagnosis


def verdicts(pictures: Iterable[tuple[str, RGB]], models: Path) -> list[Verdict]:
    """Each picture through the plugins, as a case of one view. Raises `BundleError`."""
    examination = Examination(models)
    found = []
    for name, pixels in pictures:
        said = examination.of(pixels, name, strangeness=True)
        top = None if said.chances is None else int(said.chances.argmax())
        found.append(
            Verdict(
                name=name,
                found_share=round(float(said.mask.mean()), 3),
                diagnosis="" if top is None or said.chances is None else f"{OUTPUTS[top]} {said.chances[top]:.2f}",
                strangeness=round(said.strangeness, 2) if said.strangeness == said.strangeness else None,
                is_flagged=said.chances is not None and not said.is_in_domain,
                declined=said.declined,
            )
        )
    return found


def markdown(found: Sequence[Verdict], command: str) -> str:
    """A sentence and a table; ends with a line break."""
    count = sum(one.is_recognised for one in found)
    rows = [
        (
            one.name,
            f"{one.found_share:.0%}" if one.found_share else "nothing",
            one.diagnosis or "–",
            "–" if one.strangeness is None else f"{one.strangeness:.1f}",
            "declined" if not one.diagnosis else "flagged" if one.is_flagged else "**passed**",
            one.declined[0] if one.declined else "–",
        )
        for one in found
    ]
    head = ("picture", "segmented", "most probable", "strangeness", "the reader is told", "declined")
    lines = [
        f"# Pictures of other things: {count} of {len(found)} flagged or declined",
        "",
        f"Made by `{command}`: drawn by `dermanode_training.measuring.strange_pictures`, and scikit-image's samples where it is installed,",
        "each through preprocess, segment and classify. No clinical (not dermoscopic) photograph of skin is among them.",
        "",
        *table(head, rows),
    ]
    return "\n".join(lines).rstrip() + "\n"


def as_json(found: Sequence[Verdict]) -> str:
    told = {
        "pictures": len(found),
        "recognised": sum(one.is_recognised for one in found),
        "flagged": sum(one.is_flagged for one in found),
        "verdicts": [asdict(one) for one in found],
    }
    return json.dumps(told, indent=1) + "\n"
