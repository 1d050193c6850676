"""What the monitor sees, live: accuracy, drift against its thresholds, alarms."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.demo_play import ACTS, Played
from cli.evidence import WORDS, Alarm
from cli.terminal import bar, percent

WIDTH = 28
WINDOW = "5m"


def view(played: Played, version: Mapping[str, Any], own: Mapping[str, Any], alarms: Sequence[Alarm]) -> RenderableType:
    """Return the whole picture."""
    return Group(_acts(played), _accuracy(version), _drift(version), _alarms(alarms), _own(played, own))


def line(played: Played, version: Mapping[str, Any], alarms: Sequence[Alarm]) -> str:
    """Return one line of the same, for where there is no terminal."""
    found = version.get("accuracy", {}).get(WINDOW, {})
    ratio = found.get("ratio") or {}
    nearest = max(levels(version), key=lambda row: row[1], default=("nothing", 0.0))
    firing = ", ".join(f"{alarm.began.detector} of {alarm.began.feature}" for alarm in alarms if not alarm.ended)
    return (
        f"{played.act.title}: {played.sent} texts; accuracy {percent(ratio.get('point'))} of {found.get('count', 0)}; "
        f"nearest to its threshold: {nearest[0]} at {100 * nearest[1]:.0f} %; alarms: {firing or 'none'}"
    )


def levels(version: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return each feature's score as a share of its threshold, the largest of its detectors'."""
    found: dict[str, float] = {}
    windows = version.get("windows", {}).get(WINDOW, {}).get("features", {})
    scores = [(name, one.get("psi"), one.get("threshold")) for name, one in windows.items()]
    scores += [(one["feature"], one["score"], one["threshold"]) for one in version.get("sequential", ())]
    for name, score, threshold in scores:
        if score is not None and threshold:
            found[name] = max(found.get(name, 0.0), score / threshold)
    return sorted(found.items())


def _acts(played: Played) -> RenderableType:
    rows = Table.grid(padding=(0, 1))
    done = True
    for act in ACTS:
        now = act is played.act
        done = done and not now
        rows.add_row("▶" if now else "✓" if done else " ", Text(act.title, style="bold" if now else "dim"))
    return Panel(rows, title="playing", title_align="left")


def _accuracy(version: Mapping[str, Any]) -> RenderableType:
    found, target = version.get("accuracy", {}).get(WINDOW, {}), version.get("target_accuracy")
    ratio = found.get("ratio")
    if not ratio:
        return Panel("no label yet", title="accuracy", title_align="left")
    below = target is not None and ratio["upper"] < target
    text = Text.assemble(
        (f"{bar(ratio['point'], WIDTH):<{WIDTH}} {percent(ratio['point'])}", "red bold" if below else "green"),
        f"  {percent(ratio['lower'])} to {percent(ratio['upper'])} (95 %) of {found['count']} labels in {WINDOW},",
        f" target {percent(target)}",
    )
    return Panel(text, title="accuracy", title_align="left")


def _drift(version: Mapping[str, Any]) -> RenderableType:
    rows = Table.grid(padding=(0, 2))
    for name, level in levels(version):
        # The bar is full at twice the threshold: its middle is where an alarm begins.
        shown = f"{bar(min(level / 2, 1), WIDTH):<{WIDTH}}"
        drawn = Text(shown[: WIDTH // 2]) + Text("│") + Text(shown[WIDTH // 2 :])
        drawn.stylize("red" if level > 1 else "cyan")
        rows.add_row(WORDS.get(name, name), drawn, f"{100 * level:.0f} %")
    return Panel(rows, title="drift, of the threshold (the line)", title_align="left")


def _alarms(alarms: Sequence[Alarm]) -> RenderableType:
    rows = Table.grid(padding=(0, 2))
    for alarm in alarms:
        began, style = alarm.began, "dim" if alarm.ended else "red" if alarm.began.severity == "page" else "yellow"
        rows.add_row(*(Text(part, style=style) for part in (began.severity, began.detector, began.summary)))
    return Panel(rows if alarms else "none", title="alarms", title_align="left")


def _own(played: Played, own: Mapping[str, Any]) -> RenderableType:
    lag = own.get("lag_seconds")
    behind = "-" if lag is None else f"{lag:.1f} s"
    return Text(f"{played.sent} texts sent; the monitor is {behind} behind; Ctrl-C ends and removes everything", "dim")
