#!/usr/bin/env -S python3 -IS
"""The health check of the images: ``healthy PORT/PATH`` ends with 0 when that answers 200 within two seconds.

Run every few seconds in every container, so it imports next to nothing.
"""

import socket
import sys

port, _, path = sys.argv[1].partition("/")
with socket.create_connection(("127.0.0.1", int(port)), timeout=2) as connection:
    connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
    sys.exit(b" 200 " not in connection.recv(64))
