"""The console's application: Gradio inside FastAPI, so that what is put in front of it is ordinary middleware."""

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from starlette.responses import JSONResponse, PlainTextResponse, Response

from broker.duties import Duties
from broker.errors import ObservaError
from broker.listening import http_options, listen, protocol_for
from broker.logs import log_to_stderr
from broker.settings import load_settings
from console.calls import Calls
from console.downloads import Downloads
from console.guard import Guard
from console.login import with_login
from console.settings import ConsoleSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

MOST_UPLOAD = "5mb"
MOST_CONNECTIONS = 1024  # each open page holds some

log = logging.getLogger(__name__)


def create_app(settings: ConsoleSettings) -> "ASGIApp":
    """Return the application.

    Raises:
        SettingsError: a secret cannot be read.

    """
    import gradio  # noqa: PLC0415 - it reads the environment when it is imported

    from console import page  # noqa: PLC0415 - the same

    downloads = Downloads()
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/results/{name}.csv")
    async def results(name: str) -> Response:
        content = downloads.find(name)
        if content is None:
            return PlainTextResponse("These results are no longer kept; classify the file again.", 404)
        headers = {"Content-Disposition": 'attachment; filename="observa-results.csv"', "Cache-Control": "no-store"}
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    gradio.mount_gradio_app(
        app,
        page.build_page(Calls(settings), downloads),
        path="/",
        root_path=settings.prefix or None,
        server_name=settings.console_host,
        server_port=settings.console_port,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        max_file_size=MOST_UPLOAD,
        theme=page.theme(),
        css_paths=page.CSS,
    )
    return Guard(with_login(app, settings), settings)


def main() -> None:
    """Run the console until a signal; a mistake of the person who started it is one line and exit code 2."""
    log_to_stderr("console")
    signal.signal(signal.SIGTERM, Duties().leave)  # while it starts, as the gateway; uvicorn repeats it at the end
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SHARE": "False", "HF_HUB_OFFLINE": "1"}
    try:
        settings = load_settings(ConsoleSettings)
        settings.key()
        settings.key(admin=True)
        settings.oidc_secret()
        listener = listen(settings.console_host, settings.console_port, "OBSERVA_CONSOLE")
        app = create_app(settings)
    except ObservaError as error:
        print(f"observa console: {error}", file=sys.stderr)  # noqa: T201 - for a person
        sys.exit(2)
    log.info("listening on %s port %d", settings.console_host, settings.console_port)
    protocol = protocol_for(None, settings.prefix)  # the guard knows the names
    config = uvicorn.Config(
        app, timeout_graceful_shutdown=2, **http_options(protocol, most_connections=MOST_CONNECTIONS)
    )
    uvicorn.Server(config).run(sockets=[listener])
