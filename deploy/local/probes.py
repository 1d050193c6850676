"""Is it there, and does it work? Answers about the processes of the stack."""

import http.client
import json
from dataclasses import dataclass
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from broker.addresses import place
from deploy.local import alerting, extras, locks
from deploy.local.settings import StackSettings

_CATCHING_UP: Final = "catching up"  # the status of a monitor that has not read the log to its end yet


@dataclass(frozen=True, slots=True)
class Running:
    """One process that holds its lock file."""

    name: str  # redis, gateway, gateway-1, ..., monitor, worker-0, worker-1, ...
    pid: int

    @property
    def service(self) -> str:
        """The service it is one process of."""
        return self.name.partition("-")[0]


def running(settings: StackSettings) -> list[Running]:
    """Return the processes of the stack, without the supervisor, in the order of starting."""
    found = [
        Running(path.name, pid)
        for path in settings.processes.glob("*")
        if not path.suffix and path.name != "supervisor" and (pid := locks.holder(path)) is not None
    ]
    order = ("redis", "gateway", "worker", "monitor", "archive", *extras.SERVICES, *alerting.SERVICES)
    return sorted(found, key=lambda p: (order.index(p.service), len(p.name), p.name))


def port_of(settings: StackSettings, name: str) -> int:
    """Return the port on which a process answers."""
    service, _, slot = name.partition("-")
    match service:
        case "redis":
            return settings.redis_port
        case "gateway" if settings.gateways > 1:
            return int(alerting.internal_address(settings, int(slot or 0)).rpartition(":")[2])
        case "gateway" | "monitor" | "archive":
            return int(getattr(settings, f"{service}_port"))
        case "prometheus" | "alertmanager":
            return alerting.port(settings, service)
        case "console" | "explainer":
            return extras.port(settings, service)
        case _:
            return settings.worker_metrics_port_base + int(slot)


def place_of(settings: StackSettings, name: str) -> str:
    """Return HOST:PORT where this machine reaches a process over HTTP."""
    service, _, slot = name.partition("-")
    if service == "gateway" and settings.gateways > 1:  # the port that they share may be answered by another one
        return alerting.internal_address(settings, int(slot or 0))
    return place(settings.host_of(service), port_of(settings, name))


def why_not_ready(settings: StackSettings, name: str) -> str | None:
    """Return None when the process does its work, else what it says of itself."""
    if name == "redis":
        return _redis(settings)
    service = name.partition("-")[0]
    path = {"gateway": "/readyz", **dict.fromkeys(alerting.SERVICES, "/-/ready")}.get(service, "/healthz")
    return _http(place_of(settings, name), path)


def _redis(settings: StackSettings) -> str | None:
    client = Redis.from_url(settings.url_with_password, socket_timeout=1, socket_connect_timeout=1)
    with client:
        try:
            client.ping()
        except RedisError as error:
            return str(error)
    return None


def _http(place: str, path: str) -> str | None:
    connection = http.client.HTTPConnection(place, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return "does not answer yet"
    finally:
        connection.close()
    if answer.status != http.client.OK:
        return f"{answer.status} {_reason(body)}".rstrip()
    return _CATCHING_UP if _reason(body) == _CATCHING_UP else None  # the monitor answers, with figures of the past


def _reason(body: str) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        return body.partition("\n")[0][:200]
    if not isinstance(answer, dict):
        return ""
    return str(next((answer[key] for key in ("detail", "reason", "code", "status") if key in answer), ""))
