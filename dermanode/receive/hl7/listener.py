"""The MLLP listener: connections by asyncio in a thread of its own, messages done by a few more."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import structlog

from dermanode.config.ways_in import Hl7Listener
from dermanode.errors import ConfigurationError, LedgerError, LedgerUnavailable
from dermanode.ledger.messages import Messages
from dermanode.receive.access import is_welcome
from dermanode.receive.hl7.framing import Frames, MessageTooLong, framed
from dermanode.receive.hl7.reception import Reception

log = structlog.get_logger(__name__)

FRAME_TIMEOUT_S = 30.0
"""Half a frame that goes on no longer for so long is given up: its sender has gone."""
STOP_S = 5.0
_LOOK_S = 0.05
CLOSE_S = 1.0
KEPT_FOR = timedelta(days=30)
"""How long a control id is remembered: some senders count to a few digits and begin anew."""
_FORGET_EVERY_S = 3600.0
_WORKERS = 4
_PIECE_BYTES = 65536


class Hl7Server:
    """Listens, does the messages of each connection in their order, and answers when they are on disk."""

    def __init__(self, settings: Hl7Listener, messages: Messages, clock: Callable[[], datetime]) -> None:
        self._settings, self._messages, self._clock = settings, messages, clock
        self._reception = Reception(messages, settings, clock)
        self._frame_timeout_s = min(settings.timeout_s, FRAME_TIMEOUT_S)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="hl7-listener", daemon=True)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="hl7")
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._port = settings.port

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self._port

    def start(self) -> None:
        """Raises `ConfigurationError` when the address or the certificates cannot be used."""
        context = self._settings.tls.context() if self._settings.tls is not None else None
        self._thread.start()
        host, port = self._settings.host, self._settings.port

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._connected, host, port, ssl=context, limit=_PIECE_BYTES)

        try:
            self._server = asyncio.run_coroutine_threadsafe(listen(), self._loop).result()
        except OSError as error:
            self.stop()
            raise ConfigurationError(
                f"cannot listen for HL7 on {host} port {port}: {error.strerror}",
                cure="Stop the program that uses the port, or set another `hl7.port`."
                if error.errno == errno.EADDRINUSE
                else "Check `hl7.host` and `hl7.port`.",
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]
        self._loop.call_soon_threadsafe(self._forget)
        log.info("listening_for_hl7", host=host, port=self._port, is_tls=context is not None)

    def stop(self) -> None:
        """Closes the connections. What is being done is done, and answered when it comes again."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._workers.shutdown()
        if not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        own, ended = asyncio.current_task(), set[asyncio.Task[Any]]()
        until = self._loop.time() + STOP_S
        # Not only those in service: one that was accepted a moment ago has not begun, one that was refused is being closed.
        while others := asyncio.all_tasks() - {own}:
            is_late = self._loop.time() >= until
            for task in (others if is_late else self._open) - ended:
                task.cancel()
                ended.add(task)
            await asyncio.wait(others, timeout=_LOOK_S)
            if is_late:
                break
        await asyncio.sleep(0)  # transports are gone one turn after they were closed

    def _forget(self) -> None:
        """Drops messages that are long done, now and every hour."""

        def forget() -> None:
            try:
                self._messages.forget(self._clock() - KEPT_FOR)
            except LedgerError as error:
                log.warning("hl7_messages_not_forgotten", error=str(error))

        self._loop.run_in_executor(self._workers, forget)
        self._loop.call_later(_FORGET_EVERY_S, self._forget)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        if peer is None:  # gone before it was greeted
            writer.transport.abort()
            return
        address = str(peer[0])
        task = asyncio.current_task()
        assert task is not None
        try:
            if not is_welcome(address, self._settings.allow):
                log.warning("hl7_connection_refused", address=address, cure="Add its network to `hl7.allow`.")
            elif len(self._open) >= self._settings.maximum_connections:
                log.warning("hl7_connection_refused", address=address, reason="too many connections are open")
            else:
                self._open.add(task)
                await self._serve(reader, writer, address)
        except (TimeoutError, OSError, asyncio.CancelledError) as error:
            log.debug("hl7_connection_ended", address=address, reason=type(error).__name__)
        finally:
            await _closed(writer)
            self._open.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        frames = Frames(int(self._settings.maximum_message_mib * 2**20))
        while received := await asyncio.wait_for(reader.read(_PIECE_BYTES), self._patience_s(frames)):
            dropped = frames.dropped_bytes
            try:
                for content in frames.feed(received):
                    if not await self._answer(content, writer):
                        return
            except MessageTooLong as error:
                await self._send(self._reception.too_long(error.beginning), writer)
                return
            if frames.dropped_bytes > dropped:
                log.warning("hl7_bytes_dropped", address=address, size_bytes=frames.dropped_bytes - dropped)

    def _patience_s(self, frames: Frames) -> float:
        return self._frame_timeout_s if frames.is_inside else self._settings.timeout_s

    async def _answer(self, content: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on. Without the ledger nothing is answered: every sender takes that for 'try again'.

        A message that the ledger refuses is answered: it would come again for ever, and hold up all that stand behind it.
        """
        try:
            answers = await self._loop.run_in_executor(self._workers, self._reception.answer, content)
        except LedgerUnavailable as error:
            log.error(
                "hl7_message_not_recorded", error=str(error), cure="The connection is closed without an answer: the sender comes again."
            )
            return False
        except Exception as error:  # the wall of a handler: the message is another program's
            log.error("hl7_message_not_done", error=type(error).__name__)
            log.debug("hl7_traceback", exc_info=error)
            answers = self._reception.failed(content)
        await self._send(answers, writer)
        return True

    async def _send(self, answers: list[bytes], writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            writer.write(framed(answer))
        await asyncio.wait_for(writer.drain(), self._frame_timeout_s)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Closes a connection, without its leave where a peer over TLS does not answer the goodbye."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), CLOSE_S)
    except (OSError, TimeoutError):
        writer.transport.abort()
