"""The sidecars that lie in a watched folder: which of them speaks of a photograph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from dermanode.config import WatchedFolder
from dermanode.receive.folder.look import FoundFile, Sight, Signature, read_whole
from dermanode.receive.folder.sidecar import read_json, read_table
from dermanode.receive.folder.statements import NotUnderstood, Statements

Table = Mapping[str, Statements | NotUnderstood]


class Sidecars:
    """Reads what the settings say is there; a table is read again only when it has changed."""

    def __init__(self, settings: WatchedFolder) -> None:
        self._kind = settings.sidecar
        self._tables: dict[PurePath, tuple[Signature, Table | NotUnderstood]] = {}
        self._files: dict[str, FoundFile] = {}

    def look(self, sight: Sight) -> None:
        """What lies there now."""
        self._files = {file.key: file for file in sight.settled if file.path.suffix.casefold() in (".json", ".csv")}

    def beside(self, photograph: FoundFile) -> FoundFile | None:
        """The JSON file that belongs to this photograph alone."""
        return self._files.get(photograph.name.with_suffix(".json").as_posix().casefold()) if self._kind == "json" else None

    def said_of(self, photograph: FoundFile) -> Statements | None:
        """What is said; None while nothing is. Raises `NotUnderstood`, which lasts until the sidecar is mended, and OSError."""
        if self._kind == "json":
            file = self.beside(photograph)
            data = read_whole(file) if file is not None else None
            return None if file is None or data is None else read_json(data, file.name)
        if self._kind == "csv":
            folder = photograph.name.parent
            rows = [row for file in self._files.values() if file.name.parent == folder and (row := self._row(file, photograph)) is not None]
            if len(rows) > 1:
                raise NotUnderstood(f"{photograph.name} stands in more than one table: leave one row.")
            return rows[0] if rows else None
        return None

    def _row(self, file: FoundFile, photograph: FoundFile) -> Statements | None:
        if file.path.suffix.casefold() != ".csv":
            return None
        row = self._table(file).get(photograph.name.name.casefold())
        if isinstance(row, NotUnderstood):
            raise row
        return row

    def _table(self, file: FoundFile) -> Table:
        signature, table = self._tables.get(file.name, (None, None))
        if signature != file.signature or table is None:
            data = read_whole(file)
            if data is None:
                return {}
            try:
                table = read_table(data, file.name)
            except NotUnderstood as error:
                table = error
            self._tables[file.name] = (file.signature, table)
        if isinstance(table, NotUnderstood):
            raise NotUnderstood(str(table))
        return table
