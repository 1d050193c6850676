"""Versions beside each other at the console: what they are wrong about stays on the banner, so not on `test_page`'s."""

from playwright.sync_api import expect
from redis import Redis

from tests.console.conftest import GOOD, TAG, Running, tab
from tests.servers import wait_until

SLOW_MS = 20_000


def test_a_shadow_and_a_canary_are_compared_with_the_live_version(page, running: Running):
    compared = page.locator("#compared")
    tab(page, "Models")
    expect(compared).to_contain_text("Nothing is tried beside the live version", timeout=SLOW_MS)
    with Redis(port=running.services.server.port) as look:
        running.point(shadows={"2": 1.0})
        wait_until(lambda: any(group["name"] == b"shadow.2" for group in look.xinfo_groups(TAG.requests)), "a shadow")
    expect(compared).to_contain_text("holds no answer of 2", timeout=SLOW_MS)
    running.send(GOOD, "positive", 150)
    expect(compared).to_contain_text("Version 2 must not take the place of 1", timeout=2 * SLOW_MS)
    for said in ("McNemar, exact", "however often one looks", "positive", "0.0 %"):
        expect(compared).to_contain_text(said)
    expect(compared.locator("svg.plot")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    running.point(canary={"version": "3", "share": 0.5})
    wait_until(lambda: sent_to_the_canary(running), "the canary answers", 30)
    running.send(GOOD, "positive", 200)
    expect(compared).to_contain_text("Version 3 must not take the place of 1", timeout=2 * SLOW_MS)
    expect(compared).to_contain_text("On other texts each")
    running.point()


def sent_to_the_canary(running: Running) -> bool:
    answer = running.client.post("/predict", json={"texts": [GOOD] * 8}).json()
    return any(one["version"] == "3" for one in answer["predictions"])
