"""Real clusters and Sentinels for tests: several servers, watched until every replica is in sync."""

import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from redis import Redis
from redis.cluster import RedisCluster
from redis.exceptions import AuthenticationError, RedisError

from tests.servers import PROGRAMS, free_port, wait_until

NODE_TIMEOUT_MS = 2000  # after which a server that does not answer is thought to be dead


class Node:
    """One server in a folder of its own."""

    def __init__(self, program: str, folder: Path, *options: str, sentinel: bool = False, login: str = "") -> None:
        self.folder, self.port, self.login = folder, free_port(), login
        self._command = [program]
        folder.mkdir()
        if sentinel:
            config = folder / "sentinel.conf"
            config.write_text("\n".join(options))
            self._command += [str(config), "--sentinel"]
        else:
            self._command += [
                "--dir", str(folder), "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction",
                "--repl-diskless-sync-delay", "0", *options,
            ]  # fmt: skip
        self._command += ["--port", str(self.port), "--bind", "127.0.0.1", "--logfile", str(folder / "server.log")]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(self.answers, f"the server on port {self.port} answers")
        except BaseException:
            self.kill()
            raise

    def client(self) -> Redis:
        return Redis.from_url(f"redis://{self.login}127.0.0.1:{self.port}", socket_timeout=2, decode_responses=True)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except AuthenticationError:  # it does: it asks for a password
            return True
        except RedisError:
            return False

    def ask(self, *command: object) -> object:
        with self.client() as client:
            return client.execute_command(*command)

    def replication(self) -> dict[str, object]:
        with self.client() as client:
            return client.info("replication")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)  # one that stands still, too
            self.process.kill()
        self.process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


class Topology(Protocol):
    """Servers of which the primary of a key can be killed, with a URL for the services."""

    url: str
    nodes: list[Node]

    def in_sync(self) -> bool:
        """Tell whether every replica is; servers that change their part meanwhile cut connections, and are not."""
        try:
            return self._are_in_sync()
        except RedisError:
            return False

    def primary(self, key: str) -> Node: ...
    def _are_in_sync(self) -> bool: ...
    def look(self) -> Redis | RedisCluster: ...
    def stop(self) -> None: ...


class Cluster(Topology):
    """Three primaries with so many replicas each; with two, a primary that takes over still has one."""

    def __init__(self, engine: str, folder: Path, replicas: int = 2) -> None:
        self._replicas = replicas
        self.nodes: list[Node] = []
        self._buses: list[int] = []
        try:
            for number in range(3 + 3 * replicas):
                self._buses.append(free_port())  # by default it is the port and 10000, which may be past the last one
                options = ("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-port", str(self._buses[-1]))
                node = Node(PROGRAMS[engine], folder / f"node-{number}", "--cluster-enabled", "yes", *options)
                self.nodes.append(node)
            self._join()
        except BaseException:
            self.stop()
            raise
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    def _join(self) -> None:
        primaries, replicas = self.nodes[:3], self.nodes[3:]
        for primary, (first, last) in zip(primaries, ((0, 5460), (5461, 10922), (10923, 16383)), strict=True):
            primary.ask("CLUSTER ADDSLOTSRANGE", first, last)
        for node in self.nodes[1:]:
            node.ask("CLUSTER MEET", "127.0.0.1", self.nodes[0].port, self._buses[0])
        wait_until(lambda: all(len(self._known(node)) == len(self.nodes) for node in self.nodes), "all know all")
        for number, replica in enumerate(replicas):
            replica.ask("CLUSTER REPLICATE", primaries[number % 3].ask("CLUSTER MYID"))
        wait_until(self.in_sync, "every replica is in sync", 30)

    @staticmethod
    def _known(node: Node) -> dict[str, dict[str, str]]:
        return node.ask("CLUSTER NODES")  # type: ignore[return-value]

    def primary(self, key: str) -> Node:
        """Return the server that takes writes of *key*, as most servers see it."""
        with self.look() as client:
            owner = client.get_node_from_key(key)
            return next(node for node in self.nodes if node.port == owner.port)

    def _are_in_sync(self) -> bool:
        """Tell whether the cluster serves, and every primary has its replicas, up to date."""
        states = [node.replication() for node in self.nodes if node.answers()]
        primaries = [state for state in states if state["role"] == "master"]
        linked = [state for state in states if state["role"] == "slave" and state["master_link_status"] == "up"]
        ok = [node.ask("CLUSTER INFO")["cluster_state"] == "ok" for node in self.nodes if node.answers()]  # type: ignore[index]
        whole = [state for state in primaries if state["connected_slaves"] == self._replicas]
        return all(ok) and len(primaries) == len(whole) == 3 and len(linked) == 3 * self._replicas

    def look(self) -> RedisCluster:
        alive = next(node for node in self.nodes if node.answers())
        return RedisCluster(host="127.0.0.1", port=alive.port, protocol=2)

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


