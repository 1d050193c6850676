"""What `just redis` shows of what is stored."""

import pytest

from deploy.local.redis_command import lines

STEERS = "\x1b]0;owned\x07\x9b2J"
SHOWN = r"\x1b]0;owned\x07\x9b2J"


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ([[b"1-0", [b"text", STEERS.encode()]]], ["1-0", f"{'  text':<24} {SHOWN}"]),
        ({b"1-0": STEERS.encode()}, [f"{'1-0':<24} {SHOWN}"]),
        ([STEERS.encode(), STEERS], [SHOWN, SHOWN]),
        (b"\xff\x9b", [r"\xff\x9b"]),
        (b"# Server\r\nredis_version:7.0\r\n", ["# Server", "redis_version:7.0"]),
        (b"two\nlines\x0bno third", ["two", r"lines\x0bno third"]),
        (b"", [""]),
        (None, ["(nil)"]),
    ],
)
def test_a_reply_is_readable_and_cannot_steer_the_terminal(reply, shown):
    assert list(lines(reply)) == shown
