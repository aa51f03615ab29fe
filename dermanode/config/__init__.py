"""The settings: frozen, checked, read once at the start."""

from dermanode.config.load import load_pipelines, load_settings
from dermanode.config.pipelines import Match, Outputs, Pipeline, Views
from dermanode.config.settings import (
    Allow,
    Complete,
    Destination,
    DimseDestination,
    Engine,
    FhirDestination,
    FolderDestination,
    LedgerSettings,
    MllpDestination,
    Node,
    OrthancWatch,
    Priors,
    Receive,
    Retry,
    Settings,
    Source,
    Web,
)

__all__ = [
    "Allow",
    "Complete",
    "Destination",
    "DimseDestination",
    "Engine",
    "FhirDestination",
    "FolderDestination",
    "LedgerSettings",
    "Match",
    "MllpDestination",
    "Node",
    "OrthancWatch",
    "Outputs",
    "Pipeline",
    "Priors",
    "Receive",
    "Retry",
    "Settings",
    "Source",
    "Views",
    "Web",
    "load_pipelines",
    "load_settings",
]