class SentinelTrio(Topology):
    """A primary and two replicas, watched by three Sentinels; with *users*, a folder of passwords, they log in."""

    SERVICE = "observa"

    def __init__(self, engine: str, folder: Path, users: Path | None = None) -> None:
        options, logins, login = self._logins(users) if users else ((), (), "")
        self.nodes: list[Node] = []
        self.sentinels: list[Node] = []
        try:
            for number in range(3):
                replicaof = ("--replicaof", f"127.0.0.1 {self.nodes[0].port}") if number else ()
                self.nodes.append(
                    Node(PROGRAMS[engine], folder / f"server-{number}", *replicaof, *options, login=login)
                )
            watch = (
                f"sentinel monitor {self.SERVICE} 127.0.0.1 {self.nodes[0].port} 2",
                f"sentinel down-after-milliseconds {self.SERVICE} {NODE_TIMEOUT_MS}",
                f"sentinel failover-timeout {self.SERVICE} 5000",
                *logins,
            )
            for number in range(3):
                self.sentinels.append(Node(PROGRAMS[engine], folder / f"sentinel-{number}", *watch, sentinel=True))
            hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
            self.url = f"redis+sentinel://{hosts}/{self.SERVICE}/0"
            wait_until(self.in_sync, "every replica is in sync, and every Sentinel knows", 30)
        except BaseException:
            self.stop()
            raise

    def _logins(self, users: Path) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """Return the servers' options, the Sentinels' lines, and whom the test itself is."""
        of = {role: (users / f"{role}.password").read_text().strip() for role in ("replica", "sentinel")}
        servers = ("--aclfile", str(users / "users.acl"), "--masteruser", "replica", "--masterauth", of["replica"])
        sentinels = (
            f"sentinel auth-user {self.SERVICE} sentinel",
            f"sentinel auth-pass {self.SERVICE} {of['sentinel']}",
        )
        return servers, sentinels, "root:root@"

    def primary(self, key: str = "") -> Node:  # noqa: ARG002
        """Return the server that the Sentinels call primary."""
        _, port = self.sentinels[0].ask("SENTINEL GET-MASTER-ADDR-BY-NAME", self.SERVICE)  # type: ignore[misc]
        return next(node for node in self.nodes if node.port == int(port))

    def _are_in_sync(self) -> bool:
        """Tell whether both replicas are up to date, and every Sentinel knows of them and of the others."""
        primary = self.primary()
        if not primary.answers():
            return False
        state = primary.replication()
        linked = [
            node for node in self.nodes if node.answers() and node.replication().get("master_link_status") == "up"
        ]
        known = [sentinel.ask("SENTINEL MASTER", self.SERVICE) for sentinel in self.sentinels]
        return (
            state["role"] == "master"
            and state["connected_slaves"] == len(linked) == 2
            and all(int(one["num-slaves"]) >= 2 and int(one["num-other-sentinels"]) == 2 for one in known)  # type: ignore[index]
        )

    def look(self) -> Redis:
        return Redis.from_url(f"redis://{self.primary().login}127.0.0.1:{self.primary().port}", protocol=2)

    def stop(self) -> None:
        for node in (*self.nodes, *self.sentinels):
            node.kill()


TOPOLOGIES = {"cluster": Cluster, "sentinel": SentinelTrio}
