"""Sidecars: a JSON file beside a photograph, or a table with a row for each photograph of a folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import PurePath

from dermanode.receive.folder.statements import FIELDS, NotUnderstood, Statement, Statements

MOST_BYTES = 16 << 20
_NAME_COLUMNS = ("file", "filename", "file_name", "photograph", "photo", "image")
_DELIMITERS = ";,\t"


def read_json(data: bytes, name: PurePath) -> Statements:
    """What `NAME.json` says: an object with fields. Raises `NotUnderstood`."""
    try:
        content = json.loads(_text(data, name))
    except json.JSONDecodeError as error:
        raise NotUnderstood(f"{name} line {error.lineno} is no JSON: {error.msg}. Write an object such as {{}}.") from error
    except RecursionError as error:
        raise NotUnderstood(f"{name} is nested too deeply. Write one object with fields.") from error
    if not isinstance(content, dict):
        raise NotUnderstood(f"{name} holds no object: write fields in braces, such as {_EXAMPLE}.")
    unknown = [key for key in content if key not in FIELDS]
    if unknown:
        raise NotUnderstood(f"{name} has the field {unknown[0]!r}: known are {', '.join(FIELDS)}.")
    for key, value in content.items():
        if not isinstance(value, str | int | float | None):
            raise NotUnderstood(f"{name}: {key} is no text or number.")
    words = {True: "yes", False: "no"}
    said = {key: words[value] if isinstance(value, bool) else str(value) for key, value in content.items() if value is not None}
    return {key: Statement(value, str(name)) for key, value in said.items()}


_EXAMPLE = '{"patient_id": "4711", "lesion": "L1"}'


def read_table(data: bytes, name: PurePath) -> Mapping[str, Statements | NotUnderstood]:
    """What a table says about each photograph, by its file's name in lower case.

    Commas, semicolons or tabs; UTF-8 with or without a mark, UTF-16 with one, else Windows' Latin-1. A photograph with two rows is
    not understood. Raises `NotUnderstood` for a table without the columns that it must have.
    """
    lines = csv.reader(io.StringIO(text := _text(data, name), newline=""), delimiter=_delimiter(text), strict=True)
    rows: dict[str, Statements | NotUnderstood] = {}
    try:
        header = [column.strip().casefold().replace(" ", "_") for column in next(lines, [])]
        at = next((header.index(column) for column in _NAME_COLUMNS if column in header), None)
        if at is None:
            raise NotUnderstood(f"{name} line 1 has no column `file`: it names the photograph of each row.")
        unknown = [column for number, column in enumerate(header) if number != at and column and column not in FIELDS]
        if unknown:
            raise NotUnderstood(f"{name} line 1 has the column {unknown[0]!r}: known are file, {', '.join(FIELDS)}.")
        if doubled := next((column for column in header if column and header.count(column) > 1), None):
            raise NotUnderstood(f"{name} line 1 has the column {doubled!r} twice.")
        for row in lines:
            where = f"{name} line {lines.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            photograph = PurePath(row[at].strip().replace("\\", "/")).name.casefold() if at < len(row) else ""
            if not photograph:
                raise NotUnderstood(f"{where} names no file.")
            if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
                rows[photograph] = NotUnderstood(f"{where} has {len(row)} values, its header {len(header)}: put quotes around {row[at]!r}.")
            elif photograph in rows:
                rows[photograph] = NotUnderstood(f"{where} names {row[at].strip()!r} a second time: leave one of its rows.")
            else:
                cells = zip(header, row, strict=False)
                rows[photograph] = {column: Statement(cell, where) for column, cell in cells if column in FIELDS and cell.strip()}
    except csv.Error as error:
        raise NotUnderstood(f"{name} line {lines.line_num} is no row of a table: {error}.") from error
    return rows


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return max(_DELIMITERS, key=first.count)


def _text(data: bytes, name: PurePath) -> str:
    if len(data) > MOST_BYTES:
        raise NotUnderstood(f"{name} is larger than {MOST_BYTES >> 20} MiB.")
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252", "latin-1")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise NotUnderstood(f"{name} is no text in UTF-8, UTF-16 or Latin-1. Save it as UTF-8.")
