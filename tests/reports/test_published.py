"""The published tables: complete, unchanged, and consistent with themselves where they say they are."""

import hashlib
import re
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from math import comb

import pytest

from dlrm_core.schema.errors import KitError
from reports.published import figures, parse_tables, read_tables, refuse_doubles

TABLES = {table.id: table for table in read_tables()}
TRAIN_ROWS = 4_195_197_692  # days 0 to 22 of Criteo 1TB
GAP = "latency times throughput is off the batch size by more than 5 %"

# Rows and numbers of each table.
COUNTS = {
    "seed-model-size": (2, 2),
    "seed-accuracy-dgx-a100-40gb": (2, 10),
    "seed-accuracy-dgx1-v100-32gb": (2, 10),
    "seed-stability": (17, 34),
    "seed-throughput-dgx-a100-40gb": (2, 6),
    "seed-throughput-dgx1-v100-32gb": (2, 6),
    "seed-throughput-dgx2-v100-32gb": (3, 9),
    "head-model-size": (3, 3),
    "head-memory": (3, 27),
    "head-accuracy-dgx-a100-80gb": (2, 10),
    "head-accuracy-dgx1-v100-32gb": (2, 10),
    "head-stability": (2, 12),
    "head-throughput-dgx-a100-80gb": (2, 6),
    "head-throughput-dgx1-v100-32gb": (2, 6),
    "head-throughput-dgx2-v100-32gb": (3, 9),
    "head-inference-a100-80gb": (15, 120),
    "head-inference-v100-32gb": (15, 120),
    "triton-torchscript-fp16-v100-32gb": (18, 72),
    "triton-torchscript-fp32-v100-32gb": (18, 72),
    "triton-torchscript-fp32-cpu": (18, 72),
    "triton-dynamic-batching-v100-32gb": (15, 15),
    "notebook-training-v100-32gb": (2, 10),
    "notebook-triton-onnx-v100-pcie": (10, 60),
}
# SHA-256 of the printed numbers, as they were compared with the documents: published numbers never change.
DIGESTS = {
    "seed": "74730c9b931c4096b49cd0b20c824a658145287900f63ffa90bd203ff33caab9",
    "head": "a9e95f63a667c7d26b2224d9c12722026c06e81f0b416a5b87945988f2714658",
    "triton": "3544c5f25968d7be191a03122a42915dce774b1c4eb4034f2e01e1bc68839671",
    "notebook": "183546955f1329d7867b23e0bd8d083496a97e2b73c2a7885a2c05219ce5b874",
}


def pick(table, quantity, **wanted):
    """The figures of one quantity by row, further told apart by the facts in `wanted`."""
    found = [f for f in TABLES[table].figures if f.quantity == quantity]
    found = [f for f in found if all(getattr(f, name) == value for name, value in wanted.items())]
    assert len({f.row for f in found}) == len(found)
    return {f.row: f for f in found}


def bounds(figure):
    """Smallest and largest number that rounds to what is printed, in the figure's unit."""
    if ":" in figure.text or "h" in figure.text:
        half = 30 if "h" in figure.text else 0.5
        return figure.value - half, figure.value + half
    scale = {"k": 1e3, "M": 1e6}.get(figure.text[-1], 1.0)
    half = 0.5 * scale * 10.0 ** Decimal(figure.text.rstrip("kM").replace(",", "")).as_tuple().exponent
    return figure.value - half, figure.value + half


def ratio_bounds(above, below):
    """Of two rounded figures."""
    return bounds(above)[0] / bounds(below)[1], bounds(above)[1] / bounds(below)[0]


def test_every_table_and_no_other():
    assert {name: (len(table.rows), len(table.figures)) for name, table in TABLES.items()} == COUNTS
    assert {table.document for table in TABLES.values()} == set(DIGESTS)
    assert read_tables() is read_tables()


def test_ids_are_unique():
    ids = [f.id for f in figures()]
    assert [id_ for id_, count in Counter(ids).items() if count > 1] == []
    assert {"seed-accuracy-dgx-a100-40gb/8/auc/amp", "seed-stability/mean/auc_mean/fp32"} <= set(ids)


@pytest.mark.parametrize("document", DIGESTS)
def test_numbers_are_those_that_were_compared_with_the_document(document):
    texts = [f.text for table in TABLES.values() if table.document == document for f in table.figures]
    assert hashlib.sha256("\n".join(texts).encode()).hexdigest() == DIGESTS[document]


def test_no_digit_is_lost():
    for table in TABLES.values():
        for row, cells in enumerate(table.rows):
            for column, cell in enumerate(cells):
                texts = [f.text for f in table.figures if (f.row, f.column) == (row, column)]
                assert not texts or re.findall(r"\w[\w.,:+]*\w|\w", cell) == texts


