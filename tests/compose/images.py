"""Images that cannot be pulled, made here under the same names, in an engine of our own only."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.compose.engine import ROOT, Engine, SkippedError, debian_mirror

BASE = "python:3.12-slim"
STANDINS = Path(__file__).with_name("standins")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # this machine's: a proxy may stand before the package index
LIMITS_MB = {"gateway": 200, "monitor": 350, "worker": 450}  # over the base


def have_those_of_others(engine: Engine, services: Sequence[str]) -> str:
    """Make sure that every image is there that *services* do not build here, and say which they are.

    Raises:
        SkippedError: they can neither be pulled nor, in somebody else's engine, be replaced.

    """
    others = _of_others(services)
    missing = [image for image in others if not there(engine, image)]
    if not missing:
        return "the images of others were there"
    if all(_pulled(engine, image) for image in missing):
        return "the images of others were pulled"
    if not engine.ours:
        raise SkippedError(f"{missing[0]} cannot be pulled, and stand-ins belong into no engine but our own")
    _make_base(engine)
    for image in others:
        if image != BASE:
            target = image.partition(":")[0].rpartition("/")[2]
            engine.docker("build", "-q", "--network=host", "--target", target, "--tag", image, str(STANDINS))
    return "stand-ins: Debian's Python, Redis, Prometheus and Alertmanager; for Grafana, a reader of its files"


def sizes(engine: Engine, names: dict[str, str]) -> dict[str, int]:
    """MB of each image over the base, by service."""
    base = _bytes(engine, BASE)
    return {service: round((_bytes(engine, image) - base) / 1e6) for service, image in names.items()}


def _of_others(services: Sequence[str]) -> list[str]:
    known = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    images = [known[name]["image"].removeprefix("${OBSERVA_REDIS_IMAGE:-").removesuffix("}") for name in services]
    return [BASE, *(image for image in images if not image.startswith("observa-"))]


def there(engine: Engine, image: str) -> bool:
    """Tell whether the engine has *image*."""
    return bool(engine.docker("image", "ls", "-q", image).strip())


def _pulled(engine: Engine, image: str) -> bool:
    try:
        engine.docker("pull", "-q", image)
    except RuntimeError:
        return False
    return True


def _bytes(engine: Engine, image: str) -> int:
    return int(engine.docker("image", "inspect", "--format", "{{.Size}}", image))


def _make_base(engine: Engine) -> None:
    """Debian with its own Python, and the certificates that this machine trusts."""
    if there(engine, BASE):
        return
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")]
    trusted = [f"ENV {name}={CERTIFICATES}" for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
    with tempfile.TemporaryDirectory(prefix="observa-base-") as folder:
        archive = f"{folder}/base.tar"
        made = subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", "--dpkgopt=force-unsafe-io", *left_out),
                *("--include=ca-certificates,python3,python3-venv", '--aptopt=Acquire::Languages "none"'),
                f"--customize-hook=copy-in {CERTIFICATES} {CERTIFICATES.parent}",
                *("bookworm", archive, debian_mirror()),
            ],
            env=engine.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise SkippedError(f"no image can be pulled, and no base can be made: {made.stderr.strip()[-300:]}")
        changes = [word for change in ("ENV LANG=C.UTF-8", *trusted, 'CMD ["python3"]') for word in ("-c", change)]
        engine.docker("import", *changes, archive, BASE)
