"""The walls between the rooms."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"console", "broker", "gateway", "worker", "monitor", "archive", "trainer", "cli", "deploy"}
HEAVY = {"torch", "transformers", "optimum", "mlflow", "sklearn", "skl2onnx"}
UNPICKLES = ROOT / "trainer" / "unpickle.py"  # in a process of its own, when a person says that they trust the file
UNSAFE = {"pickle", "cloudpickle", "joblib", "dill", "marshal", "shelve"}


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
    return found


def packages(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(file)}


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_broker_and_nothing_of_the_others(room):
    assert files(room)
    for file in files(room):
        assert not packages(file) & (ROOMS - {room, "broker"}), file


def test_broker_imports_no_room():
    for file in files("broker"):
        assert not packages(file) & (ROOMS - {"broker"}), file


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_nobody_imports_the_broker_package_whole(room):
    for file in files(room):
        assert "broker" not in imported(file), file


@pytest.mark.parametrize("room", sorted(ROOMS - {"trainer"}))
def test_only_the_trainer_imports_training_libraries(room):
    for file in files(room):
        assert not packages(file) & HEAVY, file


def test_the_gateway_does_no_arithmetic_on_models():
    for file in files("gateway"):
        assert not packages(file) & {"numpy", "onnxruntime", "tokenizers"}, file


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_nothing_is_pickled(room):
    for file in set(files(room)) - {UNPICKLES}:
        assert not packages(file) & UNSAFE, file
        assert "torch.load" not in file.read_text(), file


@pytest.mark.parametrize("room", sorted({*ROOMS, "bench", "examples"}))
def test_no_call_unpickles_in_disguise(room):
    for file in set(files(room)) - {UNPICKLES}:
        source = file.read_text()
        for call in (
            "allow_pickle=True",
            "read_pickle",
            "joblib.load",
            "weights_only=False",
            "register_custom_ops_library",
        ):
            assert call not in source, (file, call)


def test_no_pickle_lies_among_the_models():
    assert not [
        path for path in (ROOT / "models").rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib", ".pt", ".bin"}
    ]


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_no_file_has_a_name_that_says_nothing(room):
    assert not {file.stem for file in files(room)} & {"utils", "util", "common", "helpers", "base", "misc"}


def test_what_unpickles_is_imported_by_nobody():
    for room in ROOMS:
        for file in files(room):
            assert not {name for name in imported(file) if "unpickle" in name}, file
