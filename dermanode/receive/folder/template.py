"""The template of a file's name: what a path below the folder says about its photograph."""

from __future__ import annotations

import re
from pathlib import PurePath

from dermanode.errors import ConfigurationError
from dermanode.receive.folder.statements import FIELDS, Statement, Statements

_FIELD = re.compile(r"\{([^{}]*)\}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")


class NameTemplate:
    """`{patient_id}/{study}_{lesion}_{view}.jpg`, compared with the end of a path; `{}` is anything, the file's ending may be any."""

    def __init__(self, template: str, setting: str) -> None:
        """`setting` names it in errors. Raises `ConfigurationError`."""
        self._levels = template.count("/") + 1
        parts, names, end = list[str](), set[str](), 0
        template = _SUFFIX.sub("", template.strip("/"))
        for match in _FIELD.finditer(template):
            name = match[1]
            if name and (name not in FIELDS or name in names):
                known = ", ".join(FIELDS)
                raise ConfigurationError(
                    f"{setting} has {{{name}}}{' twice' if name in names else ''}.", cure=f"Use each of these at most once: {known}."
                )
            literal = template[end : match.start()]
            if names and not literal:
                raise ConfigurationError(
                    f"{setting} has {{{name}}} right behind another field.", cure="Put a character between them that no value has."
                )
            names.add(name or "{}")
            # Without the separator that follows, a value ends where the next literal text begins first.
            parts += [re.escape(literal), f"(?P<{name}>[^/]+?)" if name else "[^/]*?"]
            end = match.end()
        if not names - {"{}"}:
            raise ConfigurationError(f"{setting} names no field.", cure="Write for example {patient_id}/{lesion}_{view}.jpg.")
        self._pattern = re.compile("".join([*parts, re.escape(template[end:])]), re.DOTALL)

    def read(self, path: PurePath) -> Statements | None:
        """What a path, relative to the folder, says; None where it does not have the template's form."""
        text = "/".join(path.with_suffix("").parts[-self._levels :])
        match = self._pattern.fullmatch(text)
        return None if match is None else {name: Statement(value, f"the name of {path}") for name, value in match.groupdict().items()}
