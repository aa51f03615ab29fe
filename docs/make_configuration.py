"""Prints the configuration reference, made from the settings themselves.  python docs/make_configuration.py > docs/configuration.md"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dermanode.config import Pipeline, Profile, Settings
from dermanode.config.hl7_mapping import Hl7Mapping

_HEAD = """# Configuration reference

Made from the settings by `make docs`; do not edit. `dermanode config check` checks your files, and says file, line and cure.

The settings are one YAML file, `config/dermanode.yaml` unless `--config` or `$DERMANODE_CONFIG` names another. Every key has a default
unless it says *required*. Keys that do not exist are refused.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    parts = [
        *(_HEAD, "## Settings\n", *_section(Settings, "", {})),
        *("## Pipelines\n", _PIPELINES, *_section(Pipeline, "", {})),
        *("## Destination profiles\n", _PROFILES, *_section(Profile, "", {})),
        *("## HL7 mappings\n", _MAPPINGS, *_section(Hl7Mapping, "", {})),
    ]
    return "\n".join(parts).rstrip() + "\n"


_PIPELINES = """One file a pipeline, under `config/pipelines/`. Which plugin serves a stage is written here and nowhere else.
"""


_PROFILES = """One file a profile, under `config/profiles/`. A destination names one with `profile`.
"""


_MAPPINGS = """A file that a destination of type mllp names under `mapping`, relative to the settings; `config/hl7/example.yaml` is one.
"""


def _section(model: type[BaseModel], path: str, described: dict[type[BaseModel], str]) -> Iterator[str]:
    """A block of settings and those inside it. `described` says where each block was written out first: it is not repeated."""
    rows = []
    inner: list[tuple[type[BaseModel], str]] = []
    for name, field in model.model_fields.items():
        key = f"{path}{name}"
        models = list(_models(field.annotation))
        if models and not field.is_required() and len(models) == 1 and field.annotation is models[0]:
            inner.append((models[0], f"{key}."))
            continue
        rows.append(f"| `{key}` | {_type(field)} | {_default(field)} | {(field.description or '').replace('|', '/')} |")
        inner += [(one, f"{key}{_step(field.annotation)}") for one in models]
    if path:
        yield f"### `{path.rstrip('.')}`\n"
    if model.__doc__ and path:
        yield model.__doc__.strip().splitlines()[0] + "\n"
    if model in described:
        yield f"The same keys as `{described[model]}` above.\n"
        return
    described[model] = path.rstrip(".")
    if rows:
        yield "| key | type | default | what |\n| --- | --- | --- | --- |"
        yield "\n".join(rows) + "\n"
    for one, inner_path in inner:
        yield from _section(one, _variant(one, inner_path), described)


def _step(annotation: Any) -> str:
    """From a key to the keys inside: of each entry of a list, of each name of a mapping, or of the block itself."""
    if get_origin(annotation) is tuple:
        return "[]."
    return ".NAME." if get_origin(annotation) is dict else "."


def _variant(model: type[BaseModel], path: str) -> str:
    """Blocks of several kinds at one place are told apart by their `type`."""
    kind = model.model_fields.get("type")
    literals = get_args(kind.annotation) if kind else ()
    return f"{path.rstrip('.')}({literals[0]})." if len(literals) == 1 and isinstance(literals[0], str) else path


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _type(field: FieldInfo) -> str:
    return _name(field.annotation).replace("|", "or")


def _name(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _name(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(_name(a) for a in get_args(annotation)))
    if origin is tuple:
        return f"list of {_name(get_args(annotation)[0])}"
    if origin is dict:
        return f"mapping to {_name(get_args(annotation)[1])}"
    if origin is not None and origin.__name__ == "Literal" if hasattr(origin, "__name__") else str(origin) == "typing.Literal":
        return " | ".join(f"`{a}`" for a in get_args(annotation))
    names = {
        "str": "text",
        "int": "number",
        "float": "number",
        "bool": "true | false",
        "NoneType": "null",
        "UID": "UID",
        "AETitle": "AE title",
        "IPv4Network": "network",
        "IPv6Network": "network",
        "Any": "anything",
    }
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name.lower())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    default = field.get_default(call_default_factory=True)
    if default is None or default in ((), {}, ""):
        return {None: "null", (): "none", "": "empty"}.get(default, "none") if not isinstance(default, dict) else "none"
    if isinstance(default, tuple):
        return ", ".join(f"`{one}`" for one in default)
    if isinstance(default, BaseModel):
        return "see below"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    print(reference(), end="")
