"""Everything the archiver counts and measures, declared once. Labels come from closed sets, never from an entry.

How far its group is behind is among the monitor's metrics, as for every group: observa_stream_lag_entries and
observa_stream_oldest_seconds with group="archive".
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, that nothing reads
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

ROWS = Counter("observa_archive_rows", "Entries written to files.", ["model", "kind"], registry=REGISTRY)
FILES = Counter("observa_archive_files", "Files written.", ["model", "kind"], registry=REGISTRY)
BYTES = Counter("observa_archive_bytes", "Bytes of the files written.", ["model", "kind"], registry=REGISTRY)
FAILURES = Counter(
    "observa_archive_failures",
    "Steps that failed and are tried again: disk_full, storage, redis or key.",
    ["model", "reason"],
    registry=REGISTRY,
)
BLOCKED = Gauge(
    "observa_archive_blocked", "1 while a file cannot be written, and nothing is read.", ["model"], registry=REGISTRY
)
LAG = Gauge(
    "observa_archive_lag_seconds", "Age of the oldest entry read and not in a file yet.", ["model"], registry=REGISTRY
)
BEHIND = Gauge(
    "observa_archive_behind_entries", "Entries on the log that were not read yet.", ["model", "kind"], registry=REGISTRY
)
HELD = Gauge("observa_archive_held_bytes", "Entries read and not in a file yet.", registry=REGISTRY)
OTHER_LOGS = Counter(
    "observa_archive_other_logs",
    "How often the log was lost, and the archive went on with another.",
    ["model"],
    registry=REGISTRY,
)
JOINED = Counter("observa_archive_joined_files", "Small files that became a larger one.", ["model"], registry=REGISTRY)
DROPPED = Counter(
    "observa_archive_dropped_hours", "Hours deleted because their time was over.", ["model"], registry=REGISTRY
)
