"""The complete, frozen configuration of a run, and the presets that hold whole ones."""

from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from dlrm_core.schema.base import Strict, nearest, parse_yaml
from dlrm_core.schema.dataset import Preparation
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.yaml_file import read_mapping


class ModelConfig(Strict):
    """Shape, initialisation and implementations of the DLRM. Defaults are those of June 2020; the pad width is HEAD's.

    `embedding_type` says how the tables are stored and looked up, `interaction` what runs; ``auto`` picks and the record
    says what. `hash_indices` takes every id modulo its table's rows; `max_table_size` caps those rows and needs it.
    """

    embedding_dim: int = Field(default=128, ge=1)
    embedding_type: Literal["auto", "multi_table", "joint", "joint_fused", "joint_sparse"] = "auto"
    hash_indices: bool = False
    max_table_size: int | None = Field(default=None, ge=1)
    bottom_mlp_sizes: tuple[int, ...] = (512, 256, 128)
    top_mlp_sizes: tuple[int, ...] = (1024, 1024, 512, 256, 1)
    interaction: Literal["auto", "cuda_dot", "dot", "cat"] = "auto"
    interaction_pad: Literal["multiple_of_8", "one_column"] = "multiple_of_8"
    output_init: Literal["uniform", "normal"] = "uniform"
    embedding_init_scale: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _shapes(self) -> "ModelConfig":
        if not self.bottom_mlp_sizes or self.bottom_mlp_sizes[-1] != self.embedding_dim:
            raise ValueError(
                f"the last of bottom_mlp_sizes {list(self.bottom_mlp_sizes)} must equal embedding_dim {self.embedding_dim}"
            )
        if not self.top_mlp_sizes or self.top_mlp_sizes[-1] != 1:
            raise ValueError(f"the last of top_mlp_sizes {list(self.top_mlp_sizes)} must be 1, the logit")
        if min(self.bottom_mlp_sizes + self.top_mlp_sizes) < 1:
            raise ValueError("layer sizes must be positive")
        if self.max_table_size is not None and not self.hash_indices:
            raise ValueError(
                f"max_table_size {self.max_table_size} needs hash_indices true: larger ids would have no row"
            )
        return self


class OptimizerConfig(Strict):
    """One update rule. `weight_decay` is the L2 term added to the gradient; for tables, of the rows in the batch."""

    name: Literal["sgd", "adagrad", "adam"] = "sgd"
    lr: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)


class MlpOptimizerConfig(OptimizerConfig):
    """The update rule of the MLPs.

    `decoupled_decay`, of adam only, shrinks the weights (not the biases) by the factor 1 - lr * decoupled_decay before
    each update (Loshchilov and Hutter, arXiv:1711.05101).
    """

    decoupled_decay: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _decay(self) -> "MlpOptimizerConfig":
        if self.decoupled_decay and (self.name != "adam" or self.weight_decay):
            raise ValueError("decoupled_decay needs name adam and no weight_decay")
        return self


class TableOptimizerConfig(OptimizerConfig):
    """The update rule of the tables.

    `dense_decay` shrinks every row at every step by the factor 1 - lr * dense_decay, decoupled from the gradient (Loshchilov
    and Hutter, arXiv:1711.05101), so that rare ids are regularised as much as frequent ones. It costs a pass over all
    tables a step: for small ones.
    """

    dense_decay: float = Field(default=0.0, ge=0)


class LossScaleConfig(Strict):
    """Factor on the loss before the backward pass of fp16; the gradients are divided by it before the update.

    ``static`` keeps `value` (June 2020: 1024), and an overflow is an error. ``dynamic`` starts from `value`, skips a step
    whose gradients overflow, for MLPs and tables alike, and halves the factor; after `growth_interval` good steps it
    doubles (HEAD: 65536, and practically never).
    """

    kind: Literal["static", "dynamic"] = "static"
    value: float = Field(default=1024.0, gt=0)
    growth_interval: int = Field(default=2000, ge=1)


class ScheduleConfig(Strict):
    """Warm-up, then constant, then polynomial decay; in optimisation steps. Factors apply to every learning rate.

    June 2020's single-GPU code fixes the power at 2 and the floor at 1e-7 whatever the flags say; they are defaults here.
    """

    warmup_steps: int = Field(default=6400, ge=0)
    warmup_factor: int = Field(default=0, ge=0)
    decay_start_step: int | None = Field(default=64000, ge=0)
    decay_steps: int = Field(default=80000, ge=0)
    decay_power: float = Field(default=2.0, gt=0)
    decay_end_lr: float = Field(default=1e-7, ge=0)

    @model_validator(mode="after")
    def _order(self) -> "ScheduleConfig":
        if self.decay_start_step is not None and self.decay_start_step < self.warmup_steps:
            raise ValueError(
                f"decay_start_step {self.decay_start_step} lies before the end of the warm-up, {self.warmup_steps}"
            )
        return self