def test_values_by_other_means():
    for f in figures():
        digits = (
            f.text.replace(",", "").replace("h", ":").replace("m", ":00") if f.unit == "s" else f.text.replace(",", "")
        )
        if f.text in ("Yes", "NA"):
            wanted = float(f.text == "Yes")
        elif ":" in digits:
            hours, minutes, seconds = map(int, digits.strip(":").split(":"))
            wanted = hours * 3600.0 + minutes * 60 + seconds
        else:
            wanted = float(digits.replace("k", "e3").replace("M", "e6"))
        assert f.value == wanted, f.id


def test_everything_is_cited():
    for table in TABLES.values():
        assert table.commit in table.url
        for f in table.figures:
            assert (f.commit, f.source, f.section) == (table.commit, table.source, table.section)
            assert f.selection
            assert set(table.caveats) <= set(f.caveats)


def test_scope_of_batches():
    for table in TABLES.values():
        for f in table.figures:
            training = f.quantity in ("auc", "time_to_train", "throughput", "speedup") and "inference" not in table.id
            if table.document == "triton" or "notebook-triton" in table.id:
                assert f.batch_scope == "request"
            elif table.document == "seed" and f.batch_label:
                assert f.batch_scope == "global"
                assert f.batch_size == (65536 if f.num_gpus > 1 else 32768)
            elif table.document == "head" and training:
                assert f.batch_scope == "per GPU"
                assert f.batch_size * f.num_gpus == f.global_batch_size == 65536


def test_where_there_is_no_label_no_batch_is_made_up():
    assert {f.batch_size for f in TABLES["seed-stability"].figures} == {None}
    assert {f.batch_size for f in TABLES["head-memory"].figures} == {None}
    assert all("not printed" in " ".join(f.caveats) for f in TABLES["head-stability"].figures if f.batch_size)


@pytest.mark.parametrize("name", [name for name in TABLES if "accuracy" in name or "-throughput-" in name])
def test_printed_speedups_are_the_ratios(name):
    time = "accuracy" in name
    quantity = "time_to_train" if time else "throughput"
    full = "tf32" if "a100" in name else "fp32"
    amp, single, speedups = (
        pick(name, quantity, precision="amp"),
        pick(name, quantity, precision=full),
        pick(name, "speedup"),
    )
    assert list(speedups) == list(range(len(TABLES[name].rows)))
    for row, speedup in speedups.items():
        above, below = (single[row], amp[row]) if time else (amp[row], single[row])
        low, high = ratio_bounds(above, below)
        assert low <= bounds(speedup)[1]
        assert high >= bounds(speedup)[0]
        plain = bounds(speedup)[0] <= above.value / below.value <= bounds(speedup)[1]
        assert plain or any("rounded in its favour" in caveat for caveat in speedup.caveats)
        assert plain != any("rounded in its favour" in caveat for caveat in speedup.caveats)


def mean_of_seeds(table, precision):
    """The mean of a stability table's seeds, to six digits, and the mean that it prints."""
    chosen = [f for f in table.figures if f.precision == precision]
    seeds = [Decimal(f.text) for f in chosen if f.quantity == "auc"]
    (printed,) = (f.text for f in chosen if f.quantity == "auc_mean")
    return f"{sum(seeds) / len(seeds):.6f}", printed


@pytest.mark.parametrize("precision", ["amp", "fp32"])
def test_means_of_the_16_seeds(precision):
    mean, printed = mean_of_seeds(TABLES["seed-stability"], precision)
    assert mean == printed
    assert [f.seed for f in pick("seed-stability", "auc", precision=precision).values()] == list(range(8, 24))
    (figure,) = pick("seed-stability", "auc_mean", precision=precision).values()
    assert (figure.seed, figure.selection) == (None, "mean of the 16 seeds")


def test_a_wrong_digit_of_one_seed_shows_in_the_mean():
    text = (resources.files("reports.published") / "seed.yaml").read_text(encoding="utf-8")
    wrong = {t.id: t for t in parse_tables(text.replace("0.803696", "0.803669", 1), source="seed.yaml")}[
        "seed-stability"
    ]
    mean, printed = mean_of_seeds(wrong, "amp")
    assert mean != printed
    assert mean_of_seeds(wrong, "fp32")[0] == mean_of_seeds(wrong, "fp32")[1]


