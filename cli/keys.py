"""``keys``: who may call a gateway that asks for API keys."""

import argparse
import re
import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Final, get_args

from redis.asyncio import Redis

from broker.access import ApiKey, Scope, create_key, read_keys, revoke_key
from cli.reading import opened
from cli.settings import CliSettings
from cli.terminal import columns, note, printable

SECONDS: Final = {"h": 3600, "d": 86_400}


def add_arguments(parser: ArgumentParser) -> None:
    """Describe ``keys`` and its three actions; without one it lists."""
    parser.set_defaults(action="list")
    actions = parser.add_subparsers(dest="action", metavar="create | list | revoke")
    creating = actions.add_parser("create", help="make a key and show it, this once")
    creating.add_argument("caller", metavar="NAME", help="who will use it; a second key of the same name replaces it")
    creating.add_argument(
        "--scopes",
        type=_scopes,
        default=("predict", "feedback"),
        help="of predict,feedback,admin (default: the first two)",
    )
    creating.add_argument("--expires", type=_lifetime, help="after 12h, 90d, ...; default: never")
    actions.add_parser("list", help="every key, without its secret")
    revoking = actions.add_parser("revoke", help="end a key, everywhere within about a second")
    revoking.add_argument("key", metavar="ID", help="as list prints it")


def _scopes(text: str) -> tuple[Scope, ...]:
    wanted = [name.strip() for name in text.split(",")]
    chosen: tuple[Scope, ...] = tuple(scope for scope in get_args(Scope) if scope in wanted)
    if not wanted or len(chosen) != len(set(wanted)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of: {', '.join(get_args(Scope))}")
    return chosen


def _lifetime(text: str) -> int:
    match = re.fullmatch(r"([1-9]\d{0,5})([hd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 12h or 90d")
    return int(match[1]) * SECONDS[match[2]]


async def run(args: argparse.Namespace, settings: CliSettings) -> int:
    """Do the action."""
    async with opened(settings) as redis:
        if args.action == "create":
            key, shown = await create_key(redis, args.caller, args.scopes, args.expires)
            print(shown)
            note(
                f"key {key.id} of {key.caller}: {_described(key)}. It is shown this once and stored nowhere; send it as"
            )
            note("Authorization: Bearer KEY")
        elif args.action == "revoke":
            key = await revoke_key(redis, args.key)
            print(f"key {key.id} of {key.caller} opens nothing any more")
        else:
            await _list(redis)
    return 0


async def _list(redis: Redis) -> None:
    keys = sorted((await read_keys(redis)).values(), key=lambda key: (key.caller, key.created_s))
    if not keys:
        note("there are no keys; make one with: just keys create NAME")
        return
    now_s = time.time()
    rows = [
        (key.id, printable(key.caller), key.state(now_s), _day(key.created_s), _day(key.expires_s), _scopes_of(key))
        for key in keys
    ]
    for line in columns([("ID", "NAME", "STATE", "CREATED", "EXPIRES", "SCOPES"), *rows]):
        print(line)


def _described(key: ApiKey) -> str:
    return f"{_scopes_of(key)}, {'until ' + _day(key.expires_s) if key.expires_s else 'without end'}"


def _scopes_of(key: ApiKey) -> str:
    return ",".join(scope for scope in get_args(Scope) if scope in key.scopes)


def _day(at_s: int | None) -> str:
    return "-" if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%MZ")
