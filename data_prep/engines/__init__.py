"""The engines by name; each is imported only when it is asked for."""

from collections.abc import Mapping
from types import MappingProxyType

from data_prep.engines.base import Engine
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.table import TableSpec

ENGINES = ("polars", "cudf", "dask-cuda", "spark")
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


def make_engine(
    name: str, memory_bytes: int, options: Mapping[str, str] = NO_OPTIONS, table: TableSpec | None = None
) -> Engine:
    """An engine that keeps within about `memory_bytes`, and reads raw Criteo text or, with `table`, tables of one's own.

    `options` are Spark's: ``master``, ``partitions``, and any setting of Spark by its name, ``spark.*``; for cudf and
    dask-cuda see :func:`data_prep.engines.cudf_engine.one_gpu` and :func:`~data_prep.engines.cudf_engine.many_gpus`.

    Raises
    ------
    KitError
        If there is no engine of that name, or it does not take an option.
    """
    if name == "polars":
        from data_prep.engines.polars_engine import PolarsEngine
        from data_prep.engines.table_engine import TableEngine

        if options:
            raise KitError(f"--engine polars takes no options, {', '.join(options)} came; leave them out")
        return PolarsEngine(memory_bytes) if table is None else TableEngine(memory_bytes, table)
    if table is not None:
        raise KitError(f"--engine {name} reads raw Criteo text only; leave it out for a table of your own")
    if name in ("cudf", "dask-cuda"):
        from data_prep.engines.cudf_engine import CudfEngine, many_gpus, one_gpu

        return CudfEngine(memory_bytes, (one_gpu if name == "cudf" else many_gpus)(options), name)
    if name == "spark":
        return _spark(memory_bytes, options)
    raise KitError(f"--engine {name}: no such engine; one of {', '.join(repr(e) for e in ENGINES)} is needed")


def _spark(memory_bytes: int, options: Mapping[str, str]) -> Engine:
    from data_prep.engines.spark_engine import SparkEngine
    from data_prep.engines.spark_settings import check_settings

    conf = {key: value for key, value in options.items() if key.startswith("spark.")}
    unknown = sorted(set(options) - set(conf) - {"master", "partitions"})
    if unknown:
        raise KitError(
            f"--engine spark: no option {', '.join(unknown)}; master, partitions or a setting spark.* is needed"
        )
    partitions = options.get("partitions")
    if partitions is not None and not (partitions.isdecimal() and int(partitions) > 0):
        raise KitError(f"--engine-option partitions={partitions}: a number from 1 on is needed")
    master = options.get("master", "local[*]")
    check_settings(master, conf)
    return SparkEngine(
        memory_bytes,
        master=master,
        partitions=int(partitions) if partitions else None,
        conf=conf,
    )
