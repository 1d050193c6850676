import orjson
import pytest

from broker.printing import escaped, json_text

STEERING = "\x1b[2J\x1b]52;c;aGk=\x07 \x9b31m \x90q\x9c \x7f \b \r"


@pytest.mark.parametrize("character", [chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]])
def test_no_control_but_tab_and_line_end_reaches_a_terminal(character):
    shown = escaped(f"a{character}b")
    assert shown == f"a{character}b" if character in "\t\n" else shown.isprintable()
    assert json_text({"text": f"a{character}b"}).isprintable()


def test_what_is_no_control_stays():
    assert escaped("naïve ☃ 漢字\u3000\u00a0👩\u200d💻\n\tline\r\n") == "naïve ☃ 漢字\u3000\u00a0👩\u200d💻\n\tline\n"
    assert escaped(STEERING) == r"\x1b[2J\x1b]52;c;aGk=\x07 \x9b31m \x90q\x9c \x7f \x08 \r"


def test_json_says_the_same_to_a_program():
    document = {"text": STEERING + "naïve ☃", "\x9b": [1, None]}
    assert orjson.loads(json_text(document)) == document
    assert orjson.loads(json_text(document, orjson.OPT_INDENT_2)) == document
