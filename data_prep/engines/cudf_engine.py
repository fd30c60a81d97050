"""The GPU engines: RAPIDS cuDF through its Polars engine, on one GPU (`cudf`) or on many with Dask (`dask-cuda`).

Text is read and checked by the same compiled pass as on the CPU and kept as Parquet; counting, encoding and logarithms run
on the GPU. The queries are those of the Polars engine: only who collects them differs. Nothing of it has run on a GPU yet;
that the GPU engine supports every query is tested without one, see :mod:`data_prep.engines.cudf_check`.

cudf-polars of RAPIDS 26.10: https://docs.rapids.ai/api/cudf/stable/cudf_polars/
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from data_prep.engines.polars_engine import PolarsEngine
from dlrm_core.schema.errors import KitError

INSTALL = (
    "pip install cudf-polars-cu13==26.10.2 (and dask-cuda==26.10.0 for several GPUs), or the kit's environment.yml"
)
Collect = Callable[[pl.LazyFrame], pl.DataFrame]


class CudfEngine(PolarsEngine):
    """See :class:`data_prep.engines.base.Engine`.

    Parameters
    ----------
    memory_bytes : int
        Host memory; blocks are as large as it allows, since a GPU wants many rows at a time.
    collect_one : callable (LazyFrame) -> DataFrame
        Runs a query on the GPU; see :func:`one_gpu` and :func:`many_gpus`.
    name : str
    """

    suffix = ".parquet"

    def __init__(self, memory_bytes: int, collect_one: Collect, name: str = "cudf") -> None:
        super().__init__(memory_bytes, block_bytes=memory_bytes // 32)
        self.name = name
        self.least_rows = self.encoded_rows  # a GPU wants many rows at a time
        self._collect_one = collect_one

    def store(self, frame: pl.DataFrame, path: Path) -> None:
        """Keep a block of codes as Parquet, which cuDF reads itself."""
        frame.write_parquet(path, compression="snappy", statistics=False)

    def scan(self, path: Path) -> pl.LazyFrame:
        """A block of codes that was kept."""
        return pl.scan_parquet(path, glob=False)

    def load(self, blocks: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
        """Blocks one after the other; every query reads the columns that it needs onto the GPU."""
        return pl.concat(blocks)

    def collect(self, frames: Sequence[pl.LazyFrame]) -> list[pl.DataFrame]:
        """Run queries of the definition on the GPU."""
        return [self._collect_one(frame) for frame in frames]


def one_gpu(options: Mapping[str, str]) -> Collect:
    """Collect on one GPU.

    Parameters
    ----------
    options : mapping
        ``fallback``: ``raise`` (the default) if the GPU cannot run a query, or ``cpu`` to let Polars run it.

    Raises
    ------
    KitError
        If an option is unknown or cudf-polars is not installed.
    """
    _known(options, "fallback")
    fallback = options.get("fallback", "raise")
    if fallback not in ("raise", "cpu"):
        raise KitError(f"fallback={fallback}: 'raise' or 'cpu' is needed")
    _cudf_polars()
    engine = pl.GPUEngine(raise_on_fail=fallback == "raise")
    return lambda frame: frame.collect(engine=engine)


def many_gpus(options: Mapping[str, str]) -> Collect:
    """Collect on every GPU of a Dask cluster.

    Parameters
    ----------
    options : mapping
        ``scheduler``: address of a Dask scheduler whose workers have a GPU each; without it a
        ``dask_cuda.LocalCUDACluster`` over this machine's GPUs is started.

    Raises
    ------
    KitError
        If an option is unknown or a package is not installed.
    """
    _known(options, "scheduler")
    _cudf_polars()
    try:
        from cudf_polars.engine.dask import DaskEngine
        from cudf_polars.engine.hardware_binding import HardwareBindingPolicy
        from dask.distributed import Client
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise KitError(f"--engine dask-cuda: {error.name} is not installed; {INSTALL}") from None
    client = Client(options["scheduler"]) if "scheduler" in options else Client(LocalCUDACluster())
    # LocalCUDACluster binds its workers to cores already; binding them twice is what that engine's notes warn of.
    binding = HardwareBindingPolicy(enabled="scheduler" in options)
    engine = DaskEngine(dask_client=client, engine_options={"hardware_binding": binding, "raise_on_fail": True})
    return lambda frame: frame.collect(engine=engine)


def _known(options: Mapping[str, str], *names: str) -> None:
    for name in options:
        if name not in names:
            raise KitError(f"engine option {name!r} is unknown; known: {', '.join(names)}")


def _cudf_polars() -> Any:
    try:
        import cudf_polars
    except ImportError:
        raise KitError(f"cudf-polars is not installed; {INSTALL}") from None
    return cudf_polars


def translation() -> tuple[Any, Any]:
    """cudf-polars' translator of queries, and its walk over the nodes of a plan; neither needs a GPU.

    Raises
    ------
    KitError
        If cudf-polars is not installed.
    """
    _cudf_polars()
    from cudf_polars.dsl.translate import Translator
    from cudf_polars.dsl.traversal import traversal

    return Translator, traversal
