"""The tool that breaks the code: which changes it knows, and whether it tells noticed ones from others."""

from pathlib import Path

import pytest

from tests.mutants.__main__ import KNOWN, ROOT, areas, dies
from tests.mutants.mutations import mutations_of

PYTHON = """
def clipped(value: int, most: int = 8) -> int:
    logger.info("clipping")
    if value > most and value is not None:
        raise ValueError(value - 1)
    return value + 1
"""
LUA = """
-- a < b
if a < b and c then redis.call('DEL', a) end
redis.call('DEL', KEYS[1])
"""


def made(path: Path, text: str) -> set[str]:
    path.write_text(text)
    return {mutation.shown(text).partition("->  ")[2] for mutation in mutations_of(path)}


def test_python_is_changed_where_it_decides_and_not_where_it_speaks(tmp_path):
    assert made(tmp_path / "clip.py", PYTHON) == {
        "if value >= most and value is not None:",
        "if value > most or value is not None:",
        "if value > most and value is None:",
        "return value - 1",
        "return value + 2",
    }


def test_scripts_are_changed_operator_by_operator_and_loose_calls_are_left_out(tmp_path):
    assert made(tmp_path / "clip.lua", LUA) == {
        "if a <= b and c then redis.call('DEL', a) end",
        "if a < b or c then redis.call('DEL', a) end",
        "",
    }


def test_a_change_that_a_test_notices_is_told_from_one_that_none_does(tmp_path):
    text = "def double(value):\n    return value * 2\n"
    (tmp_path / "double.py").write_text(text)
    (tmp_path / "test_double.py").write_text("from double import double\n\ndef test_it(): assert double(2) == 4\n")
    noticed, not_noticed = text.replace("*", "/"), text.replace("*", "+")
    assert dies(tmp_path, Path("double.py"), noticed, ["test_double.py"], 60)
    assert not dies(tmp_path, Path("double.py"), not_noticed, ["test_double.py"], 60)
    assert (tmp_path / "double.py").read_text() == text


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known["says"])
def test_each_change_that_was_made_once_still_has_its_place(known):
    assert (ROOT / known["file"]).read_text().count(known["old"]) == 1
    assert all((ROOT / test).exists() for test in known["tests"])


def test_each_area_has_changes_and_tests():
    for area in areas():
        assert any(mutations_of(ROOT / file) for file in area.files)
        assert all((ROOT / test.removeprefix("--ignore=")).exists() for test in area.tests)
