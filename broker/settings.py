"""How to reach the log, the same for every room; each room adds a class of its own."""

import math
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import AfterValidator, Field, FilePath, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from typing_extensions import TypeVar

from broker.addresses import FilesUrl, HostNames, Names, Port, RedisUrl, names_of
from broker.bounded_files import LIMIT_S
from broker.errors import SettingsError
from broker.manifest import ModelName
from broker.redaction import find_redaction


def _redaction(name: str) -> str:
    find_redaction(name)
    return name


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise ValueError("is a file; name a folder")
    return path


def _store(url: str) -> str:
    if "://" not in url and not url.startswith("/"):
        raise ValueError("must be a URL such as s3://BUCKET/FOLDER; for a folder of this machine set OBSERVA_MODELS")
    return url


StoreUrl = Annotated[FilesUrl, AfterValidator(_store)]
Folder = Annotated[Path, AfterValidator(_folder)]
Hours = Annotated[float, Field(ge=0.01, le=24 * 365)]  # Redis counts whole seconds: far less would be none


class ObservaSettings(BaseSettings):
    """Read from the environment, prefix ``OBSERVA_``."""

    model_config = SettingsConfigDict(
        env_prefix="OBSERVA_", frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )


class BrokerSettings(ObservaSettings):
    """Where the log is and how long it keeps things."""

    redis_url: Annotated[RedisUrl | None, Field(repr=False)] = None  # of your own server; none: the embedded one
    redis_port: Port = 6380  # of the embedded server
    redis_user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] | None = None  # of the server's ACL
    redis_password_file: Path | None = None  # for the server of redis_url; the embedded one has its own
    redis_sentinel_password_file: Path | None = None  # where the Sentinels ask for one
    redis_ca_file: FilePath | None = None  # rediss://: who vouches for the server; unset: whom this machine trusts
    redis_cert_file: FilePath | None = None  # rediss://: our own certificate, where the server asks for one
    redis_key_file: FilePath | None = None
    data_dir: Folder = Path(".data")
    redis_wait_s: Annotated[float, Field(ge=0, le=3600)] = 60  # at a start, for a server that is away, busy or full
    redis_max_connections: Annotated[int, Field(ge=4, le=10_000)] = 64
    allow_unsafe_redis: bool = False  # serve from a server without append-only file (tests)
    models: Folder = Path("models")  # one folder a model: the model store, or where versions of `store` are copied to
    store: StoreUrl | None = None  # the model store, as fsspec names it: s3://BUCKET/FOLDER; unset: the folder `models`
    archive: FilesUrl | None = None  # folder or fsspec URL that keeps what the log forgets; unset: nothing is kept
    store_timeout_s: Annotated[float, Field(ge=1, le=3600)] = LIMIT_S  # of one call to `store` or `archive`
    model: ModelName = "sentiment"  # the default model
    shards: Annotated[int, Field(ge=1, le=1024)] = 1
    allowed_hosts: HostNames = ""  # further Host headers that monitor, workers, explainer and archive answer
    durability: Literal["memory", "replica"] = "memory"  # replica: accepted is what a replica has, too

    sync_deadline_ms: Annotated[int, Field(ge=100, le=600_000)] = 30_000
    async_deadline_ms: Annotated[int, Field(ge=1000, le=86_400_000)] = 900_000
    answer_retention_s: Annotated[int, Field(ge=60, le=86_400)] = 900
    text_retention_h: Hours = 24
    store_text: Literal["retention", "none"] = "retention"  # none: a text is gone from the log once it is answered
    redact: Annotated[str, AfterValidator(_redaction)] | None = (
        None  # MODULE:FUNCTION that changes texts before the log
    )
    results_retention_h: Hours = 7 * 24
    join_retention_h: Hours = 7 * 24
    log_memory_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.55  # of Redis' maxmemory: past it the oldest goes
    # Of each model and shard, within that: past it the oldest goes, though a reader lags; unread requests never do.
    requests_max_mb: Annotated[int, Field(ge=1)] | None = None
    results_max_mb: Annotated[int, Field(ge=1)] | None = None
    joins_max_mb: Annotated[int, Field(ge=1)] | None = None

    claim_ms: Annotated[int, Field(ge=200, le=600_000)] = 5000  # idle time after which an entry is taken over
    max_deliveries: Annotated[int, Field(ge=1, le=100)] = 3

    def need_texts(self, what: str) -> None:
        """Make sure that texts are still on the log after they were answered, as *what* reads them there.

        Raises:
            SettingsError: they are not.

        """
        if self.store_text == "none":
            raise SettingsError(
                f"{what} reads texts from the log, and OBSERVA_STORE_TEXT=none removes each once it is answered; "
                "set OBSERVA_STORE_TEXT=retention to keep them for OBSERVA_TEXT_RETENTION_H"
            )

    def names(self, host: str) -> Names:
        """Return what a server that listens on *host* answers to."""
        return names_of(host, self.allowed_hosts, "OBSERVA_ALLOWED_HOSTS")

    @property
    def requests_bytes(self) -> float:
        """Bytes that the requests of one model and shard may take."""
        return math.inf if self.requests_max_mb is None else self.requests_max_mb << 20

    @property
    def server_url(self) -> str:
        """The server's URL as it may be shown: without user, password and options."""
        parts = self._parts
        return _joined(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.redis_url or f"redis://127.0.0.1:{self.redis_port}/0")

    @property
    def password_file(self) -> Path | None:
        """Where the password is, if it is in a file; the embedded server's is never sent to another server."""
        return self.redis_password_file or (None if self.redis_url else self.data_dir / "redis.password")

    @property
    def url_with_password(self) -> str:
        """The URL that a client connects to: user, password and TLS files are in it unless the URL named its own.

        Raises:
            SettingsError: the password file cannot be read, or TLS files were given for a server without TLS.

        """
        parts = self._with_tls(self._parts)
        password = parts.password or self._password_from_file()
        if password is None:
            return _joined(parts)
        host = parts.netloc.rpartition("@")[2]
        # Named in any case, since redis-cli takes an empty name for a user's.
        user = parts.username or self.redis_user or "default"
        secret = quote(unquote(parts.password) if parts.password else password, safe="")
        return _joined(parts._replace(netloc=f"{user}:{secret}@{host}"))

    @property
    def kind(self) -> Literal["server", "sentinel", "cluster"]:
        """What answers at the URL: one server, Sentinels that know which server is primary, or a cluster."""
        match self._parts.scheme.partition("+")[2]:
            case "sentinel":
                return "sentinel"
            case "cluster":
                return "cluster"
            case _:
                return "server"

    @property
    def urls(self) -> list[str]:
        """A plain URL for each host that the URL names, with password and TLS files; Sentinels' have the database.

        Raises:
            SettingsError: as `url_with_password`.

        """
        parts = urlsplit(self.url_with_password)
        if self.kind == "server":
            return [self.url_with_password]
        login, at, hosts = parts.netloc.rpartition("@")
        database = parts.path.strip("/").partition("/")[2] if self.kind == "sentinel" else ""
        plain = parts._replace(scheme=parts.scheme.partition("+")[0], path=f"/{database or 0}")
        return [_joined(plain._replace(netloc=f"{login}{at}{host}")) for host in hosts.split(",")]

    @property
    def sentinel_service(self) -> str:
        """What the Sentinels call the primary and its replicas."""
        return self._parts.path.strip("/").partition("/")[0]

    @property
    def sentinel_password(self) -> str | None:
        """What the Sentinels themselves ask for.

        Raises:
            SettingsError: the file cannot be read.

        """
        path = self.redis_sentinel_password_file
        return None if path is None else read_secret(path, "OBSERVA_REDIS_SENTINEL_PASSWORD_FILE")

    def _password_from_file(self) -> str | None:
        path = self.password_file
        if path is None:
            return None
        if self.redis_password_file is None:  # the embedded server was never started: connecting will say so
            return read_secret(path)
        return read_secret(path, "OBSERVA_REDIS_PASSWORD_FILE")

    def _with_tls(self, parts: SplitResult) -> SplitResult:
        """Name the TLS files in the URL's query, where every client of ours reads them, FastStream's included."""
        files = {
            "ssl_ca_certs": self.redis_ca_file,
            "ssl_certfile": self.redis_cert_file,
            "ssl_keyfile": self.redis_key_file,
        }
        given = {name: str(path.resolve()) for name, path in files.items() if path is not None}
        if not given:
            return parts
        if parts.scheme.partition("+")[0] != "rediss":
            raise SettingsError(
                "TLS files need OBSERVA_REDIS_URL=rediss://HOST:PORT/0; without it nothing is encrypted"
            )
        return parts._replace(query=urlencode(given | dict(parse_qsl(parts.query))))


