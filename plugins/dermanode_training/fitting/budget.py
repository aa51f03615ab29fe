"""How long a training may take, and how fast it learns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a run is and how it learns; the same for every task."""

    epochs: float = 80.0
    minutes: float = 120.0
    """The run ends with the epochs or with the minutes, whichever comes first; minutes spent before an interruption count."""
    sides_px: tuple[int, ...] = (128,)
    """The pictures' sizes, one after the other, each for an equal share of the run."""
    batch: int = 32
    peak_rate: float = 2e-3
    weight_decay: float = 0.05
    averaging: float = 0.998
    cleaned_share: float = 0.85
    seed: int = 20261121
    validations: int = 12

    def side_px(self, done: float) -> int:
        """The size at that share of the run."""
        return self.sides_px[min(int(done * len(self.sides_px)), len(self.sides_px) - 1)]
