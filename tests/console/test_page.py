"""What a person does at the console, in a real browser."""

import re

from playwright.sync_api import Page, expect

from broker.streams import PredictionId
from tests.console.conftest import BAD, GOOD, MODEL, TAG, Locked, Running, bury, tab
from tests.servers import wait_until

SLOW_MS = 20_000


def predict(page: Page, text: str) -> None:
    page.fill("#text textarea", text)
    page.click("#predict")


def test_a_text_is_classified_judged_and_explained(page, running: Running):
    predict(page, GOOD)
    expect(page.locator("#answer")).to_have_text("positive")
    result = page.locator("#result")
    expect(result).to_contain_text(re.compile(r"waiting [\d.]+ ms · inference [\d.]+ ms"))
    shown = result.locator("code").inner_text()
    assert PredictionId.parse(shown).tag == TAG

    before = running.counted()
    page.click("#wrong")
    expect(page.locator("#judged")).to_contain_text("Right was negative")
    wait_until(lambda: running.counted() == before + 1, "the monitor has counted the label")
    page.click("#right")
    expect(page.locator("#judged")).to_contain_text("Changed")

    page.click("#explain")
    word = page.locator("#explained .o-word.for", has_text="wonderful").first
    expect(word).to_be_visible(timeout=SLOW_MS)
    assert page.locator("#explained .o-text").inner_text() == GOOD

    tab(page, "Monitor")
    expect(page.locator("#panels")).to_contain_text("95 % interval")
    tab(page, "Streams")
    expect(page.locator("#entries")).to_contain_text(shown)
    tab(page, "Models")
    expect(page.locator("#versions")).to_contain_text("live")


def test_below_the_threshold_the_model_is_not_sure(page):
    predict(page, "It is a film.")
    page.wait_for_selector("#answer")
    page.fill("#threshold input[type=number]", "1")
    page.press("#threshold input[type=number]", "Enter")
    expect(page.locator("#answer")).to_contain_text("not sure")


REFUSED = {
    "": "There is nothing to read",
    "  \u200b ": "There is nothing to read",
    "long " * 2500: "too long",
    "a\0b": "NUL character",
}
ODD = [
    "<img src=x onerror=window.hit=1><script>window.hit=1</script> a fine film & more",
    "סרט נפלא, ממש wonderful",
    "⭐️👍🏽 " * 200,
    "x" * 9000,
]


def test_what_cannot_be_classified_is_refused_in_a_sentence(page):
    for text, said in REFUSED.items():
        predict(page, GOOD)
        page.wait_for_selector("#answer")
        predict(page, text)
        expect(page.locator("#result")).to_contain_text(said)
        expect(page.locator("body")).not_to_contain_text("Traceback")


def test_odd_texts_are_shown_as_they_are_and_run_nothing(page):
    for text in ODD:
        predict(page, text)
        page.wait_for_selector("#answer")
        expect(page.locator("#explained .o-text")).to_have_count(0)
        page.click("#explain")
        expect(page.locator("#explained .o-text")).to_be_visible(timeout=SLOW_MS)
        assert page.evaluate("window.hit") is None
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_file_is_classified_and_its_results_downloaded(page, tmp_path):
    file = tmp_path / "texts.csv"
    file.write_text("id,text\n" + "\n".join(f'{n},"{GOOD} {n}"' for n in range(38)) + "\n39,=cmd()\n", encoding="utf-8")
    tab(page, "File")
    page.set_input_files("#file input[type=file]", file)
    expect(page.locator("#file")).to_contain_text("texts")
    page.click("#classify")
    link = page.locator("#results a")
    expect(link).to_be_visible(timeout=SLOW_MS)
    with page.expect_download() as download:
        link.click()
    content = download.value.path().read_text()
    assert content.count("positive") >= 38
    assert "'=cmd()" in content


def test_wrong_labels_raise_the_banner_and_right_ones_lower_it(page, running: Running):
    banner = page.locator("#banner")
    expect(banner).to_contain_text("All quiet", timeout=SLOW_MS)
    running.send(BAD, "positive", 60)
    expect(banner.locator("[role=alert]")).to_contain_text(
        re.compile("accuracy is below", re.IGNORECASE), timeout=SLOW_MS
    )
    running.send(BAD, "negative", 1200)
    expect(banner).to_contain_text("All quiet", timeout=3 * SLOW_MS)


