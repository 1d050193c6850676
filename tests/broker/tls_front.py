"""TLS in front of a server that speaks none, as a server with TLS would do it: the tests need no other program."""

import asyncio
import ssl
import threading
from contextlib import suppress
from pathlib import Path


class TlsFront:
    """Listens with TLS on *port* and passes all bytes to the server on *behind*; runs in a thread until `close`.

    *files*: a folder with ``NAME.crt``, ``NAME.key`` and ``ca.crt``; *wants_certificate*: callers must show theirs.
    """

    def __init__(self, port: int, behind: int, files: Path, certificate: str, *, wants_certificate: bool) -> None:
        self._port, self._behind = port, behind
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files / "ca.crt"))
        self._context.load_cert_chain(files / f"{certificate}.crt", files / f"{certificate}.key")
        self._context.verify_mode = ssl.CERT_REQUIRED if wants_certificate else ssl.CERT_NONE
        self._loop = asyncio.new_event_loop()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._thread.start()
        assert self._listens.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join(10)
        self._loop.close()

    async def _run(self) -> None:
        self._closed = asyncio.Event()
        self._loop.set_exception_handler(lambda _loop, _context: None)  # a refused handshake is what a test wants
        server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=self._context)
        self._listens.set()
        await self._closed.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        await asyncio.gather(_pass(reader, behind_writer), _pass(behind_reader, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