@pytest.mark.parametrize("name", ["head-inference-a100-80gb", "head-inference-v100-32gb"])
def test_latency_times_throughput_is_the_batch_of_the_inference_benchmark(name):
    pairs = 0
    for precision in {f.precision for f in TABLES[name].figures}:
        for implementation in ("CUDA graphs", "no CUDA graphs"):
            facts = {"precision": precision, "implementation": implementation}
            latencies = pick(name, "latency_mean", **facts)
            for row, throughput in pick(name, "throughput", **facts).items():
                (low, high), (fast, slow) = bounds(throughput), bounds(latencies[row])
                assert low * fast <= throughput.batch_size <= high * slow
                pairs += 1
    assert pairs == 60


@pytest.mark.parametrize("name", [name for name in TABLES if name.startswith("triton-torchscript")])
def test_latency_times_throughput_of_triton_within_5_percent_or_with_a_caveat(name):
    latencies = pick(name, "latency_mean" if name.endswith("cpu") else "latency_p50")
    for row, throughput in pick(name, "throughput").items():
        rows = throughput.value * latencies[row].in_base_unit()[0]
        far = abs(rows / throughput.batch_size - 1) > 0.05
        assert far == (GAP in throughput.caveats) == (GAP in latencies[row].caveats), throughput.id


def test_latency_times_throughput_of_perf_client():
    latencies = pick("notebook-triton-onnx-v100-pcie", "latency_mean")
    for row, throughput in pick("notebook-triton-onnx-v100-pcie", "throughput").items():
        rows = throughput.value * latencies[row].in_base_unit()[0]
        assert rows == pytest.approx(throughput.concurrency * 4096, rel=0.03)


@pytest.mark.parametrize("name", [name for name in TABLES if name.startswith("triton-t") or "notebook-triton" in name])
def test_percentiles_rise(name):
    present = [q for q in ("latency_p50", "latency_p90", "latency_p95", "latency_p99") if pick(name, q)]
    assert len(present) >= 2
    for row in range(len(TABLES[name].rows)):
        values = [pick(name, quantity)[row].value for quantity in present]
        assert values == sorted(values)


@pytest.mark.parametrize(
    ("times", "throughputs"),
    [
        ("seed-accuracy-dgx-a100-40gb", "seed-throughput-dgx-a100-40gb"),
        ("seed-accuracy-dgx1-v100-32gb", "seed-throughput-dgx1-v100-32gb"),
        ("head-accuracy-dgx-a100-80gb", "head-throughput-dgx-a100-80gb"),
        ("head-accuracy-dgx1-v100-32gb", "head-throughput-dgx1-v100-32gb"),
        ("notebook-training-v100-32gb", "notebook-training-v100-32gb"),
    ],
)
def test_one_epoch_takes_as_long_as_its_rows(times, throughputs):
    for precision in {f.precision for f in TABLES[times].figures} - {None}:
        speeds = pick(throughputs, "throughput", precision=precision)
        for row, time in pick(times, "time_to_train", precision=precision).items():
            share = TRAIN_ROWS / speeds[row].value / time.in_base_unit()[0]
            notes = " ".join(time.caveats)
            assert (share > 1) == ("longer than the time printed" in notes), time.id
            assert (share < 0.9) == ("13.6 to 17.0 % longer" in notes), time.id
            assert 0.85 < share < 1.1


def exact_p(n, m, statistic):
    """P(D >= statistic) of two samples of n and m without ties: the share of lattice paths that leave the band."""
    inside = [[0] * (m + 1) for _ in range(n + 1)]
    for i in range(n + 1):
        for j in range(m + 1):
            if abs(Fraction(i, n) - Fraction(j, m)) < statistic:
                before = (inside[i - 1][j] if i else 0) + (inside[i][j - 1] if j else 0)
                inside[i][j] = before if i or j else 1
    return 1 - inside[n][m] / comb(n + m, n)


def test_kolmogorov_smirnov_values_of_the_stability_table():
    statistics, p_values = pick("head-stability", "ks_statistic"), pick("head-stability", "ks_p_value")
    assert (statistics[0].text, p_values[0].text) == ("0.400", f"{exact_p(10, 10, Fraction(4, 10)):.3f}")
    # Samples of 10 and 10 cannot give the second row; of all sizes up to 10 only 9 and 10 give both of its numbers.
    assert all(f"{k / 10:.3f}" != statistics[1].text for k in range(11))
    fitting = [
        (n, m)
        for n in range(2, 11)
        for m in range(n, 11)
        for k in range(1, n * m + 1)
        if f"{k / (n * m):.3f}" == statistics[1].text and f"{exact_p(n, m, Fraction(k, n * m)):.3f}" == p_values[1].text
    ]
    assert fitting == [(9, 10)]
    assert any("9 and 10 runs" in caveat for caveat in statistics[1].caveats)
    assert not any("9 and 10 runs" in caveat for caveat in statistics[0].caveats)


