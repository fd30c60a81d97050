"""Commands from the click log to the prepared data set: sample, download, spec, prepare, import."""

from typing import Any

from dlrm_core.cli.common import Arguments, Commands, add_command, path, say


def add_commands(commands: Commands) -> None:
    """Declare the commands of this room."""
    _add_sample(commands)
    _add_synthetic(commands)
    _add_download(commands)
    _add_spec(commands)
    _add_prepare(commands)
    _add_import(commands)


def _add_sample(commands: Commands) -> None:
    command = add_command(
        commands, "sample", "Generate a planted click log in the raw Criteo format: DIR/day_0, day_1, ..."
    )
    command.add_argument("--out", type=path, required=True, metavar="DIR", help="output folder")
    command.add_argument("--rows", type=int, default=1_000_000, help="rows of all days together")
    command.add_argument("--days", type=int, default=7, help="day files")
    command.add_argument("--seed", type=int, default=2020, help="seed of the teacher and the rows")
    command.set_defaults(function=_sample)


def _add_synthetic(commands: Commands) -> None:
    command = add_command(
        commands, "synthetic", "Write a data set of random rows, to measure speed: no raw files needed."
    )
    command.add_argument("--out", type=path, required=True, metavar="DATA", help="output folder")
    command.add_argument(
        "values",
        nargs="*",
        metavar="NAME=VALUE",
        help="rows, test_rows, cardinalities (100000x26 or 5,90,7), numerical, ids (uniform or zipf), zipf_exponent, "
        "click_rate, seed",
    )
    command.set_defaults(function=_synthetic)


def _add_download(commands: Commands) -> None:
    command = add_command(commands, "download", "Download a public click log: resumed, checked, licence first.")
    command.add_argument("dataset", metavar="DATASET", help="a data set, for example criteo_1tb or criteo_kaggle")
    command.add_argument("--out", type=path, required=True, metavar="DIR", help="output folder, one data set in it")
    chosen = command.add_mutually_exclusive_group()
    chosen.add_argument("--files", nargs="+", default=[], metavar="F", help="only these files, for example day_0.gz")
    chosen.add_argument("--days", metavar="D", help="only these days: 3, 0-3 or 0-3,23")
    command.add_argument("--accept-licence", action="store_true", help="accept the licence that is shown")
    command.add_argument("--dry-run", action="store_true", help="say what would be downloaded, write nothing")
    command.add_argument("--base-url", metavar="URL", help="ask this copy instead of the published host")
    command.add_argument("--verify", action="store_true", help="compare the files of DIR with their record; no network")
    command.set_defaults(function=_download)


def _add_spec(commands: Commands) -> None:
    command = add_command(
        commands, "spec", "Guess which column of a CSV or Parquet file is what, for `dlrm prepare --spec`."
    )
    command.add_argument("file", type=path, metavar="FILE", help="a table of your own")
    command.add_argument("--label", metavar="COLUMN", help="column of the clicks, 0 or 1; else found by name or values")
    command.add_argument("--separator", metavar="S", help="of a CSV file, or the word tab; else found by looking")
    command.add_argument("--out", type=path, required=True, metavar="YAML", help="file to write; none is overwritten")
    command.set_defaults(function=_spec)


def _add_prepare(commands: Commands) -> None:
    command = add_command(
        commands, "prepare", "Turn raw text files (plain or gzip), or tables of your own, into a prepared data set."
    )
    command.add_argument(
        "whole",
        type=path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="files instead of --train and --test: the first 6/7 of all their rows are the training part, the rest the test part",
    )
    command.add_argument(
        "--spec",
        metavar="YAML",
        help="the files are CSV or Parquet with the columns that this spec names; criteo_1tb comes with the kit",
    )
    command.add_argument("--train", type=path, nargs="+", default=[], metavar="F", help="raw files to train on")
    command.add_argument(
        "--validation", type=path, nargs="+", default=[], metavar="F", help="raw files for stopping rules"
    )
    command.add_argument("--test", type=path, nargs="+", default=[], metavar="F", help="raw files to test on")
    command.add_argument(
        "--halve",
        type=path,
        metavar="F",
        help="raw file whose first half is the test part, the rest the validation part",
    )
    command.add_argument("--out", type=path, required=True, metavar="DATA", help="output folder")
    command.add_argument(
        "--frequency-limit",
        default="15",
        metavar="N[,COLUMN:N...]",
        help="rows a value needs to get an id of its own, and others for single columns, for example 15,C3:5",
    )
    command.add_argument(
        "--vocabulary", choices=["train", "all"], default="train", help="files that ids are counted in"
    )
    command.add_argument(
        "--numerical-transform",
        choices=["log_x_plus_3_missing_0", "readme_missing_0_log_x_plus_2", "none"],
        help="what the seed's code does (the default, or what a spec says), what its README says, or nothing",
    )
    command.add_argument(
        "--engine",
        choices=["polars", "spark", "cudf", "dask-cuda"],
        default="polars",
        help="what runs the preprocessing definition; every one makes the same bytes",
    )
    command.add_argument(
        "--engine-option",
        dest="engine_options",
        action="append",
        default=[],
        nargs="+",
        metavar="NAME=VALUE",
        help="spark: master=URL, partitions=N, spark.KEY=VALUE; cudf: fallback=raise|cpu; dask-cuda: scheduler=ADDRESS",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="only say what would be read, written and needed, and for how long"
    )
    command.add_argument("--memory", default="4GB", metavar="SIZE", help="about what may be used, for example 4GB")
    command.set_defaults(function=_prepare)


