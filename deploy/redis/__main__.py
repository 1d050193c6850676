"""Make passwords for the roles and the ACL file that knows them: ``python -m deploy.redis FOLDER``."""

import argparse
import hashlib
import re
import secrets
import sys
from pathlib import Path
from typing import Final

from broker.durable import write
from broker.errors import ObservaError

TEMPLATE: Final = Path(__file__).with_name("users.acl")
ROLES: Final = (
    *("gateway", "worker", "explainer", "monitor", "archive", "trainer", "operator", "exporter"),
    *("replica", "sentinel", "joiner"),  # of servers among themselves
)


def main() -> int:
    """Make what is missing; a person's mistake is one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="just redis-users", description="Make the users of a server of your own.")
    parser.add_argument("folder", type=Path, help="where users.acl and a password file for each role go")
    try:
        written = make_users(parser.parse_args().folder)
    except ObservaError as error:
        print(f"observa redis-users: {error}", file=sys.stderr)
        return 2
    print(f"{written}: start the server with `aclfile {written}`, and each service with OBSERVA_REDIS_USER=ROLE")
    print(f"and OBSERVA_REDIS_PASSWORD_FILE={written.parent}/ROLE.password; roles: {', '.join(ROLES)}")
    return 0


def make_users(folder: Path) -> Path:
    """Write ``ROLE.password`` for each role that has none, and ``users.acl`` with their digests; all mode 0600.

    Raises:
        ObservaError: the folder cannot be used.

    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        digests = {role: hashlib.sha256(_password(folder / f"{role}.password").encode()).hexdigest() for role in ROLES}
        rules = re.sub(r"#\{(\w+)\}", lambda found: f"#{digests[found[1]]}", _rules())
        return _write(folder.resolve() / "users.acl", rules)
    except OSError as error:
        raise ObservaError(f"{folder}: {error.strerror}; choose a folder of your own") from error


def _rules() -> str:
    """Return the template's lines without comments, which a server's ACL file may not hold."""
    return "".join(line for line in TEMPLATE.read_text().splitlines(keepends=True) if line.startswith("user "))


def _password(path: Path) -> str:
    if not path.exists():
        _write(path, secrets.token_hex(32) + "\n")
    return path.read_text().strip()


def _write(path: Path, text: str) -> Path:
    write(path, text.encode(), 0o600)
    return path


if __name__ == "__main__":
    sys.exit(main())
