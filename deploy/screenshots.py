"""Pictures of the console for the documentation, from a stack of its own with real traffic.

About five minutes: film reviews with their labels first, then tweets, so that there is something to see.
"""

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import httpx

ROOT: Final = Path(__file__).resolve().parents[1]
TEXTS: Final = ROOT / ".cache" / "demo-texts.json"
PICTURES: Final = ROOT / "docs"
PARTS: Final = (("movies", 150.0), ("tweets", 90.0))  # seconds of each
PER_SECOND: Final = 16.0
LABELLED, LATER = 0.6, 0.2  # shares of the texts whose label comes with them, and some seconds later
SEED: Final = 20_261_123
REVIEW: Final = (
    "This film is an absolute delight from the first frame to the last: the two leads are charming, the script is "
    "sharp and funny, and although the ending drags a little, I left the cinema smiling and wanting to see it again."
)
BROWSER: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
VIEWS: Final[tuple[tuple[int, Literal["light", "dark"]], ...]] = ((1280, "light"), (390, "dark"))
SETTLED_MS: Final = 5000  # two looks of the page at the monitor
TALL: Final = 1500


def main() -> int:
    """Take all pictures; a person's mistake is one line and exit code 2."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("observa screenshots: no browser; run: apt-get install --no-install-recommends chromium", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, _stack(Path(folder)) as (gateway, console):
        began = time.monotonic()
        asyncio.run(_traffic(gateway))
        print(f"Traffic for {time.monotonic() - began:.0f} s; taking pictures ...", flush=True)
        for file in _pictures(program, console):
            print(f"  {file.relative_to(ROOT)}  {file.stat().st_size / 1000:.0f} KB")
    return 0


@contextmanager
def _stack(folder: Path) -> Iterator[tuple[str, str]]:
    """Run everything on free ports with data of its own; give the addresses of gateway and console."""
    names = ("REDIS", "GATEWAY", "MONITOR", "CONSOLE", "EXPLAINER")
    ports = {f"OBSERVA_{name}_PORT": str(_free_port()) for name in names}
    own = {"OBSERVA_DATA_DIR": f"{folder}/data", "OBSERVA_RUN_DIR": f"{folder}/run", "OBSERVA_ALERTING": "false"}
    base = {"OBSERVA_WORKER_METRICS_PORT_BASE": str(_free_port())}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OBSERVA_")}
    environment |= {**ports, **own, **base}
    command = [sys.executable, "-m", "deploy.local"]
    subprocess.run([*command, "up"], cwd=ROOT, env=environment, check=True)  # noqa: S603 - our own command
    try:
        yield tuple(f"http://127.0.0.1:{ports[f'OBSERVA_{name}_PORT']}" for name in ("GATEWAY", "CONSOLE"))  # type: ignore[misc]
    finally:
        subprocess.run([*command, "down"], cwd=ROOT, env=environment, check=True)  # noqa: S603


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _traffic(gateway: str) -> None:
    texts = json.loads(TEXTS.read_text(encoding="utf-8"))
    rng = random.Random(SEED)
    async with httpx.AsyncClient(base_url=gateway, timeout=60) as client, asyncio.TaskGroup() as sending:
        for domain, seconds in PARTS:
            print(f"{domain} for {seconds:.0f} s ...", flush=True)
            for _ in range(int(seconds * PER_SECOND)):
                text, label = rng.choice(texts[domain])
                sending.create_task(_send(client, text, label, domain, rng.random(), rng.uniform(1, 20)))
                await asyncio.sleep(1 / PER_SECOND)


async def _send(  # noqa: PLR0913, PLR0917 - one text, whole
    client: httpx.AsyncClient, text: str, label: str, source: str, chance: float, delay_s: float
) -> None:
    body: dict[str, Any] = {"text": text, "tags": {"source": source}}
    if chance < LABELLED:
        body["true_label"] = label
    answer = await client.post("/predict", json=body)
    if answer.is_success and LABELLED <= chance < LABELLED + LATER:
        await asyncio.sleep(delay_s)
        await client.post("/feedback", json={"id": answer.json()["id"], "label": label})


def _pictures(program: str, console: str) -> Iterator[Path]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only who takes pictures has it

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=BROWSER)
        for width, scheme in VIEWS:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto(console)
            page.wait_for_function("document.querySelector('#model input')?.value")
            page.fill("#text textarea", REVIEW)
            page.click("#predict")
            page.wait_for_selector("#answer")
            page.click("#explain")
            page.wait_for_selector("#explained .o-word", timeout=60_000)
            yield _shoot(page, "predict", width)
            for name in ("Monitor", "Streams", "Models") if scheme == "light" else ("Monitor",):
                page.get_by_role("tab", name=name, exact=True).click()
                if name == "Monitor":
                    page.locator("#span input").click()
                    page.get_by_role("option", name="5 minutes").click()
                page.wait_for_timeout(SETTLED_MS)
                yield _shoot(page, name.lower(), width)
        browser.close()


def _shoot(page: Any, name: str, width: int) -> Path:
    file = PICTURES / (f"console-{name}.png" if width > 1000 else f"console-{name}-phone.png")  # noqa: PLR2004 - wide or not
    tall = min(TALL, int(page.evaluate("document.documentElement.scrollHeight")))
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=file, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": tall})
    return file


if __name__ == "__main__":
    sys.exit(main())