@pytest.mark.parametrize(
    ("prefix", "quantity", "words"),
    [
        ("seed-accuracy", "auc", "global batch"),
        ("seed-throughput", "throughput", "last print window"),
        ("seed-stability", "auc", "April 2020"),
        ("head-throughput", "throughput", "last timed step"),
        ("head-memory", "vram", "units are not printed"),
        ("head-inference", "latency_mean", "does not state the model size"),
        ("head-inference", "throughput", "mean only"),
        ("triton-dynamic", "throughput", "labels of a plot"),
    ],
)
def test_known_caveats_are_on_every_figure(prefix, quantity, words):
    found = [f for f in figures() if f.table.startswith(prefix) and f.quantity == quantity]
    assert found
    assert all(words in " ".join(f.caveats) for f in found)


def test_memory_and_places_grow_with_the_model():
    for quantity in ("vram", "checkpoint_size"):
        values = [f.value for f in pick("head-memory", quantity).values()]
        assert all(a < b for a, b in pairwise(values))
    fits = [f for f in TABLES["head-memory"].figures if f.quantity == "fits"]
    assert [sum(f.value for f in fits if f.row == row) for row in range(3)] == [7, 4, 1]
    assert next(f for f in fits if f.model_size == "xlarge" and f.value).hardware == "DGX A100 (8x A100 80GB)"


SMALL = """
document: head
source: README.md
commit: 729963dd
url: https://example.org/729963dd
tables:
  - id: small
    title: A small table
    section: Results
    columns:
      - {head: GPUs, label: num_gpus}
      - {head: Model, label: model_size}
      - {head: FL, label: frequency_limit}
      - {head: Batch, label: batch}
      - {head: KS, measures: [ks_statistic, ks_p_value], unit: "1", precision: amp, caveats: [of the column]}
    facts: {hardware: DGX-1, precision: fp32, batch_scope: global, selection: none, caveats: [of the table]}
    exceptions:
      - {rows: ["1"], columns: [4], hardware: DGX-2, caveats: [of the row]}
    rows: |
      8 | large | 3  | 64k  | ('0.400', '0.418')
      1 | small | 15 | 2048 | ('0.267', '0.787')
"""


def test_facts_of_the_row_go_before_those_of_column_and_table():
    (table,) = parse_tables(SMALL, source="small.yaml")
    first, _, third, fourth = table.figures
    assert (first.quantity, first.value, fourth.quantity, fourth.value) == ("ks_statistic", 0.4, "ks_p_value", 0.787)
    assert (first.num_gpus, first.model_size, first.batch_size, first.batch_label) == (8, "large", 65536, "64k")
    assert (first.precision, first.hardware, third.hardware, third.batch_size) == ("amp", "DGX-1", "DGX-2", 2048)
    assert third.caveats == ("of the table", "of the column", "of the row")
    assert first.caveats == ("of the table", "of the column")
    assert table.caveats == ("of the table",)
    assert third.id == "small/1/ks_statistic/amp"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("hardware: DGX-1", "hardwear: DGX-1", r"unknown key 'tables.0.facts.hardwear' \(did you mean 'hardware'\?\)"),
        ("label: batch}", "label: bach}", "'bach'"),
        ("8 | large | 3  ", "8 | large ", "row 0 has 4 cells for 5 columns"),
        ("large | 3 ", "large | 15", "'15' under 'FL' contradicts another label"),
        ("large | 3 ", "large | 4 ", "'4' is no frequency_limit"),
        ("8 | large", "8 | larger", "'larger' is no model_size"),
        ("64k ", "64M ", "'64M' is no batch"),
        ("('0.400', '0.418')", "0.400", "holds 1 numbers; ks_statistic, ks_p_value are needed"),
        ("[ks_statistic, ks_p_value]", "[ks_statistic]", "no number as the tables print them"),
        ('rows: ["1"]', 'rows: ["2"]', "an exception names 2"),
        ("columns: [4]", "columns: [3, 5]", "an exception names 3, 5"),
        ("commit: 729963dd", "commit: main", "commit"),
        ("batch_scope: global, ", "", "given together"),
        ("selection: none, ", "", "key 'figures.0.selection' is missing"),
    ],
)
def test_a_wrong_data_file_is_refused(old, new, words):
    assert old in SMALL
    with pytest.raises(KitError, match=re.escape(words) if "\\" not in words else words) as refused:
        parse_tables(SMALL.replace(old, new, 1), source="small.yaml")
    assert "small.yaml" in str(refused.value)


def test_doubles_are_refused():
    refuse_doubles(["a", "b"])
    with pytest.raises(KitError, match="a, c more than once"):
        refuse_doubles(["a", "c", "b", "c", "a"])
