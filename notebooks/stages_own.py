"""The stages of a table of one's own, each done once, in a folder OWN that holds table, data, baselines and run."""

from pathlib import Path

from dlrm_core.schema.config import Preset, load_preset
from dlrm_core.schema.dataset import Preparation
from dlrm_core.schema.environment import source_digest
from dlrm_core.schema.files import input_file, sha256_file
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.stages import Marker, fingerprint, once
from dlrm_core.schema.table import TableSpec
from notebooks.made_up import write_hotels
from notebooks.stages import DATA_ROOMS

STEPS = 800  # about as many, by repeating a small table; a large one is read once


def ensure_table(own: Path, table: str) -> Path:
    """The user's table, or a made-up one, OWN/made_up/hotels.csv, made if need be.

    Raises
    ------
    KitError
        If the user's is missing or cannot be read.
    """
    own.mkdir(parents=True, exist_ok=True)
    if table:
        return input_file(Path(table), "a CSV or Parquet file")
    path = own / "made_up" / "hotels.csv"
    key = fingerprint(sources=source_digest(("notebooks/made_up.py",)))
    once(Marker(own, "made_up"), key, path.parent, lambda: write_hotels(path))
    return path


def ensure_own_data(
    own: Path, table: Path, spec: TableSpec, preparation: Preparation, progress: Progress = silent
) -> Path:
    """The table prepared, OWN/data, made if need be; the last seventh of its rows is the test part.

    Raises
    ------
    KitError
        If the table does not fit the spec.
    """
    from data_prep.prepare import prepare

    data = own / "data"
    preparation = preparation.model_copy(update={"numerical_transform": spec.numerical_transform, "column_limits": {}})
    choices = {"table": spec.model_dump(), "preparation": preparation.model_dump()}
    key = fingerprint(file=sha256_file(table), sources=source_digest(DATA_ROOMS), **choices)
    once(
        Marker(own, "prepare"),
        key,
        data,
        lambda: prepare(whole=[table], table=spec, out=data, preparation=preparation, progress=progress),
    )
    return data


def own_training(preset: Preset, rows: int) -> tuple[Preset, list[str]]:
    """The preset ``tiny`` with the seed of `preset` and epochs for `rows` training rows, and the overrides that made it."""
    tiny = load_preset("tiny").train
    steps_per_epoch = max(1, rows // tiny.batch_size)
    epochs = max(1, round(STEPS / steps_per_epoch))
    decay_start = max(tiny.schedule.warmup_steps, epochs * steps_per_epoch // 2)
    overrides = [
        f"seed={preset.train.seed}",
        f"epochs={epochs}",
        "standardize=true",  # numbers of any size, where the spec asks for no logarithm
        f"schedule.decay_start_step={decay_start}",
        f"schedule.decay_steps={max(1, epochs * steps_per_epoch - decay_start)}",
    ]
    return load_preset("tiny", overrides), overrides
