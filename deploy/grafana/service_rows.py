"""The rows of the service: status and traffic."""

from typing import Final

from deploy.grafana.panels import MODEL, RATE, Panel, Query, quantiles, rate, window

STATUS: Final = (
    Panel(
        "Alerts firing",
        "Of Prometheus, which owns paging.",
        "short",
        (Query('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts"),),
        "stat",
        4,
        bad_above=1,
    ),
    Panel(
        "Workers",
        "Workers that Prometheus reaches.",
        "short",
        (Query('sum(up{job="observa-worker"})', "workers"),),
        "stat",
        4,
        bad_below=1,
    ),
    Panel(
        "Accuracy, 1 h",
        "Share of right answers among the labelled ones of the last hour.",
        "percentunit",
        (Query(window("observa_accuracy_ratio", "1h", ', bound="point"'), "{{model}} {{version}}"),),
        "stat",
        4,
    ),
    Panel(
        "Labels, 1 h",
        "Labelled predictions behind the accuracy; below 200 it says little.",
        "short",
        (Query(window("observa_accuracy_samples", "1h"), "{{model}} {{version}}"),),
        "stat",
        4,
    ),
    Panel(
        "Oldest request",
        "Age of the oldest request that is not finished.",
        "s",
        (Query(f'observa_stream_oldest_seconds{{{MODEL}, stream="requests", group="workers"}}', "{{model}}"),),
        "stat",
        4,
        bad_above=30,
    ),
    Panel(
        "Monitor behind",
        "Since the monitor last knew all of the log.",
        "s",
        (Query(f"observa_monitor_lag_seconds{{{MODEL}}}", "{{model}}"),),
        "stat",
        4,
        bad_above=60,
    ),
    Panel(
        "What fires",
        "Alerts pending and firing; the runbooks are in docs/runbooks.",
        "short",
        (Query("ALERTS", ""),),
        "table",
        12,
    ),
    Panel(
        "The monitor's alarms",
        "1 while a detector's alarm is on; begin, end and evidence are in the stream alerts.",
        "short",
        (Query(f"observa_alarm_active{{{MODEL}}}", "{{model}} {{feature}} {{detector}}"),),
        width=12,
    ),
)

TRAFFIC: Final = (
    Panel(
        "Requests",
        "HTTP requests by status.",
        "reqps",
        (Query(rate("observa_requests_total", "status"), "{{status}}"),),
    ),
    Panel(
        "Latency",
        "From the complete request to the answer; the objective is 99 % within 0.5 s.",
        "s",
        quantiles("observa_request_duration_seconds"),
        bad_above=0.5,
    ),
    Panel(
        "Burn of the error budget",
        "1 uses the budget (0.1 % of the requests) up in 30 days; 14.4 pages.",
        "short",
        tuple(
            Query(f"model:observa_request_errors:ratio_rate{w}{{{MODEL}}} / 0.001", f"{{{{model}}}} {w}")
            for w in ("5m", "1h", "6h")
        ),
        bad_above=14.4,
    ),
    Panel(
        "Burn of the latency budget",
        "1 uses the budget (1 % of the requests above 0.5 s) up in 30 days; 14.4 pages.",
        "short",
        tuple(
            Query(f"model:observa_request_slow:ratio_rate{w}{{{MODEL}}} / 0.01", f"{{{{model}}}} {w}")
            for w in ("5m", "1h", "6h")
        ),
        bad_above=14.4,
    ),
    Panel("Waiting in the log", "Queue wait; more workers shorten it.", "s", quantiles("observa_queue_wait_seconds")),
    Panel("Inference", "Of a whole batch.", "s", quantiles("observa_inference_duration_seconds")),
    Panel(
        "Texts a batch",
        "Batches are as large as the backlog.",
        "short",
        (Query(f"{rate('observa_batch_size_sum', 'model')} / {rate('observa_batch_size_count', 'model')}", "mean"),),
    ),
    Panel(
        "Backlog",
        "Entries not given to a reader yet, and given but not finished.",
        "short",
        (
            Query(f"observa_stream_lag_entries{{{MODEL}}}", "{{stream}} {{group}} lag"),
            Query(f"observa_stream_pending_entries{{{MODEL}}}", "{{stream}} {{group}} pending"),
        ),
    ),
    Panel(
        "Trouble",
        "Dead letters, entries taken over from dead workers, failed reads, failed calls to Redis.",
        "short",
        (
            Query(rate("observa_dead_letters_total", "reason"), "dead {{reason}}"),
            Query(rate("observa_redeliveries_total", "model"), "taken over"),
            Query(rate("observa_worker_read_failures_total", "kind"), "worker {{kind}}"),
            Query(f"sum by (duty) (rate(observa_gateway_broker_failures_total{RATE}))", "gateway {{duty}}"),
        ),
    ),
)