class StoppingConfig(Strict):
    """When the model is looked at, on the validation part or the held-back tail, and which state is kept.

    ``last`` keeps the last state. ``best_log_loss`` and ``best_auc`` keep the state of the best evaluation and stop after
    `patience` evaluations without a better one. ``refit``, after that, trains anew on all training rows, the held-back
    ones included, for the number of epochs found best.
    """

    rule: Literal["last", "best_auc", "best_log_loss"] = "last"
    evaluations_per_epoch: int = Field(default=1, ge=1)
    patience: int = Field(default=2, ge=1)
    refit: bool = False

    @model_validator(mode="after")
    def _refit(self) -> "StoppingConfig":
        if self.refit and self.rule == "last":
            raise ValueError("refit needs a rule that chooses when to stop: best_auc or best_log_loss")
        return self


class TrainConfig(Strict):
    """Everything that decides what training does, given the data.

    `deterministic` gives the same bits for any number of threads. `precision` is the type the MLPs and the interaction
    compute in, weights being float32; ``auto`` is fp32 if deterministic, else the fastest that the processor offers.
    `max_steps` ends training early; `max_rows` takes the first rows of the training part only. `test_freq`, in steps,
    replaces `stopping.evaluations_per_epoch`; `test_after`, in epochs, is when the first evaluation may come; training
    ends once an evaluation's AUC reaches `auc_threshold`. `benchmark_warmup_steps` are left out of the throughput.
    Up to `prefetch_depth` batches wait ready beside the one in use; with 0 each is read when it is needed.
    `shuffle_batch_order` draws a new order of the batches each epoch and `reshuffle` one of the rows. `standardize` gives
    the bottom MLP numericals of mean 0 and standard deviation 1 over the rows trained on; afterwards that map is folded
    into its first layer.
    """

    seed: int = Field(default=12345, ge=0, lt=2**63)
    deterministic: bool = True
    precision: Literal["auto", "fp32", "tf32", "fp16", "bf16"] = "fp32"
    loss_scale: LossScaleConfig = LossScaleConfig()
    model: ModelConfig = ModelConfig()
    mlps: MlpOptimizerConfig = MlpOptimizerConfig(lr=28.0)
    tables: TableOptimizerConfig = TableOptimizerConfig(lr=28.0)
    schedule: ScheduleConfig = ScheduleConfig()
    batch_size: int = Field(default=32768, ge=1)
    test_batch_size: int = Field(default=32768, ge=1)
    epochs: int = Field(default=1, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    max_rows: int | None = Field(default=None, ge=1)
    test_freq: int | None = Field(default=None, ge=1)
    test_after: float = Field(default=0.0, ge=0)
    auc_threshold: float | None = Field(default=None, gt=0, le=1)
    print_freq: int = Field(default=200, ge=1)
    benchmark_warmup_steps: int = Field(default=0, ge=0)
    prefetch_depth: int = Field(default=10, ge=0)
    shuffle_batch_order: bool = False
    reshuffle: bool = False
    standardize: bool = False
    average_decay: float = Field(default=0.0, ge=0, lt=1)
    stopping: StoppingConfig = StoppingConfig()

    @model_validator(mode="after")
    def _orders(self) -> "TrainConfig":
        if self.shuffle_batch_order and self.reshuffle:
            raise ValueError("shuffle_batch_order and reshuffle both say in which order rows come; choose one")
        if self.test_freq is not None and self.stopping.evaluations_per_epoch != 1:
            raise ValueError("test_freq and stopping.evaluations_per_epoch both say when to evaluate; choose one")
        return self


MOST_ROWS = 2**31  # of a table: ids are kept as int32 at most


class SyntheticConfig(Strict):
    """Rows made by no teacher, to measure speed: ids uniform or by Zipf's law, numericals the size of a standard normal.

    `cardinalities` are the rows of each table; of the ids of a table every one can occur.
    """

    rows: int = Field(default=1_000_000, ge=1)
    test_rows: int = Field(default=100_000, ge=0)
    cardinalities: tuple[int, ...] = (100_000,) * 26
    numerical: int = Field(default=13, ge=1)
    ids: Literal["uniform", "zipf"] = "zipf"
    zipf_exponent: float = Field(default=1.1, gt=0)
    click_rate: float = Field(default=0.03, gt=0, lt=1)
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _tables(self) -> "SyntheticConfig":
        if not self.cardinalities or min(self.cardinalities) < 1:
            raise ValueError(
                f"cardinalities are {list(self.cardinalities)}; at least one table of at least one row is needed"
            )
        if max(self.cardinalities) >= MOST_ROWS:
            raise ValueError(
                f"the largest table has {max(self.cardinalities)} rows; ids are int32, below {MOST_ROWS} is needed"
            )
        return self

    def words(self) -> str:
        """NAME=VALUE for each field, as the commands take them."""
        values = self.model_dump(mode="json") | {"cardinalities": ",".join(map(str, self.cardinalities))}
        return " ".join(f"{name}={value}" for name, value in values.items())


class SampleConfig(Strict):
    """Size and seed of the planted sample."""

    rows: int = Field(ge=1000)
    days: int = Field(default=7, ge=2, le=64)
    seed: int = Field(default=2020, ge=0)


class BaselinesConfig(Strict):
    """What the baselines are tuned over, on the validation part or the held-back tail.

    `tune_rows` limits the rows that each setting of the grid is fitted on, the last ones on disk; the chosen one is fitted
    on all. `tree_features` is the share of the columns that each node of a tree may choose from.
    """

    seed: int = Field(default=12345, ge=0)
    logistic_c: tuple[float, ...] = (0.05,)
    logistic_frequency_limit: int = Field(default=10, ge=1)
    tree_learning_rates: tuple[float, ...] = (0.1,)
    tree_leaf_nodes: tuple[int, ...] = (31,)
    tree_l2: float = Field(default=0.0, ge=0)
    tree_features: float = Field(default=1.0, gt=0, le=1)
    tree_rows_per_leaf: int = Field(default=20, ge=1)
    most_trees: int = Field(default=500, ge=1)
    tune_rows: int | None = Field(default=None, ge=1)


class Preset(Strict):
    """One YAML of `dlrm_core/presets`: a whole configuration of every stage."""

    description: str
    sample: SampleConfig | None
    prepare: Preparation
    train: TrainConfig = TrainConfig()
    baselines: BaselinesConfig = BaselinesConfig()


def synthetic_config(words: list[str] | tuple[str, ...]) -> SyntheticConfig:
    """The configuration that NAME=VALUE words say; cardinalities as 10,20,30 or 100000x26 or both together.

    >>> synthetic_config(["rows=1000", "cardinalities=5,100x2"]).cardinalities
    (5, 100, 100)

    Raises
    ------
    KitError
        If a word or a value does not fit.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise KitError(f"{word}: NAME=VALUE is needed, for example rows=1000000")
        values[name] = _cardinalities(text) if name == "cardinalities" else parse_yaml(text, source=word)
    return SyntheticConfig.from_dict(values, source="synthetic data")


def _cardinalities(text: str) -> list[int]:
    found: list[int] = []
    for piece in text.split(","):
        rows, _, times = piece.partition("x")
        if not rows.isdecimal() or (times and not times.isdecimal()):
            raise KitError(f"cardinalities={text}: {piece!r} came, numbers like 10,20,30 or 100000x26 are needed")
        found += [int(rows)] * int(times or 1)
    return found


def preset_names() -> list[str]:
    """Names of the presets that come with the kit."""
    folder = resources.files("dlrm_core") / "presets"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_preset(name: str, overrides: list[str] | tuple[str, ...] = ()) -> Preset:
    """Read a preset and apply `key.path=value` overrides to its training part.

    Parameters
    ----------
    name : str
        One of :func:`preset_names`, or the path of a YAML of the same shape.
    overrides : list of str
        Each `key.path=value`; the value is read as YAML. Keys name fields of the training configuration. `test_freq` takes
        the place of the preset's `stopping.evaluations_per_epoch`.

    Raises
    ------
    KitError
        If there is no such preset, or it or an override does not fit the schema.
    """
    values, source = _preset_values(name)
    preset = Preset.from_dict(values, source=source)
    if not overrides:
        return preset
    changed = preset.model_dump(mode="json")
    if any(override.startswith("test_freq=") for override in overrides):  # takes the place of the preset's own rhythm
        changed["train"]["stopping"].pop("evaluations_per_epoch")
    for override in overrides:
        _apply(changed["train"], override)
    return Preset.from_dict(changed, source=f"{source} with --set {' '.join(overrides)}")


def _preset_values(name: str) -> tuple[dict[str, Any], str]:
    if name.endswith((".yaml", ".yml")):
        return read_mapping(Path(name), "no such preset file"), name
    if name not in preset_names():
        raise KitError(f"unknown preset {name!r}{nearest(name, preset_names())}; presets: {', '.join(preset_names())}")
    with resources.as_file(resources.files("dlrm_core") / "presets" / f"{name}.yaml") as path:
        return read_mapping(path, "a preset of the kit"), f"preset {name}"


def _apply(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise KitError(f"--set {override}: key.path=value is needed, for example --set seed=3")
    *parents, last = path.strip().split(".")
    for depth, key in enumerate(parents, 1):
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise KitError(f"--set {override}: 'train.{'.'.join(parents[:depth])}' is a value, not a section")
    values[last] = parse_yaml(text, source=f"--set {override}: the value")
