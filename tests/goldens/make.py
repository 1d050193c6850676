"""Ask the reference implementations once and keep what they say: ``python tests/goldens/make.py``.

Needs uv, a connection to the package index and 2 GB in uv's cache; every library runs in an environment of its own,
because they do not install together. Each writes ``LIBRARY.json`` here: versions, inputs and answers, which tests read.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = 20140601
PYTHON = "3.11"
PINNED = {
    "scipy": ("scipy==1.17.1", "numpy==2.4.6"),
    "sklearn": ("scikit-learn==1.9.1", "scipy==1.17.1", "numpy==2.4.6"),
    "evidently": ("evidently==0.7.23", "pandas==2.3.3", "scipy==1.17.1", "numpy==2.4.6"),
    "nannyml": ("nannyml==0.13.1", "pandas==2.3.3", "statsmodels==0.15.0", "scipy==1.17.1", "numpy==2.4.6"),
}
SILENT = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}
ECE_BINS = 15

Golden = dict[str, Any]


def histograms() -> list[tuple[list[int], list[int]]]:
    """Return (reference, recent) counts on the same bins: 2 to 20 bins, alike and unlike, some bins empty."""
    rng = random.Random(SEED)
    cases = []
    for bins, reference_size, recent_size, shift in (
        *((2, 1000, 200, 0.0), (2, 5000, 500, 0.4), (3, 700, 130, 0.2)),
        *((10, 5000, 500, 0.0), (10, 5000, 500, 0.3), (10, 1008, 5000, 1.5), (20, 4000, 150, 0.5), (7, 300, 90, 4.0)),
    ):
        centre = (bins - 1) / 2
        reference = _drawn(rng, bins, reference_size, centre)
        cases.append((reference, _drawn(rng, bins, recent_size, centre + shift)))
    return cases


def judged(labels: int, count: int) -> Golden:
    """Return predictions with calibrated-looking probabilities, and what was true."""
    rng = random.Random(SEED + labels)
    rows = []
    for _ in range(count):
        weights = [rng.gammavariate(0.6, 1) + 0.01 for _ in range(labels)]
        whole = [round(1_000_000 * weight / sum(weights)) for weight in weights]
        whole[-1] += 1_000_000 - sum(whole)
        predicted = max(range(labels), key=whole.__getitem__)
        if rng.random() < 0.1:  # a threshold, or a rule after the model, may choose another label than the likeliest
            predicted = rng.randrange(labels)
        true = rng.choices(range(labels), whole)[0] if rng.random() < 0.8 else rng.randrange(labels)
        rows.append({"micro": whole, "predicted": predicted, "true": true})
    return {"labels": labels, "rows": rows}


def ask_scipy() -> Golden:
    """Distances and tests on histograms, quantiles of chi-squared, Wilson's interval."""
    from scipy import integrate, stats  # noqa: PLC0415
    from scipy.spatial.distance import jensenshannon, mahalanobis  # noqa: PLC0415

    def bin_scores(counts: list[int]) -> Golden:
        total = sum(_smooth(counts))
        shares = [count / total for count in _smooth(counts)]
        ends = [sum(shares[: place + 1]) for place in range(len(shares))]
        spans = [(end - share, min(end, 1.0)) for end, share in zip(ends, shares, strict=True)]
        return {
            "counts": counts,
            "normal": [float(stats.norm.ppf((low + high) / 2)) for low, high in spans],
            "exponential": [
                float(integrate.quad(stats.expon.ppf, low, high, epsabs=1e-13)[0]) / (high - low) for low, high in spans
            ],
        }

    def moved(sums: list[int], count: int, inflations: list[float], reference: int) -> Golden:
        inverse = [
            [count / (inflation + count / reference) if row == column else 0.0 for column in range(len(sums))]
            for row, inflation in enumerate(inflations)
        ]
        mean = [each / count for each in sums]
        found = float(mahalanobis(mean, [0.0] * len(sums), inverse)) ** 2
        return {"sums": sums, "count": count, "inflations": inflations, "reference": reference, "distance": found}

    def distances(reference: list[int], recent: list[int]) -> Golden:
        bins = list(range(len(reference)))
        expected = [count * sum(recent) / sum(reference) for count in reference]
        found: Golden = {
            "reference": reference,
            "recent": recent,
            "psi_half_entry": float(
                stats.entropy(_smooth(reference), _smooth(recent)) + stats.entropy(_smooth(recent), _smooth(reference))
            ),
            "js_half_entry": float(jensenshannon(_smooth(reference), _smooth(recent))),
            "wasserstein_bins": float(stats.wasserstein_distance(bins, bins, reference, recent)),
            "ks_distance": float(stats.ks_2samp(_rows(reference), _rows(recent), method="asymp").statistic),
        }
        if all(expected):
            test = stats.chisquare(recent, expected)
            found["chi2_reference_exact"] = {"statistic": float(test.statistic), "p": float(test.pvalue)}
        if all(a + b for a, b in zip(reference, recent, strict=True)):
            both = stats.chi2_contingency([reference, recent], correction=False)
            found["chi2_two_samples"] = {"statistic": float(both.statistic), "p": float(both.pvalue)}
        return found

    points = [(0.5, 1), (3.84, 1), (20.0, 9), (0.01, 4), (60.0, 19), (140.0, 30), (5.0, 60)]
    levels = [(0.95, 1), (0.999, 9), (0.9995, 9), (0.5, 19), (0.999999, 4), (0.001, 30)]
    shares = [(0, 10), (1, 1), (80, 100), (412, 500), (3, 2000), (50, 50), (9_999, 12_345)]
    return {
        "histograms": [distances(*case) for case in histograms()],
        "bin_scores": [bin_scores(reference) for reference, _ in histograms()],
        "moved": [
            moved([3, -20, 41], 16, [1.0, 1.0, 1.0], 5000),
            moved([120, 7, -390, 55, 0, 9, -61, 800], 512, [1.0, 2.5, 1.0, 4.0, 1.0, 1.0, 9.0, 1.0], 1008),
        ],
        "chi2_survival": [[x, freedom, float(stats.chi2.sf(x, freedom))] for x, freedom in points],
        "chi2_quantile": [[p, freedom, float(stats.chi2.ppf(p, freedom))] for p, freedom in levels],
        "wilson": [
            [correct, count, level, *map(float, stats.binomtest(correct, count).proportion_ci(level, method="wilson"))]
            for correct, count in shares
            for level in (0.95, 0.999)
        ],
        "kolmogorov_survival": [[x, float(stats.kstwobign.sf(x))] for x in (0.3, 0.5, 0.8, 1.0, 1.36, 1.95, 3.0)],
    }


