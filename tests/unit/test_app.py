"""How the parts of the node are wired together."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dermanode.app import Node
from dermanode.config import Settings
from dermanode.errors import ConfigurationError
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


def test_node_that_cannot_be_made_leaves_its_data_folder_to_the_next(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        content = {"node": {"data_dir": str(tmp_path / "data")}, "receive": {"port": 0}, "engine": {"kind": "inline"}}
        content["web"] = {"port": taken.getsockname()[1]}
        with pytest.raises(ConfigurationError, match="The page cannot listen"):
            Node(Settings.model_validate(content), (), tmp_path)
    with started(Settings.model_validate({**content, "web": {"port": 0}}), (), tmp_path) as node:
        assert node.page


def test_data_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings.model_validate({"node": {"data_dir": str(tmp_path / "file" / "data")}})
    with pytest.raises(ConfigurationError, match=r"data cannot be used: Not a directory\. Give the node's user"):
        Node(settings, (), tmp_path)
