import asyncio
import io
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from rich.console import Console

from broker.errors import ObservaError
from broker.events import Request
from broker.streams import SERVED
from cli.demo_play import ACTS, Act, Played, Player, read_texts
from cli.demo_stage import MODEL, TAG, Watched, stage
from cli.demo_view import levels, line, view
from cli.evidence import Alarm
from cli.settings import CliSettings
from tests.cli.commands import Just
from tests.cli.test_alerts import alert
from tests.live.services import SHIPPED
from tests.servers import RedisServer, eventually, free_port

TEXTS = {"movies": [("a fine film", "positive")], "tweets": [("omg", "negative")]}
VERSION = {
    "target_accuracy": 0.8,
    "accuracy": {"5m": {"count": 90, "ratio": {"point": 0.7, "lower": 0.6, "upper": 0.78}}},
    "windows": {"5m": {"features": {"words": {"psi": 0.03, "threshold": 0.06}, "tokens": {"psi": None}}}},
    "sequential": [{"feature": "words", "method": "cusum", "score": 30.0, "threshold": 20.0}],
}


class Unwatched(Watched):
    async def still(self) -> bool:
        return False


@pytest.fixture
def store(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    shutil.copytree(SHIPPED / "sentiment-linear", models / "sentiment-linear")
    return models


@pytest.fixture
def cli_settings(server: RedisServer, store: Path, monkeypatch: pytest.MonkeyPatch) -> CliSettings:
    for name, value in {"REDIS_URL": server.url, "MODELS": str(store), "ALLOW_UNSAFE_REDIS": "true"}.items():
        monkeypatch.setenv(f"OBSERVA_{name}", value)
    return CliSettings()


async def stay() -> None:
    await asyncio.Event().wait()


@pytest.mark.live
@pytest.mark.parametrize("how", ["it ends", "Ctrl-C"])
async def test_the_demos_model_answers_and_then_nothing_of_it_is_left(
    how: str, redis: Redis, cli_settings: CliSettings, store: Path
) -> None:
    await redis.set("observa:{sentiment}:born", "x")
    answered = asyncio.Event()

    async def perform(then: Callable[[], Awaitable[None]]) -> None:
        async with stage(redis, cli_settings, Unwatched()):
            assert not (store / MODEL / "live.json").exists()  # no worker of the stack would load it
            assert (store / MODEL / "1" / "reference.json").exists()  # the monitor finds what to compare with
            player = Player(redis, TAG, TEXTS, 100)
            await asyncio.wait_for(player.play(lambda _, spent_s: spent_s > 0.3), 20)

            async def all_answered() -> bool:
                return bool(await redis.xlen(TAG.results) == player.played.sent > 50)

            await eventually(all_answered, "every text is answered")
            answered.set()
            await then()

    if how == "it ends":
        await perform(lambda: asyncio.sleep(0))
    else:
        performing = asyncio.create_task(perform(stay))
        await asyncio.wait_for(answered.wait(), 50)
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing
    assert await redis.keys(f"observa:{{{MODEL}*") == []
    assert await redis.get("observa:{sentiment}:born") == b"x"
    assert await redis.zrange(SERVED, 0, -1) == []
    assert not (store / MODEL).exists()


async def test_a_model_of_the_users_own_that_has_the_demos_name_is_left_alone(
    redis: Redis, cli_settings: CliSettings, store: Path
) -> None:
    shutil.copytree(store / "sentiment-linear", store / MODEL)
    with pytest.raises(ObservaError, match="is a model of your own"):
        async with stage(redis, cli_settings, Unwatched()):
            pass
    assert (store / MODEL / "live.json").exists()


async def test_it_plays_movies_then_tweets_then_wrong_labels(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    acts = tuple(Act(act.title, 0.5, act.tweets, act.wrong) for act in ACTS)
    monkeypatch.setattr("cli.demo_play.ACTS", acts)
    player = Player(redis, TAG, TEXTS, 100)
    await player.play(lambda *_: False)
    entries = await redis.xrange(TAG.requests)
    assert len(entries) == player.played.sent
    assert 150 < player.played.sent <= 100 * (4 * 0.5 + 4 * 0.2)  # an open loop, and bounded
    sent: dict[str, list[tuple[str, str | None]]] = {}
    starts = sorted((began, title) for title, began in player.played.began_ms.items())
    for entry_id, fields in entries:
        request = Request.from_entry(TAG, entry_id.decode(), fields)
        title = [title for began, title in starts if began <= int(entry_id.split(b"-")[0]) + 1][-1]
        sent.setdefault(title, []).append((request.text, request.true_label))
    movies, mixed, tweets, wrong = (set(sent[act.title]) for act in acts)
    assert movies == {("a fine film", "positive")}
    assert mixed == {("a fine film", "positive"), ("omg", "negative")}
    assert tweets == {("omg", "negative")}
    assert wrong == {("a fine film", "negative")}


def test_all_acts_together_are_shorter_than_three_minutes() -> None:
    assert sum(act.seconds for act in ACTS) <= 175


def test_without_texts_or_monitor_it_says_what_to_run(
    just: Just, tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "texts.json"
    expected = f"observa demo-drift: {file} holds no texts for the demonstration; run: just demo-drift\n"
    assert just("demo-drift", "--texts", str(file)) == (2, "", expected)
    file.write_text(json.dumps(TEXTS))
    assert read_texts(file) == TEXTS
    monkeypatch.setenv("OBSERVA_REDIS_URL", server.url)
    monkeypatch.setenv("OBSERVA_MONITOR_URL", f"http://127.0.0.1:{free_port()}")
    status, _, err = just("demo-drift", "--texts", str(file))
    assert (status, "no monitor answers" in err) == (2, True)


def test_the_live_view_shows_accuracy_drift_and_alarms() -> None:
    played = Played(sent=12)
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(view(played, VERSION, {"lag_seconds": 0.2}, [Alarm(MODEL, alert(1))]))
    shown = console.export_text()
    for fact in ("70.0 %", "60.0 % to 78.0 %", "target 80.0 %", "text length in words", "150 %", "0.2 s behind", "psi"):
        assert fact in shown
    assert levels(VERSION) == [("words", 1.5)]
    assert "alarms: psi of words" in line(played, VERSION, [Alarm(MODEL, alert(1))])
    view(played, {}, {}, [])  # before anything is known
