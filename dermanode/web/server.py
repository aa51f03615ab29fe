"""Serves the site from a thread of the node's process."""

from __future__ import annotations

import socket
import threading

import uvicorn
from fastapi import FastAPI

from dermanode.config import Web
from dermanode.errors import ConfigurationError


class WebServer:
    """A listening socket from the start, answers from `start()` to `stop()`. Raises `ConfigurationError` where the port is taken."""

    def __init__(self, site: FastAPI, settings: Web) -> None:
        self._socket = _listen(settings.host, settings.port)
        self.port: int = self._socket.getsockname()[1]
        self.address = f"http://{settings.host if settings.host != '0.0.0.0' else '127.0.0.1'}:{self.port}/"
        config = uvicorn.Config(site, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finishes open answers, for at most a few seconds."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # who asks before the thread answers waits, and is not refused
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"The page cannot listen on {host}:{port}: {error.strerror}.",
            cure="Stop the other program, or set another `web.port` (0 lets the system choose).",
        ) from error
    return listener
