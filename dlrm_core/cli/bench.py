"""The command bench and its subjects."""

from pathlib import Path

from dlrm_core.cli.common import Arguments, Commands, add_command, say


def add_commands(commands: Commands) -> None:
    """Declare the commands of this room."""
    _add_bench(commands)


def _add_bench(commands: Commands) -> None:
    parser = commands.add_parser("bench", help="Measure speed and memory; writes a run record.")
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    command = add_command(
        subjects, "prepare", "Measure preprocessing on planted samples, beside a gauge in the same minute."
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder; samples lie in it too")
    command.add_argument("--rows", type=int, nargs="+", default=[2_000_000], help="rows of the samples")
    command.add_argument("--rounds", type=int, default=3, help="measurements of each")
    command.add_argument(
        "--engine", choices=["polars", "spark", "cudf", "dask-cuda"], default="polars", help="what runs the definition"
    )
    command.add_argument("--memory", default="4GB", metavar="SIZE", help="as of `dlrm prepare`")
    command.set_defaults(function=_bench_prepare)


def _bench_prepare(arguments: Arguments) -> None:
    from data_prep.bench import bench_prepare
    from dlrm_core.console import ConsoleProgress

    record = bench_prepare(
        out=arguments.out,
        rows=arguments.rows,
        rounds=arguments.rounds,
        engine=arguments.engine,
        memory=arguments.memory,
        progress=ConsoleProgress(),
    )
    for metric in record.metrics:
        say(f"{metric.split}: {metric.name} {metric.value:,.4g} {metric.unit} ({metric.selection})")
