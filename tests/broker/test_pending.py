"""One place knows how an answer that is still to come is stored: its caller's API key stands behind it."""

import re
from pathlib import Path

import pytest

from broker.answers import KEYLESS, PENDING, owner_suffix, split_owner

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("key", "owner"), [("0123456789ab", "0123456789ab"), (KEYLESS, None), (None, None)])
@pytest.mark.parametrize("content", [PENDING, b'{"id":"x","label":"two\\nlines"}'])
def test_what_is_stored_says_what_is_told_and_who_asked(content, key, owner):
    assert split_owner(content + owner_suffix(key).encode()) == (content, owner)


def test_scripts_ask_the_prelude_whether_an_answer_is_pending():
    for script in (ROOT / "broker" / "lua").glob("*.lua"):
        compared = re.findall(r"[~=]=\s*'pending'", script.read_text())
        assert len(compared) == (script.name == "prelude.lua"), f"{script.name}: use is_pending and owner_in"
