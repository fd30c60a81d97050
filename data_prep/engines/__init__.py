"""The engines by name; each is imported only when it is asked for."""

from data_prep.engines.base import Engine
from dlrm_core.schema.errors import KitError

ENGINES = ("polars",)


def make_engine(name: str, memory_bytes: int) -> Engine:
    """An engine that keeps within about `memory_bytes`.

    Raises
    ------
    KitError
        If there is no engine of that name.
    """
    if name == "polars":
        from data_prep.engines.polars_engine import PolarsEngine

        return PolarsEngine(memory_bytes)
    raise KitError(f"--engine {name}: no such engine; one of {', '.join(repr(e) for e in ENGINES)} is needed")
