"""A plugin's settings: the mapping of the pipeline's file, parsed once into a frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from dermanode.errors import ConfigurationError


class PluginSettings(BaseModel):
    """What a plugin may be told in the pipeline's file; a subclass has one documented field for each setting.

    A key that the subclass does not know is an error, so that a misspelt setting never passes for the default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def of(cls, plugin: str, settings: Mapping[str, Any]) -> Self:
        """The settings of `plugin`. Raises `ConfigurationError`, which names each wrong key and the keys there are."""
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as wrong:
            problems = [f"{'.'.join(str(part) for part in e['loc']) or 'settings'}: {e['msg']}" for e in wrong.errors()]
        raise ConfigurationError(
            f"The settings of {plugin} cannot be used: {'; '.join(problems)}.",
            cure=f"Known settings: {', '.join(cls.model_fields)}.",
        )
