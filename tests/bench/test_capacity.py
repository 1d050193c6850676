"""The plan for a load: its arithmetic, and that the page shows what the script says now."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.scaling.capacity import Inputs, measured_inputs, memory_bytes, plan, table
from bench.scaling.service import measured

ROOT = Path(__file__).resolve().parents[2]
GIVEN = Inputs(
    worker_per_second=200,
    gateway_us=300,
    redis_us=100,
    monitor_us=20,
    request_bytes=500,
    result_bytes=200,
    answer_bytes=400,
    join_bytes=50,
    worker_connections=5,
    gateway_connections=6,
    per_minute=600_000,
    text_h=1,
    results_h=1,
    answers_h=1,
    joins_h=10,
    primary_gb=64,
)


def values(given):
    return {figure.name: figure.value for figure in plan(given)}


def test_every_figure_is_what_its_formula_gives():
    found = values(GIVEN)
    assert found["texts a second, all"] == "10,000"
    assert found["cells"] == "1"
    assert found["workers, a cell"] == "92 cores"  # 10 000 / 120 x 1.1
    assert found["gateways, a cell"] == "6 cores"  # 3 / 0.6, and one
    assert found["primaries by processor"] == "2"  # 1 / 0.5
    assert found["memory of results"] == "7.2 GB"
    assert sum(memory_bytes(GIVEN, 10_000).values()) == 10_000 * 3600 * (500 + 200 + 400 + 10 * 50)
    assert found["primaries by memory"] == "3"  # 57.6 GB / 22.4 GB
    assert found["primaries, a cell"] == "3"
    assert found["shards, a cell"] == "16"
    assert found["connections to a primary"] == "655 of 10,000"  # (92 x 20 + 6 x 21) / 3


def test_one_primary_needs_one_shard():
    assert values(replace(GIVEN, per_minute=6000))["shards, a cell"] == "1"


def test_more_than_one_monitor_can_follow_is_more_cells_each_smaller():
    found = values(replace(GIVEN, per_minute=6_000_000))
    assert found["one cell's most"] == "25,000 texts/s"
    assert found["cells"] == "4"


@pytest.mark.parametrize(
    ("input_", "figure"),
    [("worker_per_second", "workers, a cell"), ("primary_gb", "primaries by memory")],
)
def test_twice_as_much_of_what_carries_takes_about_half(input_, figure):
    def number(given):
        return int(values(given)[figure].split()[0])

    big = replace(GIVEN, per_minute=1_200_000)
    assert number(replace(big, **{input_: 2 * getattr(big, input_)})) <= number(big) // 2 + 1


def test_the_page_shows_what_the_script_says():
    given = Inputs(**measured_inputs(measured()))
    assert table(plan(given)) in (ROOT / "docs" / "scaling.md").read_text(), "run: just capacity, and put it there"


def test_the_plan_needs_no_libraries_but_those_of_the_stack() -> None:
    recipe = re.search(r"^capacity \*ARGS: (\S+)$", (ROOT / "justfile").read_text(), re.MULTILINE)
    assert recipe, "there is no such recipe"
    assert recipe[1] == "_venv"
    program = """
import sys, numpy
before = set(sys.modules)
import bench.scaling.capacity
files = {name: getattr(sys.modules[name], "__file__", None) or "" for name in set(sys.modules) - before}
print(*sorted(name for name, file in files.items() if "site-packages" in file))
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True, cwd=ROOT).split() == []
