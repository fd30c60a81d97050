"""The command sweep: one preset, several seeds, several precisions."""

from dlrm_core.cli.common import Arguments, Commands, add_command, add_preset, path, say

EXPLAINED = (
    "what each run computes in; the first is what the others are compared with. Exact, the same bits on any threads: fp32, "
    "bf16, fp16-static and fp16-dynamic (kinds of loss scale). Fast, compiled kernels: fp32-fast, bf16-fast, and auto, the "
    "faster of the two here"
)


def add_commands(commands: Commands) -> None:
    """Declare the commands of this room."""
    from dlrm_core.train.modes import DEFAULT, MODES

    command = add_command(
        commands,
        "sweep",
        "Train and score a preset with several seeds in several precisions, a run folder DIR/PRECISION-seed-N each. Killed, "
        "the same command goes on where it stopped; with more seeds or precisions it trains what is new.",
    )
    command.add_argument("--data", type=path, required=True, metavar="DATA", help="prepared data set with a test part")
    command.add_argument("--out", type=path, required=True, metavar="DIR", help="output folder, new or of this sweep")
    add_preset(command)
    command.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="S", help="two or more")
    command.add_argument(
        "--precisions", nargs="+", choices=list(MODES), default=list(DEFAULT), metavar="NAME", help=EXPLAINED
    )
    command.add_argument(
        "--discard-weights", action="store_true", help="delete a run's weights once it is scored; predictions stay"
    )
    command.set_defaults(function=_sweep)


def _sweep(arguments: Arguments) -> None:
    from dlrm_core.console import ConsoleProgress
    from dlrm_core.schema.errors import KitError
    from dlrm_core.train.sweep import failures, sweep
    from dlrm_core.train.sweep_request import Request

    request = Request(
        preset=arguments.preset,
        seeds=arguments.seeds,
        modes=arguments.precisions,
        overrides=[override for group in arguments.overrides for override in group],
        discard_weights=arguments.discard_weights,
    )
    record = sweep(data=arguments.data, out=arguments.out, request=request, progress=ConsoleProgress())
    for metric in record.metrics:
        unit = "" if metric.unit == "1" else f" {metric.unit}"
        say(f"{metric.name}: {metric.value:.{0 if metric.unit == 'runs' else 6}f}{unit} ({metric.selection})")
    failed = failures(record)
    if failed:
        reasons = "; ".join(f"{run}: {reason}" for run, reason in failed.items())
        raise KitError(
            f"{len(failed)} of the runs failed, the others are finished and recorded in {arguments.out}; {reasons}; mend the "
            "cause and give the same command again, or sweep without them"
        )
