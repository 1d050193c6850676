"""The monitor's formulas against what the reference implementations said; `make.py` asked them."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.scores import score
from monitor.accuracy import BINS, Z_95, calibration_error, confidence_bin, macro, scores, wilson
from monitor.detectors import Z_999
from monitor.drift import chi2_quantile, chi2_survival, js, ks, psi, wasserstein
from monitor.estimate import Estimate
from monitor.run_length import CLIP, SCALE, ordinal_scores, tail_scores
from monitor.scan import Yardstick

HERE = Path(__file__).parent
EXACT = 1e-9
LIBRARIES = ("scipy", "sklearn", "evidently", "nannyml")
Z_OF = {0.95: Z_95, 0.999: Z_999}


def golden(library: str) -> dict[str, Any]:
    return json.loads((HERE / f"{library}.json").read_text())


def near(value: float) -> Any:
    return pytest.approx(value, rel=EXACT, abs=EXACT)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_golden_file_says_who_made_it_with_the_versions_the_script_pins(library: str) -> None:
    made, script = golden(library), runpy.run_path(str(HERE / "make.py"))
    assert made["made_by"] == "tests/goldens/make.py"
    pinned = dict(package.split("==") for package in script["PINNED"][library])
    assert {name: made["versions"][name] for name in pinned} == pinned


@pytest.mark.parametrize("library", ["scipy", "evidently"])
def test_the_inputs_in_the_files_are_those_the_script_makes(library: str) -> None:
    made = runpy.run_path(str(HERE / "make.py"))["histograms"]()
    assert [(case["reference"], case["recent"]) for case in golden(library)["histograms"]] == made


@pytest.mark.parametrize("library", ["scipy", "evidently"])
def test_psi_is_theirs_once_half_an_entry_was_added_to_every_bin(library: str) -> None:
    for case in golden(library)["histograms"]:
        assert psi(np.array(case["reference"]), np.array(case["recent"])) == near(case["psi_half_entry"])


@pytest.mark.parametrize("library", ["scipy", "evidently"])
def test_the_jensen_shannon_distance_is_theirs_once_half_an_entry_was_added_to_every_bin(library: str) -> None:
    for case in golden(library)["histograms"]:
        assert js(np.array(case["reference"]), np.array(case["recent"])) == near(case["js_half_entry"])


def test_bin_scores_are_scipys_standardised_and_in_whole_sixteenths() -> None:
    for case in golden("scipy")["bin_scores"]:
        counts = np.array(case["counts"])
        shares = (counts + 0.5) / (counts + 0.5).sum()
        for ours, name in ((ordinal_scores, "normal"), (tail_scores, "exponential")):
            theirs = np.array(case[name]) - np.array(case[name]) @ shares
            theirs = np.clip(theirs / np.sqrt(theirs**2 @ shares), -CLIP, CLIP) * SCALE
            assert np.abs(ours(counts) - theirs).max() <= 0.5 + EXACT


def test_the_squared_distance_of_a_moved_mean_is_scipys() -> None:
    for case in golden("scipy")["moved"]:
        numbers = len(case["sums"])
        yardstick = Yardstick.of(case["reference"], 1e6, np.array(case["inflations"]), np.zeros(numbers))
        sums = np.array(case["sums"]) * SCALE
        assert float(yardstick.distance(sums, case["count"])) == near(case["distance"])


def test_kolmogorov_smirnov_and_wasserstein_distances_of_bin_numbers_are_scipys() -> None:
    for case in golden("scipy")["histograms"]:
        reference, recent = np.array(case["reference"]), np.array(case["recent"])
        assert ks(reference, recent) == near(case["ks_distance"])
        assert wasserstein(reference, recent) == near(case["wasserstein_bins"])


def test_the_wasserstein_distance_is_evidentlys_times_the_deviation_of_the_reference() -> None:
    for case in golden("evidently")["histograms"]:
        reference = np.array(case["reference"])
        deviation = np.repeat(np.arange(len(reference)), reference).std()
        found = wasserstein(reference, np.array(case["recent"]))
        assert found / deviation == near(case["wasserstein_over_deviation"])


def test_chi_squared_gives_the_p_values_of_scipy_and_evidently() -> None:
    for ours, theirs in zip(golden("scipy")["histograms"], golden("evidently")["histograms"], strict=True):
        if test := ours.get("chi2_reference_exact"):
            p = chi2_survival(test["statistic"], len(ours["reference"]) - 1)
            assert p == pytest.approx(test["p"], rel=EXACT)
            assert p == near(theirs["chi2_reference_exact_p"])


def test_the_accuracy_estimated_without_labels_is_nannymls_for_two_and_for_more_labels() -> None:
    cases = golden("nannyml")["estimates"]
    assert [case["labels"] for case in cases] == [2, 3, 8]
    for case in cases:
        expected = sum(row["micro"][row["predicted"]] for row in case["rows"])
        assert Estimate.of(len(case["rows"]), expected, 0).ratio == near(case["accuracy"])


def test_chi_squared_has_scipys_tail_and_quantiles() -> None:
    for x, freedom, expected in golden("scipy")["chi2_survival"]:
        assert chi2_survival(x, freedom) == pytest.approx(expected, rel=EXACT)
    for probability, freedom, expected in golden("scipy")["chi2_quantile"]:
        assert chi2_quantile(probability, freedom) == near(expected)


@pytest.mark.parametrize("library", ["scipy", "nannyml"])
def test_wilsons_interval_is_scipys_and_statsmodels(library: str) -> None:
    for correct, count, level, lower, upper in golden(library)["wilson"]:
        found = wilson(correct, count, Z_OF[level])
        assert (found.lower, found.upper) == (near(lower), near(upper))
        assert found.point == near(correct / count)


def test_precision_recall_and_f1_are_sklearns() -> None:
    for case in golden("sklearn")["scores"]:
        labels = [f"label {number}" for number in range(len(case["confusion"]))]
        confusion = {
            labels[true]: {labels[predicted]: count for predicted, count in enumerate(row)}
            for true, row in enumerate(case["confusion"])
        }
        found = scores(confusion)
        for name in ("precision", "recall", "f1"):
            assert [found[label][name] for label in labels] == [near(value) for value in case[name]]
        assert macro(found)["f1"] == near(case["f1_macro"])


def test_just_evaluate_scores_as_sklearn_does() -> None:
    for case in golden("sklearn")["scores"]:
        labels = [f"label {number}" for number in range(len(case["confusion"]))]
        pairs = [
            (labels[true], labels[predicted])
            for true, row in enumerate(case["confusion"])
            for predicted, count in enumerate(row)
            for _ in range(count)
        ]
        found = score(pairs, labels)
        assert found.accuracy == near(case["accuracy"])
        assert found.f1_macro == near(case["f1_macro"])


def test_the_calibration_error_is_nannymls_on_the_same_bins() -> None:
    for case in golden("nannyml")["calibration_error"]:
        counts, micros, right = [0] * BINS, [0] * BINS, [0] * BINS
        for micro, hit in zip(case["micro"], case["right"], strict=True):
            place = confidence_bin(micro)
            counts[place] += 1
            micros[place] += micro
            right[place] += hit
        assert calibration_error(counts, micros, right) == near(case["error"])
