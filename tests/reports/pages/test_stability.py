import re

import numpy as np
import pytest
from scipy.stats import ks_2samp

from dlrm_core.schema.record import Series
from reports.html.svg import drawing
from reports.pages.claim import claim_verdict, minus, paired
from reports.pages.stability import AMP, FULL, published_seeds, stability_page
from reports.pages.stability_figures import precision_impact, seed_histogram
from reports.pages.stability_sweeps import read_sweep
from reports.read.collect import Entry
from reports.stats.equivalence import equivalence
from tests.reports.conftest import Runs


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", "", page, flags=re.S)))


def sweep(runs: Runs, scores: dict[str, dict[int, float]], **fields) -> Entry:
    series = tuple(
        Series(
            name=f"auc, {mode}",
            split="test",
            x_label="seed",
            y_label="ROC AUC",
            x=tuple(map(float, of)),
            y=tuple(of.values()),
        )
        for mode, of in scores.items()
    )
    seeds = sorted({seed for of in scores.values() for seed in of} | set(fields.pop("seeds", [])))
    config = {"preset": "tiny", "seeds": seeds, "modes": list(scores)}
    record = runs.record("sweep", "sweep", "sweep, preset tiny", config=config, series=series, **fields)
    return Entry("sweep", runs.root / "sweep", record)


FP32 = {1: 0.7501, 2: 0.7502, 3: 0.7504, 4: 0.7500, 5: 0.7503}
SAME = {seed: auc + 1e-5 * (seed % 2) for seed, auc in FP32.items()}
WORSE = {seed: auc - 0.01 - 1e-5 * seed for seed, auc in FP32.items()}
WIDE = {1: 0.7561, 2: 0.7442, 3: 0.7544, 4: 0.7450, 5: 0.7553}


def test_the_published_seeds_are_sixteen_pairs():
    scores = published_seeds()
    seeds, full, amp = paired(scores, AMP)
    assert seeds == list(range(8, 24))
    assert (round(np.mean(full), 6), round(np.mean(amp), 6)) == (0.803620, 0.803614)
    assert list(scores) == [FULL, AMP]


def test_what_is_said_of_them():
    page = plain(stability_page([], []))
    for words in (
        *("mean −0.000006", "95 % interval −0.000027 to +0.000016", "n = 16", "p = 6.1e-08"),
        *(
            "statistic 0.1875, exact p = 0.952, n = 16 and 16",
            "0.803696",
            "0.80367 ",
            "No record of dlrm sweep was found",
        ),
        *("What it does not:", "carried over", "TF32, bfloat16 and other data"),
    ):
        assert words in page, words


def test_the_power_that_the_page_gives():
    """Shifts of 0.5 and 1 standard deviations between two sets of 16: found in 19 and 61 of 100."""
    rng = np.random.default_rng(3)
    for shift, share in ((0.5, 0.19), (1.0, 0.61)):
        found = [
            ks_2samp(rng.normal(size=16), rng.normal(shift, 1, 16), method="exact").pvalue < 0.05 for _ in range(400)
        ]
        assert np.mean(found) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 400))
    assert "19 of 100 cases and of a whole one in 61" in plain(stability_page([], []))


def largest_distances(n: int, m: int) -> dict[str, str]:
    """Every statistic that shifted ranks of n and m values have, with its exact p, as printed with three decimals."""
    found = {}
    for shift in (np.arange(2 * n * m) + 0.5) / (2 * n * m):
        test = ks_2samp(np.arange(n) / n, np.arange(m) / m + shift, method="exact")
        found[f"{test.statistic:.3f}"] = f"{test.pvalue:.3f}"
    return found


def test_ten_and_ten_cannot_have_the_second_published_distance_and_nine_and_ten_have_it():
    assert largest_distances(10, 10).get("0.400") == "0.418"
    assert "0.267" not in largest_distances(10, 10)
    assert largest_distances(9, 10).get("0.267") == "0.787"


@pytest.mark.parametrize(("own", "verdict"), [(SAME, "REPRODUCED"), (WORSE, "NOT REPRODUCED"), (WIDE, "WITHIN NOISE")])
def test_the_claim_on_a_sweep_of_ours(runs, own, verdict):
    entry = sweep(runs, {"fp32": FP32, "bf16": own})
    _, reference, other = paired(read_sweep(entry).scores, "bf16")
    assert claim_verdict(equivalence(reference, other, 0.001)) == verdict
    line = re.search(r'<p class="verdict-line">.*?</p>', stability_page([entry], []), flags=re.S)[0]
    assert f">{verdict}</strong>" in line
    assert "n = 5" in plain(line)


def test_scores_stand_by_seed_and_only_common_seeds_are_paired(runs):
    entry = sweep(runs, {"fp32": FP32, "bf16": {seed: SAME[seed] for seed in (2, 3, 4)}})
    seeds, reference, other = paired(read_sweep(entry).scores, "bf16")
    assert seeds == [2, 3, 4]
    assert minus(other, reference) == pytest.approx([0.0, 1e-5, 0.0])
    page = stability_page([entry], [])
    assert re.search(r'<tr><th scope="row">3</th><td[^>]*>0.750400</td><td[^>]*>0.750410</td></tr>', page)
    assert re.search(r'<tr><th scope="row">5</th><td[^>]*>0.750300</td><td[^>]*>–</td></tr>', page)


def test_what_is_missing_shows_with_its_reason(runs):
    choices = {"failed: bf16, seed 2": "loss is nan at step 7", "still to do": "bf16-seed-3, bf16-seed-4"}
    entry = sweep(runs, {"fp32": FP32, "bf16": {1: 0.75}}, status="running", choices=choices)
    page = plain(stability_page([entry], []))
    assert "bf16, seed 2 loss is nan at step 7" in page
    assert "bf16-seed-3 not done: the record of the sweep says running, so that it was killed" in page
    assert "seed-5 not done" not in page
    assert "Fewer than 3 seeds with two precisions: nothing is tested." in page


def test_a_sweep_that_has_nothing_yet(runs):
    choices = {"still to do": "fp32-seed-1"}
    entry = sweep(runs, {"fp32": {}}, status="failed", reason="interrupted by the user", seeds=[1, 2], choices=choices)
    assert "not done: the sweep failed, interrupted by the user" in stability_page([entry], [])


def test_what_was_never_asked_for_is_not_missing(runs):
    """Seeds 4 and 5 were added for the reference alone."""
    entry = sweep(runs, {"fp32": FP32, "bf16": {1: 0.75, 2: 0.75, 3: 0.75}})
    assert read_sweep(entry).missing == ()


def test_figures_say_in_words_what_they_show():
    with drawing():
        histogram = seed_histogram({"fp32": list(FP32.values()), "one": [0.75]}, "as made up")
        tests = {"bf16": equivalence(list(FP32.values()), list(SAME.values()), 0.001)}
        impact = precision_impact(
            {"bf16": list(FP32)}, {"bf16": minus(list(SAME.values()), list(FP32.values()))}, tests, "here"
        )
    assert "fp32: 5 seeds, from 0.750000 to 0.750400" in histogram.alt
    assert len(histogram.rows) == 6
    assert "bf16: mean +0.000006" in impact.alt
    assert [row[1] for row in impact.rows] == ["1", "2", "3", "4", "5"]
