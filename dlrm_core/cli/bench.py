"""The command bench and its subjects."""

import argparse
from typing import Any

from dlrm_core.cli.common import Arguments, Commands, add_command, at_least, path, say


def add_commands(commands: Commands) -> None:
    """Declare the commands of this room."""
    _add_bench(commands)


def _add_bench(commands: Commands) -> None:
    parser = commands.add_parser("bench", help="Measure speed and memory; writes a run record.")
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    command = add_command(
        subjects, "prepare", "Measure preprocessing on planted samples, beside a gauge in the same minute."
    )
    command.add_argument("--out", type=path, required=True, metavar="DIR", help="output folder; samples lie in it too")
    command.add_argument("--rows", type=at_least(1), nargs="+", default=[2_000_000], help="rows of the samples")
    command.add_argument("--rounds", type=at_least(1), default=3, help="measurements of each")
    command.add_argument(
        "--engine", choices=["polars", "spark", "cudf", "dask-cuda"], default="polars", help="what runs the definition"
    )
    command.add_argument("--memory", default="4GB", metavar="SIZE", help="as of `dlrm prepare`")
    command.set_defaults(function=_bench_prepare)
    _add_training(subjects)
    _add_inference(subjects)
    _add_loader(subjects)
    _add_throughput(subjects)


def _add_training(subjects: Commands) -> None:
    command = add_command(
        subjects, "training", "Measure training steps beside peers and the processor's limit, one process a side."
    )
    _add_sides(command)
    command.add_argument(
        "--steps", type=at_least(2), metavar="N", help="steps of each side a round; default: the configuration's"
    )
    command.add_argument("--batch-size", type=at_least(1), metavar="B", help="default: the configuration's")
    command.set_defaults(function=_bench_training)


def _add_inference(subjects: Commands) -> None:
    command = add_command(
        subjects, "inference", "Measure predictions beside peers and the processor's limit, one process a side."
    )
    _add_sides(command)
    command.add_argument(
        "--calls", type=at_least(2), metavar="N", help="calls of each side a round; default: by batch size"
    )
    command.add_argument("--batch-sizes", type=_numbers, default=[1, 64, 4096], metavar="B,...", help="rows a call")
    command.set_defaults(function=_bench_inference)


def _add_loader(subjects: Commands) -> None:
    command = add_command(
        subjects,
        "loader",
        "Measure how fast batches are read and the memory it takes, beside plain reads.",
    )
    command.add_argument("--data", type=path, required=True, metavar="DATA", help="prepared data set")
    command.add_argument("--out", type=path, required=True, metavar="DIR", help="output folder")
    command.add_argument(
        "--batch-size", type=at_least(1), nargs="+", default=[2048, 32768], metavar="B", help="rows a batch"
    )
    command.add_argument(
        "--depth", type=at_least(0), nargs="+", default=[0, 10], metavar="N", help="batches that may wait ready"
    )
    command.add_argument("--rounds", type=at_least(1), default=5, metavar="N", help="measurements of each")
    command.set_defaults(function=_bench_loader)


def _add_throughput(subjects: Commands) -> None:
    command = add_command(
        subjects, "throughput", "Measure training by size, batch, precision and implementation, whole and in parts."
    )
    command.add_argument("--out", type=path, required=True, metavar="DIR", help="output folder")
    command.add_argument("--sizes", nargs="+", default=["S", "N"], metavar="S", help="models: S, dim 16; N, dim 128")
    command.add_argument(
        "--batch-sizes", type=at_least(1), nargs="+", default=[2048, 4096], metavar="B", help="rows a step"
    )
    command.add_argument(
        "--precisions", nargs="+", default=["fp32", "bf16"], metavar="P", help="fp32, bf16, fp16, tf32"
    )
    command.add_argument(
        "--implementations",
        nargs="+",
        default=["reference", "fast"],
        metavar="I",
        help="reference, deterministic torch; fast, compiled kernels",
    )
    command.add_argument("--rounds", type=at_least(1), default=5, metavar="N", help="rounds over all cases")
    command.add_argument(
        "--steps", type=at_least(2), default=6, metavar="N", help="steps a round; the first is not counted"
    )
    command.add_argument("--data", type=path, metavar="DATA", help="prepared data set; default: a synthetic one")
    command.set_defaults(function=_bench_throughput)


def _add_sides(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=path, required=True, metavar="DIR", help="output folder")
    command.add_argument(
        "--config",
        nargs="+",
        choices=["S", "N", "N32"],
        default=["S"],
        help="S: dim 16, batch 2048; N: dim 128, batch 4096; N32: batch 32768",
    )
    command.add_argument(
        "--against",
        type=_names,
        default=["torchrec", "pytorch"],
        metavar="PEER,...",
        help="torchrec, pytorch, pytorch-onednn (fp32 by oneDNN), pytorch-bf16-compile",
    )
    command.add_argument(
        "--precision",
        nargs="+",
        default=["auto", "fp32", "deterministic"],
        metavar="MODE",
        help="ours: auto, fp32, bf16, each with deterministic=false, or deterministic, in fp32",
    )
    command.add_argument(
        "--rounds", type=at_least(1), metavar="N", help="rounds over all sides; default: the configuration's"
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    return [at_least(1)(number) for number in _names(text)]


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
    _say_metrics(record)


def _bench_training(arguments: Arguments) -> None:
    from dlrm_core.bench.training import bench_training
    from dlrm_core.console import ConsoleProgress

    request = _request(arguments, steps=arguments.steps, batch_size=arguments.batch_size)
    _say_metrics(bench_training(out=arguments.out, request=request, progress=ConsoleProgress()))


def _bench_inference(arguments: Arguments) -> None:
    from dlrm_core.bench.inference import bench_inference
    from dlrm_core.console import ConsoleProgress

    request = _request(arguments, steps=arguments.calls, batch_size=None)
    record = bench_inference(
        out=arguments.out, request=request, batch_sizes=arguments.batch_sizes, progress=ConsoleProgress()
    )
    _say_metrics(record)


def _request(arguments: Arguments, *, steps: int | None, batch_size: int | None) -> Any:
    from dlrm_core.bench.request import Request

    return Request(
        configs=arguments.config,
        against=arguments.against,
        precisions=arguments.precision,
        rounds=arguments.rounds,
        steps=steps,
        batch_size=batch_size,
    )


def _say_metrics(record: Any) -> None:
    for metric in record.metrics:
        say(f"{metric.split}: {metric.name} {metric.value:,.6g} {metric.unit} ({metric.selection})")


def _bench_throughput(arguments: Arguments) -> None:
    from dlrm_core.bench.throughput import bench_throughput
    from dlrm_core.bench.throughput_request import Asked
    from dlrm_core.console import ConsoleProgress

    asked = Asked(
        sizes=arguments.sizes,
        batch_sizes=arguments.batch_sizes,
        precisions=arguments.precisions,
        implementations=arguments.implementations,
        rounds=arguments.rounds,
        steps=arguments.steps,
    )
    record = bench_throughput(out=arguments.out, asked=asked, data=arguments.data, progress=ConsoleProgress())
    _say_metrics(record)


def _bench_loader(arguments: Arguments) -> None:
    from dlrm_core.bench.loader import bench_loader
    from dlrm_core.console import ConsoleProgress

    record = bench_loader(
        data=arguments.data,
        out=arguments.out,
        batch_sizes=arguments.batch_size,
        depths=arguments.depth,
        rounds=arguments.rounds,
        progress=ConsoleProgress(),
    )
    _say_metrics(record)
