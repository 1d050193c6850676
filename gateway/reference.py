"""The API's reference page, with its script and style from a Python package: no other host is asked."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway import documentation
from gateway.path_prefix import as_seen
from gateway.problems import Problem
from gateway.routing import DirectRoute

ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}

router = APIRouter(route_class=DirectRoute, include_in_schema=False)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The document of this API, with the path under which the caller sees it."""
    document = request.app.openapi()
    documentation.as_sent(document)
    return JSONResponse(document | {"servers": [{"url": as_seen("") or "/"}]})


@router.get("/docs")
async def docs(_request: Request) -> Response:
    """Swagger UI for this API."""
    page, policy = _page()
    return Response(page, headers={"Content-Security-Policy": policy}, media_type="text/html")


@router.get("/docs/{asset}")
async def docs_asset(_request: Request, asset: str) -> Response:
    """One of the page's files."""
    if asset not in ASSETS:
        raise Problem("not_found")
    return Response(await run_in_threadpool(_asset, asset), media_type=ASSETS[asset])


@cache
def _asset(name: str) -> bytes:
    return files("fastapi_offline").joinpath("static", name).read_bytes()


@cache
def _page() -> tuple[bytes, str]:
    page = bytes(
        get_swagger_ui_html(
            openapi_url="openapi.json",
            title="Observa",
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
        ).body
    )
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    digests = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in scripts)
    # Swagger UI sets style attributes as it draws, which no digest can name.
    return page, (
        f"default-src 'none'; script-src 'self' {digests}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
    )
