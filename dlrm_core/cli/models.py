"""Commands on prepared data: train, evaluate, baselines."""

from dlrm_core.cli.common import Arguments, Commands, add_command, add_preset, at_least, path, say


def add_commands(commands: Commands) -> None:
    """Declare the commands of this room."""
    _add_train(commands)
    _add_evaluate(commands)
    _add_baselines(commands)


def _add_train(commands: Commands) -> None:
    command = add_command(commands, "train", "Train a DLRM on a prepared data set.")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=path, metavar="DATA", help="prepared data set")
    source.add_argument(
        "--synthetic", nargs="+", metavar="NAME=VALUE", help="rows made in memory instead, as of `dlrm synthetic`"
    )
    command.add_argument("--out", type=path, required=True, metavar="RUN", help="output folder")
    add_preset(command)
    command.add_argument(
        "--profile",
        type=at_least(1),
        nargs="?",
        const=20,
        default=0,
        metavar="STEPS",
        help="profile so many steps: RUN/profile/trace.json and table.txt; 20 if no number is given",
    )
    command.set_defaults(function=_train)


def _add_evaluate(commands: Commands) -> None:
    command = add_command(
        commands, "evaluate", "Score a split with a trained model and record its metrics in RUN/run.json."
    )
    command.add_argument("--run", type=path, required=True, metavar="RUN", help="folder of a finished training run")
    command.add_argument("--data", type=path, required=True, metavar="DATA", help="prepared data set")
    command.add_argument("--split", choices=["train", "validation", "test"], default="test", help="part to score")
    command.set_defaults(function=_evaluate)


def _add_baselines(commands: Commands) -> None:
    command = add_command(
        commands, "baselines", "Fit constant click rate, logistic regression and boosted trees on the same rows."
    )
    command.add_argument("--data", type=path, required=True, metavar="DATA", help="prepared data set")
    command.add_argument(
        "--out", type=path, required=True, metavar="DIR", help="output folder, one folder a baseline in it"
    )
    command.add_argument("--preset", default="workshop", help="preset whose tuning grid is used")
    command.set_defaults(function=_baselines)


def _train(arguments: Arguments) -> None:
    from dlrm_core.console import ConsoleProgress
    from dlrm_core.schema.config import load_preset, synthetic_config
    from dlrm_core.train.run import train

    overrides = [override for group in arguments.overrides for override in group]
    preset = load_preset(arguments.preset, overrides)
    say(f"configuration: {preset.train.model_dump_json()}")
    record = train(
        data=arguments.data or synthetic_config(arguments.synthetic),
        out=arguments.out,
        config=preset.train,
        preset=arguments.preset,
        overrides=overrides,
        listener=ConsoleProgress().train_event,
        profile_steps=arguments.profile,
    )
    following = f"; next: dlrm evaluate --run {arguments.out} --data {arguments.data}" if arguments.data else ""
    say(f"trained in {record.timings_s['total']:.1f} s{following}")


def _evaluate(arguments: Arguments) -> None:
    from dlrm_core.console import ConsoleProgress
    from dlrm_core.train.scoring import evaluate

    record = evaluate(run=arguments.run, data=arguments.data, split=arguments.split, progress=ConsoleProgress())
    for metric in record.metrics:
        if metric.split == arguments.split:
            unit = "" if metric.unit == "1" else f" {metric.unit}"
            say(f"{metric.split} {metric.name}: {metric.value:{',.0f' if metric.unit == 'rows' else '.6f'}}{unit}")


def _baselines(arguments: Arguments) -> None:
    from dlrm_core.baselines import run_baselines
    from dlrm_core.console import ConsoleProgress
    from dlrm_core.schema.config import load_preset

    preset = load_preset(arguments.preset)
    for record in run_baselines(
        data=arguments.data,
        out=arguments.out,
        config=preset.baselines,
        preset=arguments.preset,
        progress=ConsoleProgress(),
    ):
        auc, loss = record.metric("auc", "test"), record.metric("log_loss", "test")
        if auc and loss:
            say(f"{record.name}: test AUC {auc.value:.6f}, log loss {loss.value:.6f}")
