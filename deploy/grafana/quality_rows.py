"""The rows of the model and of the monitor: inputs, predictions, quality, the monitor itself."""

from typing import Final

from deploy.grafana.panels import MODEL, Panel, Query, rate, window

INPUTS: Final = (
    Panel(
        "Drift of the last hour",
        "PSI divided by what chance alone explains: above 1 the texts differ from the reference.",
        "short",
        (
            Query(
                'max by (model, feature) (model:observa_drift:ratio_to_threshold{model=~"$model", method="psi", '
                'window="1h", feature!~"predicted_label|confidence|entropy"})',
                "{{model}} {{feature}}",
            ),
        ),
        width=12,
        bad_above=1,
    ),
    Panel(
        "Sequential detectors",
        "CUSUM, e-detector, scan of the embedding: the highest divided by its threshold; an alarm begins at 1.",
        "short",
        (
            Query(
                "max by (model, feature) (model:observa_drift:ratio_to_threshold"
                f'{{{MODEL}, method=~"cusum|e-sr|scan|service"}})',
                "{{model}} {{feature}}",
            ),
        ),
        width=12,
        bad_above=1,
    ),
    Panel(
        "PSI by window",
        "The score itself, five minutes and a day.",
        "short",
        (
            Query(window("observa_drift_score", "5m", ', method="psi"'), "{{feature}} 5m"),
            Query(window("observa_drift_score", "24h", ', method="psi"'), "{{feature}} 24h"),
        ),
        width=12,
    ),
    Panel(
        "PSI that chance explains",
        "The threshold falls as texts come in.",
        "short",
        (Query(window("observa_drift_threshold", "1h", ', method="psi"'), "{{feature}}"),),
        width=12,
    ),
)

PREDICTIONS: Final = (
    Panel(
        "Predictions by label",
        "Live ones, by every worker together.",
        "short",
        (Query(rate("observa_results_total", "model, label", ', role="live", status="ok"'), "{{model}} {{label}}"),),
    ),
    Panel(
        "Results by status",
        "An error has a code in its entry: `just log`.",
        "short",
        (Query(rate("observa_results_total", "role, status"), "{{role}} {{status}}"),),
    ),
    Panel(
        "Predictions by version",
        "A promotion or a canary shows here.",
        "short",
        (Query(rate("observa_monitored_results_total", "model, version, role"), "{{model}} {{version}} {{role}}"),),
    ),
    Panel(
        "Errors, abstentions, truncated texts, 1 h",
        "Share of the answers.",
        "percentunit",
        (Query(window("observa_answers_ratio", "1h"), "{{model}} {{kind}}"),),
        width=12,
    ),
    Panel(
        "Drift of label and confidence",
        "PSI divided by what chance alone explains.",
        "short",
        (
            Query(
                'max by (model, feature) (model:observa_drift:ratio_to_threshold{model=~"$model", method="psi", '
                'window="1h", feature=~"predicted_label|confidence|entropy"})',
                "{{model}} {{feature}}",
            ),
        ),
        width=12,
        bad_above=1,
    ),
)

QUALITY: Final = (
    Panel(
        "Accuracy of the last hour",
        "With its 95 % Wilson bounds; AccuracyBelowTarget pages when the upper one is below the target.",
        "percentunit",
        (
            Query(window("observa_accuracy_ratio", "1h"), "{{model}} {{version}} {{bound}}"),
            Query(f"observa_accuracy_target_ratio{{{MODEL}}}", "{{model}} {{version}} target"),
        ),
        width=12,
        most=1,
    ),
    Panel(
        "F1 by label, 1 h",
        "A label that is never right shows here before it shows in the accuracy.",
        "percentunit",
        (Query(window("observa_f1_ratio", "1h"), "{{model}} {{label}}"),),
        width=12,
        most=1,
    ),
    Panel(
        "Precision and recall, 24 h",
        "By label.",
        "percentunit",
        (
            Query(window("observa_precision_ratio", "24h"), "precision {{label}}"),
            Query(window("observa_recall_ratio", "24h"), "recall {{label}}"),
        ),
        most=1,
    ),
    Panel(
        "Calibration error, 24 h",
        "Mean distance of confidence and accuracy.",
        "percentunit",
        (Query(window("observa_calibration_error_ratio", "24h"), "{{model}} {{version}}"),),
        bad_above=0.1,
    ),
    Panel(
        "Label coverage",
        "Labelled share of the answers, and the share of a day's labels that have come, by their delays so far.",
        "percentunit",
        (
            Query(window("observa_label_coverage_ratio", "24h"), "{{model}} {{version}}"),
            Query(window("observa_label_maturity_ratio", "24h"), "{{model}} maturity"),
        ),
    ),
    Panel(
        "Accuracy estimated without labels, 1 h",
        "From calibrated confidence, if only the texts change. The error is its distance from labels that came.",
        "percentunit",
        (
            Query(window("observa_estimated_accuracy_ratio", "1h"), "{{model}} {{version}} estimated"),
            Query(window("observa_estimated_accuracy_error_ratio", "1h"), "{{model}} {{version}} error"),
        ),
        width=12,
        most=1,
    ),
    Panel(
        "Accuracy by slice, 24 h",
        "By the tags of the requests.",
        "percentunit",
        (Query(f'observa_slice_accuracy_ratio{{{MODEL}, bound="point"}}', "{{model}} {{slice}}"),),
        width=12,
        most=1,
    ),
    Panel(
        "Labels by outcome",
        "What became of each label, where it was sent to and where it was counted.",
        "short",
        (
            Query(rate("observa_feedback_total", "outcome"), "counted {{outcome}}"),
            Query(rate("observa_gateway_feedback_total", "outcome"), "sent {{outcome}}"),
        ),
        width=12,
    ),
    Panel(
        "Delay of labels",
        "From a prediction to its label.",
        "s",
        (Query(rate("observa_feedback_delay_seconds_bucket", "le"), "{{le}}"),),
        "heatmap",
        12,
    ),
)

MONITOR: Final = (
    Panel(
        "Behind",
        "Since it last knew all of the log; MonitorBlind pages above 60 s.",
        "s",
        (Query(f"observa_monitor_lag_seconds{{{MODEL}}}", "{{model}}"),),
        bad_above=60,
    ),
    Panel(
        "Age of the snapshot",
        "State, position and alarms are stored together.",
        "s",
        (Query(f"observa_snapshot_age_seconds{{{MODEL}}}", "{{model}}"),),
    ),
    Panel(
        "Entries read",
        "Results counted a second.",
        "short",
        (Query(rate("observa_monitored_results_total", "model"), "{{model}}"),),
    ),
    Panel(
        "Entries that were lost to a reader",
        "Trimmed before they were read.",
        "short",
        (Query(f"observa_log_gap_entries_total{{{MODEL}}}", "{{model}} {{stream}} {{group}}"),),
    ),
    Panel(
        "Unreadable entries",
        "Of a newer schema, or no events at all.",
        "short",
        (Query(f"observa_unreadable_entries_total{{{MODEL}}}", "{{stream}} {{reason}}"),),
    ),
    Panel(
        "Failed measurements",
        "The old value stays.",
        "short",
        (Query(f"observa_measurement_failures_total{{{MODEL}}}", "{{measurement}}"),),
    ),
)
