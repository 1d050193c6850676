"""The run of all long forms: what it makes of one that passes, fails or hangs, and the table beside the last run."""

import io
import sys

from rich.console import Console

from tests.nightly.__main__ import FORMS, Outcome, figures_in, run, table_of


def python(code):
    return [sys.executable, "-c", code]


def test_a_form_that_fails_or_hangs_is_an_outcome_with_the_figures_it_printed(tmp_path):
    passed = run("a", python("print('\\nfigure kills: lost 0, twice 0')"), tmp_path)
    assert (passed.ended, passed.figures) == ("passed", {"kills": "lost 0, twice 0"})
    failed = run("b", python("print('the end', flush=True); raise SystemExit(3)"), tmp_path)
    assert (failed.ended, failed.figures) == ("FAILED (3)", {"": "the end"})
    hung = run("c", python("print('figure x: 1', flush=True); import time; time.sleep(60)"), tmp_path, longest_s=1)
    assert hung.ended.startswith("FAILED (ended after 1 s")
    assert hung.figures == {"x": "1"}


def test_the_last_line_stands_for_a_form_without_figures():
    assert figures_in("===\n==== 3 passed in 2 s ====\n\n") == {"": "3 passed in 2 s"}
    assert figures_in("") == {}


def test_the_table_shows_each_figure_beside_that_of_the_last_run():
    console = Console(width=120, file=io.StringIO())
    now = {"soak": Outcome("passed", 600, {"lost": "0", "new": "7"}), "fuzz": Outcome("FAILED (1)", 60)}
    console.print(table_of(now, {"soak": Outcome("passed", 500, {"lost": "3"})}))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.file.getvalue().splitlines()]
    assert ["soak", "passed", "10.0", "lost", "0", "3"] in rows
    assert ["", "", "", "new", "7", "-"] in rows
    assert ["fuzz", "FAILED (1)", "1.0", "", "", "-"] in rows


def test_every_form_is_a_recipe(request):
    recipes = (request.config.rootpath / "justfile").read_text()
    assert all(f"\n{command[1]}" in recipes for command in FORMS.values())
