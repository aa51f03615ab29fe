"""Which files of a watched folder were taken and left where they are, through restarts."""

from __future__ import annotations

import json
from pathlib import Path

from dermanode.receive.folder.look import FoundFile, Signature


class KeptFiles:
    """A list in the data folder. A line that is lost at a crash costs a second reading, whose object is counted as a duplicate."""

    def __init__(self, place: Path, root: Path) -> None:
        """Forgets what has gone from `root`."""
        self._place = place
        self._known: dict[str, Signature] = {}
        try:
            lines = place.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                name, *signature = json.loads(line)
                size_bytes, changed_ns = (int(number) for number in signature)
            except (ValueError, TypeError):  # cut off by a crash
                continue
            if (root / name).exists():
                self._known[name] = (size_bytes, changed_ns)
        scratch = place.with_name(f"{place.name}.new")
        scratch.write_text("".join(f"{_line(name, signature)}\n" for name, signature in self._known.items()), encoding="utf-8")
        scratch.replace(place)

    def __contains__(self, file: FoundFile) -> bool:
        return self._known.get(str(file.name)) == file.signature

    def add(self, file: FoundFile) -> None:
        """Raises OSError."""
        self._known[str(file.name)] = file.signature
        with self._place.open("a", encoding="utf-8") as lines:
            lines.write(f"{_line(str(file.name), file.signature)}\n")


def _line(name: str, signature: Signature) -> str:
    return json.dumps([name, *signature])
