"""A container engine: the one that answers already, or one of our own that changes nothing on this machine."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "compose"  # programs, and the engine's images between two runs
# Newer ones than Debian 12 has, as Compose there does not read our file; they ask for no newer C library.
FROM_TRIXIE = ("docker.io", "containerd", "docker-cli", "docker-compose", "docker-buildx")
FROM_HERE = (
    *("runc", "tini", "iptables", "libip4tc2", "libip6tc2", "libxtables12", "libnftnl11", "libmnl0"),
    *("libnetfilter-conntrack3", "libnfnetlink0", "mmdebstrap"),
)
START_S = 60


class SkippedError(Exception):
    """Why nothing can be tried on this machine."""


@dataclass(frozen=True)
class Engine:
    """How to reach the engine, and whether it is ours alone."""

    environment: dict[str, str]
    ours: bool

    def docker(self, *words: str, given: bytes | None = None, check: bool = True) -> str:
        """Run ``docker WORDS`` and return what it printed."""
        done = subprocess.run(
            ["docker", *words], env=self.environment, cwd=ROOT, input=given, capture_output=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(
                f"docker {' '.join(words)}: {done.stderr.decode()[-3000:]}{done.stdout.decode()[-1000:]}"
            )
        return done.stdout.decode()


@contextmanager
def engine() -> Iterator[Engine]:
    """Give the engine that this machine's docker command reaches, or start one and stop it afterwards.

    Raises:
        SkippedError: there is none, and none can be started.

    """
    if shutil.which("docker") and _answers(os.environ.copy()):
        if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
            raise SkippedError("the engine that runs here has no `docker compose`")
        yield Engine(os.environ.copy(), ours=False)
        return
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SkippedError("no container engine answers, and one can be started only by root on Debian")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="observa-compose-") as folder:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SkippedError("another run uses this folder's engine") from None
        yield from _running(Path(folder))


def _running(folder: Path) -> Iterator[Engine]:
    programs = _programs()
    environment = _environment(programs, folder)
    before = _network()
    log = CACHE / "dockerd.log"
    with log.open("wb") as said:
        # Whatever ends this process ends the engine.
        command = ["setpriv", "--pdeathsig", "TERM", "dockerd", "--config-file", str(_configuration(folder))]
        daemon = subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)
    try:
        until = time.monotonic() + START_S
        while not _answers(environment):
            if daemon.poll() is not None or time.monotonic() > until:
                raise SkippedError(f"dockerd does not start here: {_last_line(log)}")
            time.sleep(0.2)
        yield Engine(environment, ours=True)
    finally:
        daemon.terminate()
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)
        if (after := _network()) != before:
            print(f"the engine changed this machine's network:\n{before}\n{after}", file=sys.stderr)


def _configuration(folder: Path) -> Path:
    """No firewall rule and no forwarding: ports are published by a process, and builds use this machine's network."""
    settings = {
        "data-root": str(CACHE / "data"),
        "exec-root": str(folder / "exec"),
        "pidfile": str(folder / "dockerd.pid"),
        "hosts": [f"unix://{folder}/docker.sock"],
        "bip": "172.29.0.1/24",
        "default-address-pools": [{"base": "172.30.0.0/16", "size": 24}],
        **dict.fromkeys(("iptables", "ip6tables", "ip-forward", "ip-masq"), False),
    }
    path = folder / "daemon.json"
    path.write_text(json.dumps(settings))
    return path


def _environment(programs: Path, folder: Path) -> dict[str, str]:
    libraries = next(programs.glob("usr/lib/*/xtables")).parent
    ours = {
        "PATH": f"{programs}/bin:{programs}/usr/sbin:{programs}/usr/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
        "DOCKER_HOST": f"unix://{folder}/docker.sock",
        "DOCKER_CONFIG": str(programs / "config"),
    }
    return os.environ | ours


def _programs() -> Path:
    """Unpack Debian's packages beside each other; nothing is installed.

    Raises:
        SkippedError: they cannot be fetched.

    """
    programs = CACHE / "programs"
    if programs.exists():
        return programs
    mirror = debian_mirror()
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        for place in ("lists/partial", "cache/archives/partial", "debs", "x/bin", "x/config/cli-plugins"):
            (folder / place).mkdir(parents=True)
        key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
        (folder / "trixie.list").write_text(f"deb {key} {mirror} trixie main\n")
        trixie = {
            "Dir::Etc::sourcelist": folder / "trixie.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
        }
        options = [word for name, value in trixie.items() for word in ("-o", f"{name}={value}")]
        _apt(folder, *options, "update")
        _apt(folder, *options, "download", *FROM_TRIXIE)
        _apt(folder, "download", *FROM_HERE)
        unpacked = folder / "x"
        for package in (folder / "debs").iterdir():
            subprocess.run(["dpkg", "-x", str(package), str(unpacked)], check=True)
        for plugin in (unpacked / "usr/libexec/docker/cli-plugins").iterdir():
            (unpacked / "config/cli-plugins" / plugin.name).symlink_to(
                f"../../usr/libexec/docker/cli-plugins/{plugin.name}"
            )
        for command in ("iptables", "ip6tables"):  # names that Debian's package leaves to its installation
            (unpacked / "bin" / command).symlink_to("../usr/sbin/xtables-nft-multi")
        (unpacked / "bin" / "docker-init").symlink_to("../usr/bin/tini-static")
        unpacked.rename(programs)
    return programs


def debian_mirror() -> str:
    """The mirror that this machine's apt uses."""
    for source in Path("/etc/apt/sources.list.d").glob("*.sources"):
        for line in source.read_text().splitlines():
            if line.startswith("URIs:"):
                return line.split()[1]
    for line in Path("/etc/apt/sources.list").read_text().splitlines():
        if line.startswith("deb "):
            return next(word for word in line.split() if "://" in word)
    raise SkippedError("no container engine answers, and apt names no mirror to fetch one from")


def _apt(folder: Path, *words: str) -> None:
    done = subprocess.run(["apt-get", "-qq", *words], cwd=folder / "debs", capture_output=True, text=True, check=False)
    if done.returncode:
        raise SkippedError(f"no container engine answers, and Debian's cannot be fetched: {done.stderr.strip()[-300:]}")


def _answers(environment: dict[str, str]) -> bool:
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        return not subprocess.run(asked, env=environment, capture_output=True, timeout=10, check=False).returncode
    except subprocess.TimeoutExpired:
        return False


def _network() -> str:
    """What an engine usually changes: forwarding, and the firewall's rules where they can be read."""
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()
    rules = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=False).stdout
    bridges = [line.split()[0] for line in rules.splitlines() if line.startswith(("br-", "docker"))]
    return f"forwarding {forwarding}, bridges {bridges}"


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1][-300:]
