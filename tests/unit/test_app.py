"""How the parts of the node are wired together."""

from __future__ import annotations

from pathlib import Path

from dermanode.config import Settings
from dermanode.testing.node import started


def test_what_is_still_being_sent_counts_by_whichever_road_it_comes(tmp_path: Path) -> None:
    content = {
        "node": {"data_dir": str(tmp_path)},
        "receive": {"port": 0, "minimum_free_mib": 0},
        "web": {"port": 0},
        "engine": {"kind": "inline"},
    }
    with started(Settings.model_validate(content), (), tmp_path) as node:
        assert node._open_associations() == frozenset()
        upload = node._stow.begin(b"boundary", user="", address="127.0.0.1", study=None)
        try:
            assert node._open_associations() == {upload.caller.association}
        finally:
            upload.abandon()
        assert node._open_associations() == frozenset()
