"""API keys: what a caller shows, and what is kept of it. Whoever reads the store learns no key."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.asyncio import Redis

from broker.errors import ObservaError
from broker.streams import KEYS

Scope = Literal["predict", "feedback", "admin"]
ACTIVE_PER_CALLER: Final = 2  # the old key and the new one, while a caller changes from one to the other

_SHOWN: Final = re.compile(r"observa_(?P<id>[0-9a-f]{12})\.(?P<secret>[A-Za-z0-9_-]{43})")
_NOTHING: Final = ("", "")  # compared in place of what has not the form of a key


class ApiKey(BaseModel):
    """One key of one caller, without its secret."""

    model_config = ConfigDict(frozen=True)

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    caller: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of the secret: 32 random bytes need no slow hash
    scopes: frozenset[Scope]
    created_s: int
    expires_s: int | None = None
    revoked_s: int | None = None

    @classmethod
    def make(cls, caller: str, scopes: Iterable[Scope], lifetime_s: int | None) -> tuple[Self, str]:
        """Make a key for *caller*; return what is kept, and what the caller shows, which is nowhere else."""
        key_id, secret, now = secrets.token_hex(6), secrets.token_urlsafe(32), int(time.time())
        key = cls(
            id=key_id,
            caller=caller,
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            scopes=frozenset(scopes),
            created_s=now,
            expires_s=None if lifetime_s is None else now + lifetime_s,
        )
        return key, f"observa_{key_id}.{secret}"

    def state(self, now_s: float) -> Literal["active", "expired", "revoked"]:
        """Say whether the key opens anything at *now_s*, Unix seconds."""
        if self.revoked_s is not None:
            return "revoked"
        return "expired" if self.expires_s is not None and now_s >= self.expires_s else "active"


_NOBODY: Final = ApiKey.make("nobody", (), 0)[0]  # its secret is forgotten here: it can only be compared with


def verify(keys: Mapping[str, ApiKey], shown: str, now_s: float) -> ApiKey | None:
    """Return the active key that *shown* is, by its id in *keys*.

    Whatever is wrong with it, one digest is made and one comparison of constant time, so that the time of a refusal
    does not tell an id that exists.
    """
    match = _SHOWN.fullmatch(shown)
    key_id, secret = match.group("id", "secret") if match else _NOTHING
    key = keys.get(key_id, _NOBODY)
    same = hmac.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), key.sha256)
    state = key.state(now_s)
    return key if same and state == "active" else None


async def read_keys(redis: Redis) -> dict[str, ApiKey]:
    """Return every key by its id; what cannot be read opens nothing and is left out."""
    stored: Any = await redis.hgetall(KEYS)
    return {key.id: key for name, value in stored.items() if (key := _read(value)) and key.id.encode() == name}


async def create_key(redis: Redis, caller: str, scopes: Iterable[Scope], lifetime_s: int | None) -> tuple[ApiKey, str]:
    """Make and store a key; return it and what *caller* shows.

    Raises:
        ObservaError: the caller has two active keys.

    """
    try:
        key, shown = ApiKey.make(caller, scopes, lifetime_s)
    except ValidationError:
        raise ObservaError(
            "a caller's name is 1 to 64 lower-case letters, digits, '.', '_' and '-', a letter or digit first"
        ) from None
    active = [
        other
        for other in (await read_keys(redis)).values()
        if other.caller == caller and other.state(time.time()) == "active"
    ]
    if len(active) >= ACTIVE_PER_CALLER:
        oldest = min(active, key=lambda other: other.created_s)
        raise ObservaError(f"{caller} has {len(active)} active keys; revoke one first: just keys revoke {oldest.id}")
    await redis.hset(KEYS, key.id, key.model_dump_json())
    return key, shown


async def revoke_key(redis: Redis, key_id: str) -> ApiKey:
    """End a key; it stays listed, and gateways refuse it within about a second.

    Raises:
        ObservaError: there is no such key.

    """
    key = (await read_keys(redis)).get(key_id)
    if key is None:
        raise ObservaError("there is no such key; their ids: just keys list")
    if key.revoked_s is None:
        key = key.model_copy(update={"revoked_s": int(time.time())})
        await redis.hset(KEYS, key.id, key.model_dump_json())
    return key


def _read(value: bytes) -> ApiKey | None:
    try:
        return ApiKey.model_validate_json(value)
    except ValidationError:
        return None
