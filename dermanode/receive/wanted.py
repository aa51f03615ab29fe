"""Which series may be of use: what is fetched of all that a source has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dermanode.config import Pipeline


class WantedModalities:
    """The modalities that some pipeline asks for. A pipeline without any may want every modality; then all are wanted."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        asked = [pipeline.match.modalities for pipeline in pipelines]
        self._names = frozenset(name for names in asked for name in names) if all(asked) else None

    def has(self, modality: str) -> bool:
        """Also where it is not stated: what came is judged by the pipelines then."""
        return self._names is None or not modality or modality in self._names

    def has_any(self, modalities: Iterable[str]) -> bool:
        """Whether a study of these modalities may hold a wanted series; also where none is stated."""
        stated = [modality for modality in modalities if modality]
        return not stated or any(self.has(modality) for modality in stated)
