"""Valid requests, and what becomes of them when bytes are changed, cut, doubled or moved."""

import json
import random
import socket
from typing import Final

from tests.hostile.conftest import MODEL

CANARY: Final = "c4n4ryc4n4ry"
HEAD: Final = "host: localhost\r\ncontent-type: application/json\r\n"
NASTY: Final = (
    b"\x00",
    b"\r\n\r\n",
    b"\r\n ",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"NaN",
    b"1e999",
    b"[" * 3000,
    b"9" * 400,
    rb"\ud800",
    b"content-length: 5\r\ncontent-length: 6\r\n",
    b"transfer-encoding: chunked\r\n",
    b"expect: 100-continue\r\n",
    b"upgrade: websocket\r\nconnection: upgrade\r\n",
    b"..%2f",
    b"%00",
    b"x: " + b"y" * 9000 + b"\r\n",
    b"ffffffffffffffff\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"HTTP/9.9",
)


def requests() -> list[bytes]:
    """Every operation once, as a well-behaved client sends it."""
    bodies = {
        "/predict": {"text": f"a good film {CANARY}", "subject": CANARY, "threshold": 0.5},
        f"/v1/models/{MODEL}/predict": {"texts": [CANARY, "b"], "true_label": [None, "positive"]},
        "/feedback": {"id": f"{MODEL}.0.01890a5d-ac96-774b-bcce-b302099a8057", "label": "positive"},
        f"/v2/models/{MODEL}/infer": {
            "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [CANARY]}]
        },
    }
    found = []
    for path, body in bodies.items():
        content = json.dumps(body).encode()
        found.append(f"POST {path} HTTP/1.1\r\n{HEAD}content-length: {len(content)}\r\n\r\n".encode() + content)
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
        found.append(f"POST {path} HTTP/1.1\r\n{HEAD}transfer-encoding: chunked\r\n\r\n".encode() + chunked)
    gets = (
        "/v1/models",
        "/v1/streams",
        "/v1/alerts",
        "/healthz",
        "/readyz",
        "/v2",
        f"/v1/predictions/{MODEL}.0.x",
        "/docs",
    )
    return found + [f"GET {path} HTTP/1.1\r\n{HEAD}x-note: {CANARY}\r\n\r\n".encode() for path in gets]


def changed(draw: random.Random, request: bytes, others: list[bytes]) -> bytes:
    """Return *request* with one to five mutations."""
    content = bytearray(request)
    for _ in range(draw.randint(1, 5)):
        at = draw.randrange(len(content) + 1)
        match draw.randrange(6):
            case 0 if at < len(content):
                content[at] = draw.randrange(256)
            case 1:
                content[at:at] = draw.choice(NASTY)
            case 2:
                del content[at : at + draw.randint(1, 40)]
            case 3:
                content[at:at] = content[at : at + draw.randint(1, 200)]
            case 4:
                content[at:] = draw.choice(others)
            case _:
                content = content[:at]
    return bytes(content)


def exchange(port: int, content: bytes, *, patience_s: float = 0.15) -> bytes:
    """Send *content* and return what comes until the gateway hangs up or says no more."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        try:
            connection.sendall(content)
            connection.settimeout(patience_s)
            while part := connection.recv(65_536):
                received += part
        except (TimeoutError, ConnectionError):
            pass
    return received