def read_secret(path: Path, setting: str | None = None) -> str | None:
    """Return what a file holds; None where there is no file and no *setting* that named it.

    Raises:
        SettingsError: it cannot be read, or holds nothing.

    """
    try:
        secret = path.read_text().strip()
    except FileNotFoundError:
        if setting is None:
            return None
        raise SettingsError(f"{path} does not exist; check {setting}") from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; check who owns it") from error
    except UnicodeDecodeError:  # whose message repeats what the file holds
        raise SettingsError(f"{path} holds no text; write the secret into it") from None
    if not secret:
        raise SettingsError(f"{path} is empty; write the secret into it" + (f", or unset {setting}" if setting else ""))
    return secret


def _joined(parts: SplitResult) -> str:
    """Return the URL; urlunsplit leaves out the slashes where a path alone follows them, as after unix://."""
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")


SettingsT = TypeVar("SettingsT", bound=ObservaSettings)


def load_settings(settings: type[SettingsT]) -> SettingsT:
    """Read *settings* from the environment.

    Raises:
        SettingsError: a variable is wrong; the message names it and says why, in one line.

    """
    try:
        return settings()
    except ValidationError as error:
        raise SettingsError("; ".join(dict.fromkeys(map(_told, error.errors())))) from None
    except OSError as error:  # of a path that cannot even be looked at
        raise SettingsError(f"{error.filename}: {error.strerror}; check the paths that are set") from None


def _told(error: ErrorDetails) -> str:
    """Name the variable; what is wrong between several variables names them itself."""
    reason = error["msg"].removeprefix("Value error, ")
    return f"OBSERVA_{error['loc'][0]}: ".upper() + reason if error["loc"] else reason
