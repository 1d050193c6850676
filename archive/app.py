"""The archiver: /metrics for Prometheus, /healthz for whoever runs it."""

import asyncio
import signal
import socket

import orjson
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archive.archiver import Archiver
from archive.metrics import REGISTRY
from archive.settings import ArchiveSettings
from broker.addresses import Names
from broker.archiving import ArchiveWriter
from broker.connection import check_server, connect, patiently
from broker.duties import Duties, exit_codes
from broker.errors import SettingsError
from broker.listening import Server, listen
from broker.logs import log_to_stderr
from broker.settings import load_settings


def main() -> None:
    """Run the archiver until SIGTERM; a mistake of the person who started it is one line and exit code 2."""
    log_to_stderr("archive")
    signal.signal(signal.SIGTERM, Duties().leave)  # while it starts, as the gateway
    with exit_codes("archive"):
        settings = load_settings(ArchiveSettings)
        asyncio.run(serve(settings, opened(settings)))


def opened(settings: ArchiveSettings) -> ArchiveWriter:
    """Return the archive, ready to be written.

    Raises:
        SettingsError: none is set, texts are not kept, or the place cannot be used.

    """
    if settings.archive is None:
        raise SettingsError("there is no archive; set OBSERVA_ARCHIVE to a folder or a URL such as s3://BUCKET/FOLDER")
    settings.need_texts("the archive")
    archive = ArchiveWriter(settings.archive, settings.store_timeout_s)
    try:
        archive.prepare()
    except OSError as error:
        raise SettingsError(
            f"OBSERVA_ARCHIVE={settings.archive}: {error.strerror or error}; choose a folder that we may write to"
        ) from error
    return archive


async def serve(settings: ArchiveSettings, archive: ArchiveWriter) -> None:
    """Archive and answer until told to stop.

    Raises:
        ObservaError: what only a person can put right.

    """
    listener = listen(settings.archive_host, settings.archive_port, "OBSERVA_ARCHIVE")
    redis = connect(settings, "archive")
    stop = asyncio.Event()
    try:
        await patiently(lambda: check_server(redis, settings), settings)
        names = settings.names(settings.archive_host)
        await _serve(Archiver(redis, settings, archive), listener, names, stop)
    finally:
        await _close(listener, redis)


async def _serve(archiver: Archiver, listener: socket.socket, names: Names, stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = Server(application(archiver), names)
    archiver.duties.guard()
    answering = archiver.duties.begin(server.serve(sockets=[listener]))
    try:
        await archiver.run(stop)
    finally:
        server.should_exit = True
        await asyncio.wait({answering})
        await archiver.duties.stop()
    archiver.duties.check()


def application(archiver: Archiver) -> Starlette:
    """Return the HTTP side of *archiver*."""

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def livez(_: Request) -> Response:
        stuck = archiver.duties.stuck()
        body = {"status": "stuck" if stuck else "ok", "stuck": stuck}
        return Response(orjson.dumps(body), 503 if stuck else 200, media_type="application/json")

    async def healthz(_: Request) -> Response:
        waiting = archiver.waiting()
        body = {"status": "waiting" if waiting else "ok", "detail": _said(waiting), "waiting": waiting}
        return Response(orjson.dumps(body), 503 if waiting else 200, media_type="application/json")

    return Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/livez", livez)])


def _said(waiting: dict[str, str]) -> str:
    reasons = ", ".join(sorted(set(waiting.values())))
    return f"the archive waits ({reasons}); nothing is lost while the log is kept" if waiting else "archiving"


async def _close(listener: socket.socket, redis: Redis) -> None:
    listener.close()
    await redis.aclose()
    await redis.connection_pool.disconnect()
