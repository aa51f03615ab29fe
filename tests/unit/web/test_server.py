from __future__ import annotations

import socket

import pytest
from fastapi import FastAPI

from dermanode.config import Web
from dermanode.errors import ConfigurationError
from dermanode.web.server import WebServer


def test_who_asks_before_the_thread_runs_is_not_refused() -> None:
    server = WebServer(FastAPI(), Web(port=0))
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as early:
        server.start()
        early.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert early.recv(64).startswith(b"HTTP/1.1 200")
    server.stop()


def test_a_taken_port_is_said_at_once() -> None:
    first = WebServer(FastAPI(), Web(port=0))
    with pytest.raises(ConfigurationError, match="cannot listen"):
        WebServer(FastAPI(), Web(port=first.port))
    first.stop()