def ask_sklearn() -> Golden:
    """Scores of a confusion matrix."""
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support  # noqa: PLC0415

    def scores(case: Golden) -> Golden:
        true, predicted = ([row[name] for row in case["rows"]] for name in ("true", "predicted"))
        precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, labels=range(case["labels"]))
        return {
            "confusion": confusion_matrix(true, predicted, labels=range(case["labels"])).tolist(),
            "accuracy": float(accuracy_score(true, predicted)),
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "f1": f1.tolist(),
            "f1_macro": float(f1_score(true, predicted, average="macro")),
        }

    return {"scores": [scores(judged(labels, 300)) for labels in (2, 3, 8)]}


def ask_evidently() -> Golden:
    """Evidently's drift scores on bin numbers as categories, or as whole numbers."""
    import pandas as pd  # noqa: PLC0415
    from evidently.legacy.calculations.stattests import (  # noqa: PLC0415
        chi_stat_test,
        jensenshannon_stat_test,
        psi_stat_test,
        wasserstein_stat_test,
    )

    def asked(test: Any, reference: list[int], recent: list[int], kind: str = "cat") -> float:
        return float(test(pd.Series(_rows(reference)), pd.Series(_rows(recent)), kind, 0.1).drift_score)

    return {
        "histograms": [
            {
                "reference": reference,
                "recent": recent,
                "psi_half_entry": asked(psi_stat_test, _smooth(reference), _smooth(recent)),
                "js_half_entry": asked(jensenshannon_stat_test, _smooth(reference), _smooth(recent)),
                "wasserstein_over_deviation": asked(wasserstein_stat_test, reference, recent, "num"),
                "chi2_reference_exact_p": asked(chi_stat_test, reference, recent) if all(reference) else None,
            }
            for reference, recent in histograms()
        ]
    }


