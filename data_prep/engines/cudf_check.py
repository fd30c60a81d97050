"""Whether the GPU engine supports every query of the definition, found out without a GPU: `python -m data_prep.engines.cudf_check`.

cudf-polars translates a query into its own plan before it runs it, and that needs no device. So a small data set is prepared
with an engine that translates each query, refuses it if a node is unsupported, and then lets Polars compute the result.
"""

import sys
import tempfile
from pathlib import Path

import narwhals as nw
import polars as pl

from data_prep.definition import transform_numerical
from data_prep.engines import cudf_engine
from data_prep.engines.cudf_engine import CudfEngine
from data_prep.job import Files, Job
from data_prep.pipeline import run
from data_prep.prepare import prepare
from data_prep.raw import NUMERICAL, read_blocks
from data_prep.sample import make_sample
from data_prep.text_parser import parse
from dlrm_core.schema.dataset import DatasetSpec, NumericalTransform, Preparation
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.progress import silent
from dlrm_core.schema.record import recording

ROWS, DAYS = 2000, 2
TRANSFORMS: tuple[NumericalTransform, ...] = ("log_x_plus_3_missing_0", "readme_missing_0_log_x_plus_2", "none")


class Translated:
    """Collects on the CPU what the GPU engine could run; counts the queries and the kinds of nodes."""

    def __init__(self) -> None:
        self.queries = 0
        self.nodes: set[str] = set()

    def __call__(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """The result of `frame`, by Polars.

        Raises
        ------
        KitError
            If cudf-polars does not support it.
        """
        self.nodes |= translated(frame)
        self.queries += 1
        return frame.collect()


def translated(frame: pl.LazyFrame) -> set[str]:
    """Names of the nodes of the GPU plan of a query.

    Raises
    ------
    KitError
        If cudf-polars is not installed or does not support the query; with what it says.
    """
    translator_of, walk = cudf_engine.translation()
    # The in-memory executor translates without asking a device for its memory; the nodes are the same.
    translator = translator_of(frame._ldf.visit(), pl.GPUEngine(executor="in-memory", raise_on_fail=True))
    plan = translator.translate_ir()
    if translator.errors:
        raise KitError(f"the GPU engine does not support a query: {translator.errors[0]}\n{frame.explain()}")
    return {type(node).__name__ for node in walk([plan])}


def main() -> int:
    """Check with a planted sample; say what was translated."""
    collect, preparation = Translated(), Preparation(frequency_limit=3)
    with tempfile.TemporaryDirectory() as place:
        raw = Path(place) / "raw"
        make_sample(out=raw, rows=ROWS, days=DAYS, seed=1)
        for transform in TRANSFORMS:
            collect(_numbers(raw / "day_0", transform))
        expected = prepare(train=[raw / "day_0"], halve=raw / "day_1", out=Path(place) / "cpu", preparation=preparation)
        found = _prepared(raw, Path(place) / "gpu", preparation, collect)
        if found.digest != expected.digest:
            raise KitError("the queries of the GPU engine give other bytes than those of the Polars engine")
    sys.stdout.write(f"{collect.queries} queries translated for the GPU; nodes: {', '.join(sorted(collect.nodes))}\n")
    return 0


def _prepared(raw: Path, out: Path, preparation: Preparation, collect: Translated) -> DatasetSpec:
    memory = 1 << 30
    files = Files((raw / "day_0",), (), (), raw / "day_1")
    job = Job(files, out / ".work", preparation, CudfEngine(memory, collect), memory, silent)
    with recording(
        out, "prepare", name="check", repeat="python -m data_prep.engines.cudf_check", config={}
    ) as recorder:
        return run(job, out, recorder)


def _numbers(path: Path, transform: NumericalTransform) -> pl.LazyFrame:
    frame = nw.from_native(parse(next(read_blocks(path))).lazy())
    return frame.select(*(transform_numerical(c, transform) for c in NUMERICAL)).to_native()


if __name__ == "__main__":
    sys.exit(main())