def _add_import(commands: Commands) -> None:
    command = add_command(commands, "import", "Take over a data set prepared by NVIDIA's tools; every row is checked.")
    command.add_argument(
        "--from", dest="source", type=path, required=True, metavar="DIR", help="folder of the data set"
    )
    command.add_argument("--out", type=path, required=True, metavar="DATA", help="output folder")
    command.add_argument(
        "--format", choices=["auto", "feature_spec", "split", "binary"], default="auto", help="layout of DIR"
    )
    command.set_defaults(function=_import)


def _sample(arguments: Arguments) -> None:
    from data_prep.sample import make_sample
    from dlrm_core.console import ConsoleProgress

    record = make_sample(
        out=arguments.out, rows=arguments.rows, days=arguments.days, seed=arguments.seed, progress=ConsoleProgress()
    )
    say(f"{arguments.rows:,} rows in {arguments.days} files, best attainable AUC on the last day {record.best_auc:.6f}")


def _synthetic(arguments: Arguments) -> None:
    from dlrm_core.console import ConsoleProgress
    from dlrm_core.schema.config import synthetic_config
    from dlrm_core.synthetic import write_synthetic

    spec = write_synthetic(out=arguments.out, config=synthetic_config(arguments.values), progress=ConsoleProgress())
    rows = ", ".join(f"{name} {split.rows:,}" for name, split in spec.splits.items())
    say(f"rows: {rows}; ids in all: {sum(spec.cardinalities.values()):,}; digest {spec.digest[:16]}")


def _download(arguments: Arguments) -> None:
    from data_prep.download import download, verify
    from dlrm_core.console import ConsoleProgress
    from dlrm_core.schema.sources import parse_days

    if arguments.verify:
        record = verify(out=arguments.out, progress=ConsoleProgress())
        say(f"{len(record.files)} files of {record.dataset} are as they were downloaded")
        return
    download(
        dataset=arguments.dataset,
        out=arguments.out,
        files=arguments.files,
        days=parse_days(arguments.days) if arguments.days else (),
        accept_licence=arguments.accept_licence,
        dry_run=arguments.dry_run,
        progress=ConsoleProgress(),
        say=say,
        base_url=arguments.base_url,
    )


def _spec(arguments: Arguments) -> None:
    from data_prep.infer_table import infer_table, write_spec

    separator = "\t" if arguments.separator in ("tab", "\\t") else arguments.separator
    found = infer_table(arguments.file, label=arguments.label, separator=separator)
    write_spec(found.spec, arguments.out, found.left_out)
    for column, words in found.chosen.items():
        say(f"{column}: {words}")
    for column, reason in found.left_out.items():
        say(f"{column}: left out, {reason}")
    say(
        f"a guess from {found.rows:,} rows, numerical_transform {found.spec.numerical_transform}; look {arguments.out} over (a "
        f"code that is a number belongs under categorical), then: dlrm prepare --spec {arguments.out} {arguments.file} --out DATA"
    )


def _prepare(arguments: Arguments) -> None:
    from data_prep.options import engine_options, frequency_limits, size_bytes, table_spec
    from data_prep.prepare import dry_run, prepare
    from dlrm_core.console import ConsoleProgress
    from dlrm_core.schema.dataset import Preparation

    table = table_spec(arguments.spec) if arguments.spec else None
    choices = frequency_limits(arguments.frequency_limit) | {"vocabulary": arguments.vocabulary}
    transform = arguments.numerical_transform or (table.numerical_transform if table else None)
    choices |= {"numerical_transform": transform} if transform else {}
    preparation = Preparation.from_dict(choices, source="--frequency-limit")
    asked: dict[str, Any] = {
        "whole": arguments.whole,
        "table": table,
        "train": arguments.train,
        "validation": arguments.validation,
        "test": arguments.test,
        "halve": arguments.halve,
        "out": arguments.out,
        "preparation": preparation,
        "engine": arguments.engine,
        "engine_options": engine_options(arguments.engine_options),
        "memory_bytes": size_bytes(arguments.memory),
    }
    if arguments.dry_run:
        say("\n".join(dry_run(**asked)))
        return
    spec = prepare(**asked, progress=ConsoleProgress())
    rows = ", ".join(f"{name} {split.rows:,}" for name, split in spec.splits.items())
    say(f"rows: {rows}; ids in all: {sum(spec.cardinalities.values()):,}; digest {spec.digest[:16]}")


def _import(arguments: Arguments) -> None:
    from data_prep.import_nvidia import import_dataset
    from dlrm_core.console import ConsoleProgress

    spec = import_dataset(
        source=arguments.source, out=arguments.out, format=arguments.format, progress=ConsoleProgress()
    )
    say(", ".join(f"{name} {split.rows:,} rows" for name, split in spec.splits.items()))