def ask_nannyml() -> Golden:
    """NannyML's estimates without labels, its calibration error on equal-width bins, statsmodels' Wilson interval."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    from nannyml._typing import ProblemType  # noqa: PLC0415
    from nannyml.calibration import _calculate_expected_calibration_error as ece_of  # noqa: PLC0415
    from nannyml.chunk import SizeBasedChunker  # noqa: PLC0415
    from nannyml.performance_estimation.confidence_based import metrics  # noqa: PLC0415
    from nannyml.thresholds import StandardDeviationThreshold  # noqa: PLC0415
    from statsmodels.stats.proportion import proportion_confint  # noqa: PLC0415

    def estimates(case: Golden) -> Golden:
        shares = np.array([row["micro"] for row in case["rows"]]) / 1_000_000
        predicted = np.array([row["predicted"] for row in case["rows"]])
        if case["labels"] == 2:
            accuracy, f1 = (ask(predicted, shares[:, 1]) for ask in (metrics.estimate_accuracy, metrics.estimate_f1))
            return {**case, "accuracy": float(accuracy), "f1_of_label_1": float(f1)}
        columns = {label: f"p{label}" for label in range(case["labels"])}
        frame = pd.DataFrame(shares, columns=list(columns.values())).assign(predicted=predicted)
        found = {}
        for name, kept in (("accuracy", "accuracy"), ("f1", "f1_macro")):
            metric = metrics.MetricFactory.create(
                name,
                ProblemType.CLASSIFICATION_MULTICLASS,
                y_pred_proba=columns,
                y_pred="predicted",
                y_true="true",
                chunker=SizeBasedChunker(chunk_size=100),
                threshold=StandardDeviationThreshold(),
            )
            found[kept] = float(metric._estimate(frame))
        return {**case, **found}

    def calibration(case: Golden) -> Golden:
        rows = [(row["micro"][row["predicted"]], row["predicted"] == row["true"]) for row in case["rows"]]
        rows.sort()
        places = [min(micro * ECE_BINS // 1_000_000, ECE_BINS - 1) for micro, _ in rows]
        starts = [place for place in range(len(rows)) if place == 0 or places[place] != places[place - 1]]
        edges = list(zip(starts, [*starts[1:], len(rows)], strict=True))
        right = np.array([hit for _, hit in rows], dtype=float)
        error = ece_of(right, np.array([micro for micro, _ in rows]) / 1_000_000, edges)
        return {"micro": [micro for micro, _ in rows], "right": [bool(hit) for _, hit in rows], "error": float(error)}

    cases = [judged(labels, 200) for labels in (2, 3, 8)]
    shares = [(0, 10), (80, 100), (412, 500), (9_999, 12_345)]
    return {
        "estimates": [estimates(case) for case in cases],
        "calibration_error": [calibration(case) for case in cases],
        "wilson": [
            [correct, count, level, *map(float, proportion_confint(correct, count, 1 - level, method="wilson"))]
            for correct, count in shares
            for level in (0.95, 0.999)
        ],
    }


ASK: dict[str, Callable[[], Golden]] = {
    "scipy": ask_scipy,
    "sklearn": ask_sklearn,
    "evidently": ask_evidently,
    "nannyml": ask_nannyml,
}


def main(names: list[str]) -> None:
    """Ask one library here, where it is installed, or each of them in an environment of its own."""
    if names:
        for name in names:
            packages = [pinned.partition("==")[0] for pinned in PINNED[name]]
            stamp = {"python": sys.version.split()[0], **{package: version(package) for package in packages}}
            content = {"made_by": "tests/goldens/make.py", "seed": SEED, "versions": stamp, **ASK[name]()}
            (HERE / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
        return
    for name, pinned in PINNED.items():
        wanted = [part for package in pinned for part in ("--with", package)]
        command = ["uv", "run", "--isolated", "--no-project", "--python", PYTHON, *wanted, "python", __file__, name]
        subprocess.run(command, env=os.environ | SILENT, check=True)
        print(f"{name}: done")


def _drawn(rng: random.Random, bins: int, count: int, centre: float) -> list[int]:
    counts = [0] * bins
    for _ in range(count):
        counts[min(max(round(rng.gauss(centre, bins / 4)), 0), bins - 1)] += 1
    return counts


def _smooth(counts: list[int]) -> list[int]:
    """Return whole counts in the ratio of each count plus one half."""
    return [2 * count + 1 for count in counts]


def _rows(counts: list[int]) -> list[int]:
    return [place for place, count in enumerate(counts) for _ in range(count)]


if __name__ == "__main__":
    main(sys.argv[1:])
