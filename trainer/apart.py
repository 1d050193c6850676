"""What a stranger made is read in a process of its own: bounded in time, memory and words, and gone when we are."""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, cast

from broker.errors import ModelRefusedError, ObservaError
from broker.lifetime import end_with
from broker.printing import escaped

ROOT: Final = Path(__file__).parents[1]
MOST_MEMORY: Final = 16 << 30  # bytes of addresses, of which most are never touched
ASKED: Final = "asked.json"  # beside the folder that is written
MOST_WORDS: Final = 4096  # bytes of what it says that are kept: the last ones
MOST_REASON: Final = 400  # letters of them that are shown
KEPT: Final = ("PATH", "LANG", "HOME")  # of the environment
QUIET: Final = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}


@contextmanager
def work(module: str, source: Path, asked: dict[str, Any], seconds: float) -> Iterator[Path]:
    """Let *module*, whose `__main__` calls `perform`, read *source*, and yield the folder with what it wrote.

    Raises:
        ModelRefusedError: it refused, failed, or did not end within *seconds*; the message is one line.

    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Path(folder, "made")
        made.mkdir()
        Path(folder, ASKED).write_text(json.dumps(asked), encoding="utf-8")
        command = [sys.executable, "-m", module, str(source.absolute()), str(made), str(os.getpid())]
        environment = {name: os.environ[name] for name in KEPT if name in os.environ} | QUIET | {"TMPDIR": folder}
        process = subprocess.Popen(  # noqa: S603 a fixed command
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            said = _last_words(process, time.monotonic() + seconds)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever it started, too
            process.wait()
        if said is None:
            raise ModelRefusedError(f"{source}: was not read within {seconds:g} s")
        if process.returncode:
            raise ModelRefusedError(f"{source}: {_reason(process.returncode, said)}")
        yield made


def perform(job: Callable[[Path, Path, dict[str, Any]], None]) -> None:
    """Do *job* (source, folder for what it makes, what is asked) as the process that `work` started."""
    source, made, parent = sys.argv[1:4]
    end_with(int(parent))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    try:
        job(Path(source), Path(made), json.loads(Path(made).with_name(ASKED).read_bytes()))
    except ObservaError as error:
        sys.exit(one_line(error))
    except OSError as error:  # of our own folders: a full disk
        sys.exit(first_line(error))
    except MemoryError:
        sys.exit(f"it takes more than {MOST_MEMORY >> 30} GB of memory")
    except Exception as error:  # noqa: BLE001 what a stranger made may raise anything
        sys.exit(f"it cannot be read ({type(error).__name__}: {first_line(error)})")


def one_line(said: object) -> str:
    """Return *said* as one line that steers no terminal."""
    return escaped(" ".join(str(said).split()))


def first_line(error: BaseException) -> str:
    """Return the first line of what *error* says, at most 200 letters."""
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200]


def _last_words(process: "subprocess.Popen[bytes]", deadline: float) -> bytes | None:
    """Return the end of what *process* says until it ends; None if that is not before *deadline*."""
    kept = b""
    with cast("IO[bytes]", process.stderr) as pipe:
        while time.monotonic() < deadline:
            ended = process.poll() is not None
            readable, _, _ = select.select([pipe], [], [], 0 if ended else 0.1)
            part = os.read(pipe.fileno(), 1 << 16) if readable else b""  # no pipe holds more
            kept = (kept + part)[-MOST_WORDS:]
            if ended:
                return kept
            if readable and not part:
                time.sleep(0.1)  # it closed its end and goes on
    return None


def _reason(code: int, said: bytes) -> str:
    if code < 0:
        return f"the process that read it was ended by {signal.Signals(-code).name}"
    lines = said.decode(errors="replace").strip().splitlines() or [f"the process that read it ended with {code}"]
    return one_line(lines[-1])[:MOST_REASON]
