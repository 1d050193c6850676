"""Whether requests are traced. Nothing of OpenTelemetry is imported before somebody asks for spans."""

import os
import re
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

from broker.errors import SettingsError

if TYPE_CHECKING:
    from broker.spans import Spans

TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context, version 00


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace that *traceparent* belongs to; None where it is none, as in an entry written by hand."""
    found = TRACEPARENT.fullmatch(traceparent or "")
    return found[1] if found else None


def start_tracing(service: str, outcomes: Counter) -> "Spans | None":
    """Return what makes the spans of *service*, or None unless the standard OTEL_ variables ask for them.

    *outcomes* counts spans by its one label: exported, refused by the collector, dropped because too many wait.

    Raises:
        SettingsError: they ask for what is not there.

    """
    if not _wanted():
        return None
    try:
        from broker.spans import Spans  # noqa: PLC0415 - 60 ms and 12 MB that only who traces should pay
    except ImportError as error:
        raise SettingsError(
            f"the OTEL_ variables ask for spans, and {error.name} is not installed; "
            f"install requirements/{service}.txt again, or set OTEL_SDK_DISABLED=true"
        ) from error
    try:
        return Spans(service, outcomes)
    except ValueError as error:
        raise SettingsError(f"the OTEL_ variables contradict each other: {error}") from error


def _wanted() -> bool:
    if _variable("SDK_DISABLED") == "true":
        return False
    exporter = _variable("TRACES_EXPORTER")
    if exporter not in {"", "none", "otlp"}:
        raise SettingsError(f"OTEL_TRACES_EXPORTER={exporter}: spans are sent by otlp only; set otlp, or none")
    named = _variable("EXPORTER_OTLP_TRACES_ENDPOINT") or _variable("EXPORTER_OTLP_ENDPOINT")
    if exporter == "none" or not (exporter or named):
        return False
    protocol = _variable("EXPORTER_OTLP_TRACES_PROTOCOL") or _variable("EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if protocol != "http/protobuf":
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: spans are sent over http/protobuf only, "
            "which collectors take at port 4318"
        )
    return True


def _variable(name: str) -> str:
    return os.environ.get(f"OTEL_{name}", "").strip().lower()
