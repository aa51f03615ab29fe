"""The settings: frozen, checked, read once at the start."""

from dermanode.config.destinations import (
    Centre,
    Destination,
    DicomwebDestination,
    DimseDestination,
    FhirDestination,
    FolderDestination,
    MllpDestination,
    Oauth,
    ObjectKind,
    Referral,
    Retry,
)
from dermanode.config.load import load_pipelines, load_settings
from dermanode.config.pipelines import Match, Outputs, Pipeline, Views
from dermanode.config.profiles import Profile
from dermanode.config.settings import Complete, Engine, LedgerSettings, Node, Settings, Web
from dermanode.config.tls import ClientTls, ServerTls
from dermanode.config.ways_in import (
    Allow,
    AnySource,
    DicomwebSource,
    Hl7Listener,
    OrthancWatch,
    Priors,
    Receive,
    Source,
    WatchedFolder,
    Worklist,
)

__all__ = [
    "Allow",
    "AnySource",
    "Centre",
    "ClientTls",
    "Complete",
    "Destination",
    "DicomwebDestination",
    "DicomwebSource",
    "DimseDestination",
    "Engine",
    "FhirDestination",
    "FolderDestination",
    "Hl7Listener",
    "LedgerSettings",
    "Match",
    "MllpDestination",
    "Node",
    "Oauth",
    "ObjectKind",
    "OrthancWatch",
    "Outputs",
    "Pipeline",
    "Priors",
    "Profile",
    "Receive",
    "Referral",
    "Retry",
    "ServerTls",
    "Settings",
    "Source",
    "Views",
    "WatchedFolder",
    "Web",
    "Worklist",
    "load_pipelines",
    "load_settings",
]
