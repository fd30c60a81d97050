"""The Spark engine: PySpark 3.5 on one machine or a cluster, in SQL alone, so that no Python runs on the workers.

Input, output and the work folder lie where every worker reaches them under the same path. Java's regular expression checks
the format; the fault that is told is found again by :func:`data_prep.raw.find_fault`, which decides.

RAPIDS Accelerator
------------------
`conf` goes to Spark as it is, so the accelerator needs settings alone::

    spark.jars                                 rapids-4-spark_2.12-VERSION.jar, the same as --jars; sent to the workers
    spark.plugins                              com.nvidia.spark.SQLPlugin
    spark.rapids.sql.enabled                   true (its default)
    spark.rapids.sql.explain                   NOT_ON_GPU (its default), which names what stays on the CPU
    spark.rapids.sql.concurrentGpuTasks        2
    spark.rapids.memory.pinnedPool.size        2G
    spark.executor.resource.gpu.amount         1, not more; on a cluster only
    spark.task.resource.gpu.amount             1 / cores of an executor; on a cluster only
    spark.executor.resource.gpu.discoveryScript  getGpusResources.sh; on YARN and Kubernetes only

The workers of a standalone cluster find their GPUs by options of their own, given when they are started and not here:
``SPARK_WORKER_OPTS="-Dspark.worker.resource.gpu.amount=N -Dspark.worker.resource.gpu.discoveryScript=FILE"``.

Names and values are those of NVIDIA's pages, compared in November 2026 in stored copies: configuration,
https://docs.nvidia.com/spark-rapids/user-guide/latest/configs.html; scheduling of GPUs,
https://docs.nvidia.com/spark-rapids/user-guide/latest/getting-started/overview.html; standalone cluster and local mode,
https://github.com/NVIDIA/spark-rapids/blob/827c5bc97e4a07fc3feeb3fcc4038406577f4e21/docs/get-started/getting-started-on-prem.md.
This has not run on a GPU. Ids cannot differ there; a number could only if its
logarithm were wrong by 1.9e-13, since none lies nearer to the edge between two float16 values.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import narwhals as nw
import numpy as np
import polars as pl

from data_prep import definition
from data_prep.engines.base import CRITEO, RAW_CRITEO, Parsed, Rows, Tell
from data_prep.engines.spark_settings import INSTALL, environment_for, settings
from data_prep.engines.spark_text import (
    CODES,
    SOUND,
    SPLIT,
    checked_codes,
    hadoop_path,
    link_for_spark,
    numbered,
    raise_fault,
    scan,
)
from data_prep.raw import CATEGORICAL, LABEL, NUMERICAL
from data_prep.threads import in_order
from dlrm_core.schema.dataset import NumericalTransform
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NAME = "spark"
PIECE = "piece"
PIECE_ROWS = 1 << 18  # that the driver holds at once, 55 MB
SPLIT_BYTES = 128 << 20  # of text a task, at most
SHUFFLE_ROWS = 1 << 22  # a task behind a shuffle
GROUP_COLUMNS = 6  # joined in one query: one of all 26 takes Spark longer to plan than to run
QUERIES = 2  # at once: one is planned while the other runs
BYTES_PER_BROADCAST_VALUE = 64  # of Spark's hash table of longs, with room for its doubling


class SparkEngine:
    """See :class:`data_prep.engines.base.Engine`.

    Parameters
    ----------
    memory_bytes : int
        Half of it is the driver's heap; an eighth is what the vocabularies of one query take on each worker, larger ones
        are joined by a shuffle.
    master : str
        Spark's master URL. A local one stays on the loopback interface.
    partitions : int, optional
        Into which a plain text file is read, and of each shuffle; by default by size and cores.
    conf : mapping of str to str, optional
        Settings for Spark, for example those of the RAPIDS Accelerator.
    """

    name = NAME
    columns = CRITEO
    reads = RAW_CRITEO

    def __init__(
        self,
        memory_bytes: int,
        *,
        master: str = "local[*]",
        partitions: int | None = None,
        conf: Mapping[str, str] | None = None,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._broadcast_bytes = min(memory_bytes // 8, 4 << 30)  # Spark's own limit is 8 GB
        self._master = master
        self._partitions = partitions
        self._conf = dict(conf or {})
        self._sessions: dict[str, SparkSession] = {}

    def parse(self, path: Path, folder: Path, tell: Tell) -> Parsed:
        """Leave Parquet files of Spark's, each with rows that follow each other."""
        raw = scan(path)
        with link_for_spark(path, folder) as link:
            lines = self._lines(link)
            codes = lines.selectExpr(*numbered(_first_rows(lines, raw.rows))).selectExpr(*checked_codes())
            fault = _write_and_find_fault(codes, folder)
        if fault is not None:
            shutil.rmtree(folder)
            raise_fault(path, fault)
        files = {}
        for made in sorted(folder.iterdir()):
            if made.suffix == ".parquet":
                files[made] = sha256_file(made)
            else:
                made.unlink()  # Hadoop's own markers and checksums
        tell(raw.rows)
        return Parsed(raw.rows, raw.sha256, files)

    def frequent(self, parts: Sequence[Rows], column: str, limit: int) -> pl.DataFrame:
        """Count with one shuffle."""
        self._expect(sum(map(len, parts)))
        codes = self._codes(parts[0], [column])
        for part in parts[1:]:
            codes = codes.union(self._codes(part, [column]))
        counts = definition.count_values(nw.from_native(codes), column)
        frame = definition.keep_frequent(counts, limit).collect("polars").to_native()
        return frame.select(pl.col(definition.VALUE).cast(pl.UInt32), definition.COUNT)

    def encoded(
        self, part: Rows, vocabularies: Mapping[str, pl.DataFrame], transform: NumericalTransform
    ) -> Iterator[pl.DataFrame]:
        """Groups of columns, each written by a query of its own and put side by side here."""
        if not len(part):
            return
        folder = part.folder.with_name(f"{part.folder.name}-encoded-{part.start}-{part.stop}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._expect(len(part))
        try:
            write = partial(self._write, part, vocabularies, transform, folder)
            with closing(in_order(write, enumerate(self._groups(vocabularies)), threads=QUERIES)) as written:
                made = list(written)
            for start in range(part.start, part.stop, PIECE_ROWS):
                rows = range(start, min(start + PIECE_ROWS, part.stop))
                piece = (start - part.start) // PIECE_ROWS
                first, *others = [_piece(target, piece, rows) for target in made]
                yield first.hstack([column for frame in others for column in frame])
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(
        self,
        part: Rows,
        vocabularies: Mapping[str, pl.DataFrame],
        transform: NumericalTransform,
        folder: Path,
        group: tuple[int, list[str]],
    ) -> Path:
        """Write one group of categorical columns; the first has label and numbers with it."""
        number, columns = group
        plain, shuffled = () if number else (LABEL, *NUMERICAL), False
        frame = nw.from_native(self._pieces(part, (*plain, *columns)))
        numbers = [definition.transform_numerical(c, transform) for c in plain if c in NUMERICAL]
        frame = frame.with_columns(*numbers) if numbers else frame
        for column in columns:
            vocabulary = self._vocabulary(vocabularies[column], folder / f"vocabulary-{column}.parquet")
            small = _table_bytes(vocabularies[column]) <= self._broadcast_bytes
            frame = definition.encode(
                frame, column, nw.from_native(vocabulary.hint("broadcast") if small else vocabulary)
            )
            shuffled |= not small
        made = frame.to_native()
        _write(made.repartition(PIECE) if shuffled else made, folder / str(number))
        return folder / str(number)

    def _groups(self, vocabularies: Mapping[str, pl.DataFrame]) -> list[list[str]]:
        """The categorical columns, so many a query as their vocabularies have room for."""
        groups: list[list[str]] = [[]]
        taken = 0
        for column in CATEGORICAL:
            needed = _table_bytes(vocabularies[column])
            if len(groups[-1]) == GROUP_COLUMNS or (groups[-1] and taken + needed > self._broadcast_bytes):
                groups.append([])
                taken = 0
            groups[-1].append(column)
            taken += needed
        return groups

    def _vocabulary(self, vocabulary: pl.DataFrame, path: Path) -> "DataFrame":
        values = vocabulary.select(pl.col(definition.VALUE).cast(pl.Int64), definition.ID)
        values.write_parquet(path, compression="snappy")
        schema = f"{definition.VALUE} bigint, {definition.ID} int"
        return self._session_for("codes").read.schema(schema).parquet(hadoop_path(path))

    def _pieces(self, part: Rows, columns: Sequence[str]) -> "DataFrame":
        piece = f"int(({definition.ROW} - {part.start}) div {PIECE_ROWS}) as {PIECE}"
        return self._codes(part, [definition.ROW, *columns]).selectExpr(piece, definition.ROW, *columns)

    def _codes(self, part: Rows, columns: Sequence[str]) -> "DataFrame":
        schema = ", ".join(f"{name} {CODES[name]}" for name in dict.fromkeys([definition.ROW, *columns]))
        frame = self._session_for("codes").read.schema(schema).parquet(hadoop_path(part.folder))
        return frame.where(f"{definition.ROW} >= {part.start} and {definition.ROW} < {part.stop}").select(*columns)

    def _lines(self, link: Path) -> "DataFrame":
        """The text's lines; one split a partition, in the order of the file."""
        size, session = link.stat().st_size, self._session_for("text")
        wanted = self._partitions or max(session.sparkContext.defaultParallelism, -(-size // SPLIT_BYTES))
        session.conf.set("spark.sql.files.maxPartitionBytes", str(-(-size // wanted)))
        session.conf.set("spark.sql.files.openCostInBytes", str(1 << 40))
        session.conf.set("spark.sql.shuffle.partitions", "1")  # only a count a partition is shuffled
        return session.read.text(hadoop_path(link), lineSep="\n")

    def _expect(self, rows: int) -> None:
        if "spark.sql.shuffle.partitions" not in self._conf:
            session = self._session_for("codes")
            tasks = self._partitions or max(session.sparkContext.defaultParallelism, rows // SHUFFLE_ROWS)
            session.conf.set("spark.sql.shuffle.partitions", str(tasks))

    def _session_for(self, use: str) -> "SparkSession":
        """A session with SQL settings of its own in the process's one Spark context."""
        if use not in self._sessions:
            chosen = settings(self._master, self._memory_bytes, self._conf)
            self._sessions[use] = _open(self._master, chosen).newSession()
            for key, value in chosen.items():
                if key.startswith("spark.sql."):
                    self._sessions[use].conf.set(key, value)
        return self._sessions[use]


def _open(master: str, chosen: Mapping[str, str]) -> "SparkSession":
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError:
        raise KitError(f"--engine spark: PySpark is not installed; install it with {INSTALL}") from None
    active = SparkSession.getActiveSession()
    if active is not None and active.sparkContext.master != master:
        raise KitError(
            f"--engine-option master={master}: this process has a Spark session on {active.sparkContext.master} already; "
            "stop it first"
        )
    builder = SparkSession.builder.master(master).appName("dlrm prepare")
    for key, value in chosen.items():
        builder = builder.config(key, value)
    with environment_for(master):
        try:
            session = builder.getOrCreate()
        except Exception as error:  # of Py4J's many kinds
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise KitError(
                f"--engine-option master={master}: no Spark session could be opened ({said[-1]}); look at Spark's messages above, "
                "the master's address and the settings spark.*"
            ) from error
    session.sparkContext.setLogLevel("ERROR")
    return session


def _first_rows(lines: "DataFrame", rows: int) -> list[int]:
    """Number of the first row of each partition."""
    from pyspark.sql import functions as F

    place = F.col("_metadata.file_block_start").alias("place")
    split = lines.select(F.spark_partition_id().alias(SPLIT), place).groupBy(SPLIT)
    found = {row[0]: (row[1], row[2]) for row in split.agg(F.min("place"), F.count("place")).collect()}
    places = [found[split][0] for split in sorted(found)]
    counts = [found[split][1] if split in found else 0 for split in range(max(found) + 1)]
    assert places == sorted(places), "Spark's partitions do not follow the file"
    assert sum(counts) == rows, f"Spark read {sum(counts)} lines of {rows}"
    return list(accumulate(counts[:-1], initial=0))


def _write_and_find_fault(codes: "DataFrame", folder: Path) -> int | None:
    """Write the codes; number of the first row, from 0, that is not as the format asks."""
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    seen = Observation()
    first = F.min(F.when(~F.col(SOUND), F.col(definition.ROW))).alias("fault")
    _write(codes.observe(seen, first).drop(SOUND), folder)
    fault: int | None = seen.get["fault"]
    return fault


def _write(frame: "DataFrame", folder: Path) -> None:
    writer = frame.write.partitionBy(PIECE) if PIECE in frame.columns else frame.write
    writer.parquet(f"file://{folder.resolve()}", compression="snappy")


def _piece(folder: Path, piece: int, rows: range) -> pl.DataFrame:
    paths = sorted((folder / f"{PIECE}={piece}").glob("*.parquet"))
    frame = pl.read_parquet(paths, glob=False, hive_partitioning=False).sort(definition.ROW)
    assert np.array_equal(frame[definition.ROW].to_numpy(), np.arange(rows.start, rows.stop)), "rows were lost"
    return frame.drop(definition.ROW)


def _table_bytes(vocabulary: pl.DataFrame) -> int:
    return len(vocabulary) * BYTES_PER_BROADCAST_VALUE