def test_without_gateway_or_monitor_the_page_says_so_and_recovers(page, running: Running):
    banner = page.locator("#banner")
    running.gateway.kill()
    expect(banner).to_contain_text("The gateway at", timeout=SLOW_MS)
    predict(page, GOOD)
    expect(page.locator("#result")).to_contain_text("cannot be reached")
    running.monitor.kill()
    expect(banner).to_contain_text("Nobody sees whether the model is still right", timeout=SLOW_MS)
    running.gateway.start()
    running.monitor.start()
    expect(banner).to_contain_text("All quiet", timeout=2 * SLOW_MS)
    running.gateway.wait("/readyz")
    predict(page, GOOD)
    expect(page.locator("#answer")).to_have_text("positive", timeout=SLOW_MS)


def test_a_dead_letter_is_shown_and_sent_again(page, running: Running):
    bury(running, "it died thrice")
    tab(page, "Streams")
    expect(page.locator("#dead")).to_contain_text("it died thrice")
    send_again(page)
    expect(page.locator("#redriven")).to_contain_text("on the log again")
    expect(page.locator("#dead")).to_contain_text("None")


def test_on_a_phone_nothing_is_wider_than_the_page(page):
    page.set_viewport_size({"width": 390, "height": 844})
    predict(page, GOOD)
    page.wait_for_selector("#answer")
    for name in ("Predict", "File", "Monitor", "Streams", "Models"):
        tab(page, name)
        page.wait_for_timeout(700)  # until the tab has drawn what it has: a width has no other end
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


def test_it_is_usable_by_keyboard(page):
    page.focus("#text textarea")
    page.keyboard.type(GOOD)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "predict":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_have_text("positive")


def test_behind_a_login_and_with_keys_all_of_it_works(browser, running: Running, locked: Locked):
    page = browser.new_page()
    page.set_default_timeout(SLOW_MS)
    page.goto(locked.console.url)  # by way of the provider
    expect(page).to_have_url(f"{locked.console.url}/")
    expect(page.locator("#banner")).to_contain_text("check OBSERVA_CONSOLE_KEY_FILE", timeout=SLOW_MS)
    locked.hand_over_keys()
    wait_until(lambda: page.input_value("#model input") == MODEL, "the model is known")
    predict(page, GOOD)
    expect(page.locator("#answer")).to_have_text("positive", timeout=SLOW_MS)
    page.click("#right")
    expect(page.locator("#judged")).to_contain_text("Right was positive", timeout=SLOW_MS)

    bury(running, "it has no key")
    tab(page, "Streams")
    expect(page.locator("#readers")).to_contain_text("workers", timeout=SLOW_MS)
    expect(page.locator("#dead")).to_contain_text("it has no key", timeout=SLOW_MS)
    send_again(page)
    expect(page.locator("#redriven")).to_contain_text("Only an administrator", timeout=SLOW_MS)

    locked.claims.write_text('{"groups": ["staff", "admins"]}')
    page.click("#logout")
    expect(page.locator("body")).to_contain_text("You are logged out")
    page.click("a")
    wait_until(lambda: page.locator("#model input").count() and page.input_value("#model input"), "the page is back")
    tab(page, "Streams")
    send_again(page)
    expect(page.locator("#redriven")).to_contain_text("on the log again", timeout=SLOW_MS)
    page.close()


def send_again(page: Page) -> None:
    wait_until(lambda: page.input_value("#letter input") != "", "the letter can be chosen")
    page.click("#redrive")


def test_no_log_of_any_service_holds_a_text(page, running: Running):
    predict(page, "a text like no other: c4n4ry")
    page.wait_for_selector("#answer")
    page.click("#explain")
    expect(page.locator("#explained .o-text")).to_be_visible(timeout=SLOW_MS)
    logs = running.services.logs()
    assert "explainer is warm" in logs
    for text in ("c4n4ry", GOOD, BAD, "סרט"):
        assert text not in logs
