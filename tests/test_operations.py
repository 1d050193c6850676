"""docs/operations.md against the code."""

import importlib
import inspect
import re
from pathlib import Path

from pydantic_settings import BaseSettings

ROOT = Path(__file__).parent.parent
ROOMS = (
    "broker",
    "gateway",
    "worker",
    "worker.explaining",
    "monitor",
    "console",
    "archive",
    "deploy.local",
    "cli",
    "trainer",
)
DEPENDS_ON_THE_MACHINE = {"OBSERVA_WORKERS"}


def classes():
    for room in ROOMS:
        module = importlib.import_module(f"{room}.settings")
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, BaseSettings) and found.__module__ == module.__name__:
                yield found


def as_written(default):
    match default:
        case None:
            return "unset"
        case bool():
            return str(default).lower()
        case "" | ():
            return ""
        case Path() if default.is_absolute():
            return str(default.relative_to(ROOT))
        case _:
            return str(default)


def documented():
    rows = re.findall(
        r"^\| `(OBSERVA_\w+)` \| (.*?) \| (.*?) \|$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE
    )
    assert len(rows) == len({name for name, _, _ in rows}), "a variable is listed twice"
    return {name: default.strip("` ") for name, default, _ in rows}


def test_every_setting_is_listed_with_its_default_and_nothing_else_is():
    known = {
        f"{settings.model_config['env_prefix']}{name}".upper(): as_written(field.default)
        for settings in classes()
        for name, field in settings.model_fields.items()
    }
    listed = documented()
    assert listed.keys() == known.keys()
    wrong = {
        name: (listed[name], known[name])
        for name in known.keys() - DEPENDS_ON_THE_MACHINE
        if listed[name] != known[name]
    }
    assert not wrong


def test_the_example_of_env_lists_every_setting_and_changes_nothing_when_its_lines_count():
    lines = re.findall(
        r'^#(OBSERVA_\w+)=("[^"\n]*"|[^\s#]*)(?= *$| +#)', (ROOT / ".env.example").read_text(), re.MULTILINE
    )
    listed = {name: value.strip('"') for name, value in lines}
    assert len(lines) == len(listed), "a variable is listed twice"
    wanted = {name: "" if default == "unset" else default for name, default in documented().items()}
    set_by_the_supervisor = {"OBSERVA_GATEWAY_SLOT", "OBSERVA_WORKER_SLOT"}
    wanted |= dict.fromkeys(DEPENDS_ON_THE_MACHINE, "")
    of_compose = set(re.findall(r"\$\{(OBSERVA_\w+)", (ROOT / "compose.yaml").read_text())) - wanted.keys()
    assert {name: listed.get(name) for name in wanted.keys() - set_by_the_supervisor} == {
        name: value for name, value in wanted.items() if name not in set_by_the_supervisor
    }
    assert listed.keys() - wanted.keys() <= of_compose


def test_every_recipe_that_the_page_names_exists():
    named = set(re.findall(r"`just ([a-z-]+)", (ROOT / "docs/operations.md").read_text()))
    recipes = set(re.findall(r"^([a-z][a-z-]*)[^=\n]*:(?!=)", (ROOT / "justfile").read_text(), re.MULTILINE))
    assert named <= recipes
