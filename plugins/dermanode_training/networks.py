"""A bundle's network without weights, as its `configs/inference.json` describes it."""

from __future__ import annotations

from pathlib import Path

import torch
from monai.bundle import ConfigParser


def new_network(bundle: Path) -> torch.nn.Module:
    """Freshly initialised from torch's seed; the bundle needs no weights yet."""
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    network: torch.nn.Module = parser.get_parsed_content("network_def")
    return network
