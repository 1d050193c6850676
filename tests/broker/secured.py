"""Servers with users, or with TLS: Valkey for the first, and Redis where it is installed for both."""

import subprocess
from pathlib import Path

from redis import Redis as SyncRedis
from redis.exceptions import RedisError

from tests.servers import RedisServer, wait_until


class SecuredServer(RedisServer):
    """A server started with options of its own; *look_url* is how the test itself reaches it."""

    def __init__(self, folder: Path, program: str, look_url: str = "") -> None:
        super().__init__(folder)
        self.program = program
        self.look_url = look_url.format(port=self.port) or self.url

    def start(self, *options: str, configuration: Path | None = None) -> None:
        arguments = ("--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes", "--save", "")
        log = ("--logfile", str(self.folder / "server.log"))
        command = [self.program, *arguments, *log, "--maxmemory-policy", "noeviction", *options]
        if configuration is not None:
            command = [self.program, str(configuration), *log]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "the server answers")

    def look(self) -> SyncRedis:
        return SyncRedis.from_url(self.look_url, protocol=2, decode_responses=True)

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
        with self.look() as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False
