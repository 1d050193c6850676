"""Routes that FastAPI documents and that run without its request machinery."""

from collections.abc import Callable, Container, Coroutine, Iterable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Scope


class DirectRoute(APIRoute):
    """Calls the endpoint with the request and the path's parameters, as they are.

    Bodies are read by `gateway.intake` and `gateway.schemas`, more strictly than FastAPI would, and the hot path does
    without its dependency solving.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint, wrapped as thinly as can be."""
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            response: Response = await endpoint(request, **request.path_params)
            return response

        return handle


def direct_endpoints(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], Callable[[Request], Any]]:
    """Return method and path to endpoint, of those of *routes* that need no more than that to be found."""
    return {
        (method, route.path): route.endpoint
        for route in routes
        if isinstance(route, DirectRoute) and not route.param_convertors
        for method in route.methods or ()
    }


def route_of(scope: Scope, direct: Container[tuple[str, str]]) -> str | None:
    """Return the route that answered a call, parameters unfilled: a path may hold what a caller wrote.

    *direct* are the methods and paths that need no router; None where the router found nothing.
    """
    if (scope["method"], scope["path"]) in direct:
        return str(scope["path"])
    path: str | None = getattr(scope.get("route"), "path", None)
    return path
