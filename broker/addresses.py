"""Addresses in settings: of the log's server, of hosts to listen on, and of names to answer to.

An error never repeats an address: an address of the log may hold a password.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field

LAST_PORT: Final = 65_535
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_PLACE: Final = re.compile(r"(?P<host>[^:\[\]]+|\[[^\[\]]+\])(?::(?P<port>\d{1,5}))?")
_HOST_HEADER: Final = re.compile(r"(?P<host>[a-z0-9._-]*|\[[0-9a-f:.]+\])(?::\d{0,5})?")
_SIGNS: Final = (
    "has no HOST:PORT that can be; write the signs / ? # @ of a password as %2F %3F %23 %40, "
    "or keep the password in OBSERVA_REDIS_PASSWORD_FILE"
)

_LOGIN: Final = re.compile(r"(?<=://)[^/?#\s]*@")


def without_login(text: str) -> str:
    """Return *text*, a URL or a message with one, without the user and the password that it names."""
    return _LOGIN.sub("", text)


def is_address(host: str) -> bool:
    """Tell whether *host* is an address in figures and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches *host*; a name other than localhost may be anywhere."""
    return ip_address(host).is_loopback if is_address(host) else host == "localhost"


def place(host: str, port: int) -> str:
    """Return HOST:PORT by which this machine reaches a server that listens on *host*; all addresses mean loopback."""
    if is_address(host) and ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_host(text: str) -> bool:
    """Tell whether *text* is a host's name or address, without anything before or behind it."""
    return is_address(text) or _NAME.fullmatch(text) is not None


def host_of(header: bytes) -> str | None:
    """Return the host that a Host header names, without brackets, port and the dot that ends a whole name.

    None where it names none that can be.
    """
    match = _HOST_HEADER.fullmatch(header.decode("latin-1").lower())
    return match["host"].strip("[]").removesuffix(".") if match else None


@dataclass(frozen=True, slots=True)
class Names:
    """Which Host headers a server answers.

    A page in somebody's browser may point a name of its own at our address and read what a server says (DNS
    rebinding). So a server answers to names that it knows, and to addresses in figures, which are no page's own.
    """

    known: frozenset[str]
    setting: str  # that names more of them

    def refusal(self, hosts: Sequence[bytes]) -> Literal["bad_request", "bad_host"] | None:
        """Say what is wrong with a request whose Host headers are *hosts*; None: nothing.

        A caller of HTTP/1.0 may name none, as balancers' probes do; every browser names one.
        """
        if not hosts:
            return None
        name = host_of(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            return "bad_request"
        return None if name in self.known or is_address(name) else "bad_host"


def names_of(host: str, more: str, setting: str) -> Names:
    """Return what a server on *host* answers to: that, this machine's own names, and those that a person set."""
    return Names(LOOPBACK | {host.lower()} | names_in(more), setting)


def _host(text: str) -> str:
    if not is_host(text):
        raise ValueError("must be a host's name or address alone, without http://, port, path or brackets")
    return text


def _host_names(text: str) -> str:
    if not all(map(is_host, names_in(text))):
        raise ValueError("must be hosts' names, separated by commas, each without http://, port or path")
    return text


def names_in(text: str) -> frozenset[str]:
    """Return the names that *text* lists between commas, in small letters."""
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())


def _networks(text: str) -> str:
    for network in names_in(text):
        try:
            ip_network(network)
        except ValueError:
            raise ValueError("must be addresses or networks, as 10.0.0.0/8, separated by commas") from None
    return text


def _redis_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # whose message repeats the address
        raise ValueError(_SIGNS) from None
    protocol, plus, kind = parts.scheme.partition("+")
    if parts.scheme not in {"redis", "rediss", "unix"} and (
        protocol not in {"redis", "rediss"} or kind not in {"sentinel", "cluster"}
    ):
        raise ValueError(
            "must begin with redis://, rediss:// or unix://, or with redis+sentinel:// or redis+cluster:// "
            "(rediss+... with TLS)"
        )
    if parts.fragment or "#" in url or "@" in parts.path + parts.query:
        raise ValueError(_SIGNS)
    if parts.scheme == "unix":
        return url
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if not all(map(_is_place, hosts)):
        raise ValueError(_SIGNS)
    if not plus and len(hosts) > 1:
        raise ValueError("names several servers; say which kind they are: redis+sentinel:// or redis+cluster://")
    _check_path(parts, kind)
    return url


def _check_path(parts: SplitResult, kind: str) -> None:
    service, _, database = parts.path[1:].partition("/") if kind == "sentinel" else ("", "", parts.path[1:])
    if kind == "sentinel" and not service:
        raise ValueError("must name the service that the Sentinels watch: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE")
    if not re.fullmatch(r"\d{0,6}", database):  # redis-py takes database 0 for whatever is no number
        raise ValueError("must end with the number of a database, such as /0")
    if kind == "cluster" and database.strip("0"):
        raise ValueError("must end with /0: a cluster has no other database")


def _is_place(text: str) -> bool:
    match = _PLACE.fullmatch(text)
    return bool(match and is_host(match["host"].strip("[]")) and int(match["port"] or 1) in range(1, LAST_PORT + 1))


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:  # whose message repeats the address
        named = False
    if not named or parts.scheme not in {"http", "https"} or any(sign in url for sign in " ;,'\""):
        raise ValueError("must begin with http:// or https:// and name a host; write signs of a password as %2F %40")
    return url.rstrip("/")


def _files_url(url: str) -> str:
    login, _, _ = url.partition("://")[2].rpartition("@")
    if ":" in login.partition("/")[0]:  # up to there a password with a slash begins, too
        raise ValueError(
            "must hold no password, since it is shown; put it into fsspec's configuration (~/.config/fsspec)"
        )
    return url


FilesUrl = Annotated[str, AfterValidator(_files_url)]  # what fsspec opens
HttpUrl = Annotated[str, AfterValidator(_http_url)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
Host = Annotated[str, AfterValidator(_host)]
HostNames = Annotated[str, AfterValidator(_host_names)]  # separated by commas
Networks = Annotated[str, AfterValidator(_networks)]  # separated by commas
Port = Annotated[int, Field(ge=1, le=LAST_PORT)]


def check_ports(*taken: tuple[str, int, int]) -> None:
    """Make sure that no port is taken twice; *taken* are variable, first port and how many from there up.

    Raises:
        ValueError: two are the same, or one is past the last port there is; the message names the variables.

    """
    names: dict[int, str] = {}
    for name, first, count in taken:
        if first + count - 1 > LAST_PORT:
            raise ValueError(f"{name}: {count} ports from {first} up end past {LAST_PORT}; begin lower")
        for port in range(first, first + count):
            if (other := names.setdefault(port, name)) != name:
                raise ValueError(f"{other} and {name} both take port {port}; set one of them to another port")
