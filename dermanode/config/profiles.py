"""A destination profile: which results a kind of PACS or viewer can use, and in which form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import Field

from dermanode.config.destinations import Destination, DicomwebDestination, DimseDestination, FolderDestination, ObjectKind
from dermanode.config.pipelines import Pipeline
from dermanode.config.section import Section

_ADDED_BY_OTHERS = frozenset({"OTHER", "HL7", "FHIR"})
"""What `send` may name and nobody encodes on request."""


class Profile(Section):
    """What a kind of PACS or viewer gets of a case."""

    name: str = Field(..., pattern=r"^[a-z0-9][a-z0-9-]*$", description="Lower case, digits and '-'.")
    summary: str = Field("", description="One sentence for people: whom it is for.")
    send: tuple[ObjectKind, ...] = Field(
        ..., min_length=1, description="The kinds of objects that it gets. The pipelines that deliver to it make them."
    )

    def given_to(self, destination: Destination) -> Destination:
        """The destination with what the profile sends, unless it names the kinds itself."""
        if "send" in destination.model_fields_set:
            return destination
        return destination.model_copy(update={"send": self.send})


def profile_of(destination: Destination) -> str | None:
    """The name of its profile; None where it names none, or gets messages."""
    return destination.profile if isinstance(destination, DimseDestination | DicomwebDestination | FolderDestination) else None


def with_wanted(pipeline: Pipeline, destinations: Mapping[str, Destination]) -> Pipeline:
    """The pipeline, making also what the profiles of its destinations want and its own file does not name."""
    wanted = (kind for name in pipeline.deliver for kind in _wanted(destinations[name]))
    kinds = tuple(dict.fromkeys((*pipeline.outputs.kinds, *wanted)))
    return pipeline.model_copy(update={"outputs": pipeline.outputs.model_copy(update={"kinds": kinds})})


def _wanted(destination: Destination) -> Iterable[str]:
    if profile_of(destination) is None or not isinstance(destination, DimseDestination | DicomwebDestination | FolderDestination):
        return ()
    return (kind for kind in destination.send if kind not in _ADDED_BY_OTHERS)
