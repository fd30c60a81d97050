from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from dlrm_core.schema.config import (
    MlpOptimizerConfig,
    ModelConfig,
    ScheduleConfig,
    StoppingConfig,
    TrainConfig,
    load_preset,
    preset_names,
)
from dlrm_core.schema.errors import KitError

PRESET = {
    "description": "made up",
    "sample": {"rows": 1000},
    "prepare": {"frequency_limit": 2},
    "train": {
        "model": {"embedding_dim": 4, "bottom_mlp_sizes": [8, 4], "top_mlp_sizes": [8, 1]},
        "mlps": {"name": "adam", "lr": 0.25},
        "tables": {"lr": 0.5},
    },
}


@pytest.fixture
def preset(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(PRESET))
    return str(path)


def refused(name, *overrides):
    with pytest.raises(KitError) as caught:
        load_preset(name, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_preset_that_comes_along_is_sound():
    assert {"tiny", "workshop", "criteo-sample"} <= set(preset_names())
    for name in preset_names():
        preset = load_preset(name)
        # The issue asks these of the presets of its three names.
        assert preset.train.deterministic is True
        assert preset.train.precision == "fp32"
        assert preset.description


def test_a_file_of_the_same_shape_is_a_preset(preset):
    made = load_preset(preset)
    assert made.train.model.bottom_mlp_sizes == (8, 4)
    assert made.sample.rows == 1000
    assert made.prepare.frequency_limit == 2


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=7", lambda train: train.seed == 7),
        ("mlps.lr=1e-3", lambda train: train.mlps.lr == 0.001),
        ("mlps.lr=3", lambda train: train.mlps.lr == 3.0),
        ("deterministic=false", lambda train: train.deterministic is False),
        ("schedule.decay_start_step=null", lambda train: train.schedule.decay_start_step is None),
        ("model.top_mlp_sizes=[16, 8, 1]", lambda train: train.model.top_mlp_sizes == (16, 8, 1)),
        ("stopping.rule=best_auc", lambda train: train.stopping.rule == "best_auc"),
    ],
)
def test_override(preset, override, read):
    assert not read(load_preset(preset).train)
    assert read(load_preset(preset, [override]).train)


def test_override_of_one_key_keeps_its_neighbours(preset):
    before, after = load_preset(preset), load_preset(preset, ["mlps.weight_decay=0.5", "seed=1", "seed=2"])
    assert after.train.mlps == MlpOptimizerConfig(name="adam", lr=0.25, weight_decay=0.5)
    assert after.train.seed == 2, "the last one counts"
    assert after.train.model_copy(update={"seed": before.train.seed, "mlps": before.train.mlps}) == before.train
    assert (after.sample, after.prepare, after.baselines) == (before.sample, before.prepare, before.baselines)


def test_override_of_a_section_that_the_preset_leaves_to_its_defaults(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text("{description: short, sample: null, prepare: {}, train: {}}")
    assert load_preset(str(path), ["tables.lr=3.0"]).train.tables.lr == 3.0
    changed = load_preset(str(path), ["tables.weight_decay=0.5"]).train.tables
    assert changed == TrainConfig().tables.model_copy(update={"weight_decay": 0.5})


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sede=3", "did you mean 'seed'?"),
        ("model.embeding_dim=8", "did you mean 'embedding_dim'?"),
        ("shedule.warmup_steps=8", "did you mean 'schedule'?"),
        ("seed", "key.path=value is needed"),
        ("=3", "key.path=value is needed"),
        ("seed=", "'train.seed' is None"),
        ("seed=-1", "greater than or equal to 0"),
        ("seed=9223372036854775808", "less than 9223372036854775808"),
        ("seed.x=3", "train.seed"),
        ("mlps=3", "'train.mlps' is 3"),
        ("mlps.lr=0", "'train.mlps.lr' is 0"),
        ("mlps.lr=fast", "'train.mlps.lr' is 'fast'"),
        ("mlps.lr=.nan", "'train.mlps.lr' is nan"),
        ("mlps.lr=.inf", "'train.mlps.lr' is inf"),
        ("mlps.name=sdg", "'sgd', 'adagrad' or 'adam'"),
        ("epochs=true", "'train.epochs' is True"),
        ("epochs=1.5", "'train.epochs' is 1.5"),
        ("deterministic=7", "'train.deterministic' is 7"),
        ("precision=fp8", "'fp32'"),
        ("model.embedding_dim={", "not YAML"),
        ("model.embedding_dim=8", "must equal embedding_dim 8"),
        ("model.top_mlp_sizes=[8]", "must be 1, the logit"),
        ("model.bottom_mlp_sizes=[]", "must equal embedding_dim"),
        ("model.bottom_mlp_sizes=[0, 4]", "must be positive"),
        ("schedule={warmup_steps: 9, decay_start_step: 8}", "before the end of the warm-up"),
        ("stopping.refit=true", "refit needs a rule"),
    ],
)
def test_impossible_override_is_refused_by_name(preset, override, said):
    message = refused(preset, override)
    assert said in message
    assert f"--set {override}" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a mapping is needed"),
        ("- 1\n", "a mapping is needed"),
        ("a: [\n", "is not YAML"),
        ("description: x\nsample: null\nprepare: {}\n", None),
        ("description: x\nsample: null\nprepare: {}\ntrain:\n", "train"),
        ("description: x\nsample: null\nprepare: {}\ntrain: [1]\n", "train"),
        ("description: x\nsample: {rows: 1000, dais: 3}\nprepare: {}\ntrain: {}\n", "did you mean 'days'?"),
        ("description: x\nsample: {rows: 10}\nprepare: {}\ntrain: {}\n", "greater than or equal to 1000"),
        ("description: x\nsample: null\nprepare: {vocabulary: al}\ntrain: {}\n", "'train' or 'all'"),
        ("description: x\nprepare: {}\ntrain: {}\n", "key 'sample' is missing"),
        ("description: x\nsample: null\nprepare: {}\ntrain: {}\ntrian: {}\n", "did you mean 'train'?"),
    ],
)
@pytest.mark.parametrize("overrides", [[], ["seed=3"], ["model.dropout=0.5"]])
def test_faults_of_a_preset_file(tmp_path, text, said, overrides):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    if said is None:
        assert load_preset(str(path), overrides).train.seed in (3, TrainConfig().seed)
    else:
        message = refused(str(path), *overrides)
        assert str(path) in message
        assert said in message


def test_a_preset_that_is_no_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00a")
    assert str(path) in refused(str(path))


def test_unknown_preset(tmp_path):
    assert "did you mean 'workshop'?" in refused("workshp")
    assert "no such preset file" in refused(str(tmp_path / "none.yaml"))
    assert "no such preset file" in refused(str(Path(tmp_path / "folder.yaml")))


def test_defaults_are_those_of_june_2020():
    train = TrainConfig()
    assert train.model == ModelConfig(
        embedding_dim=128, bottom_mlp_sizes=(512, 256, 128), top_mlp_sizes=(1024, 1024, 512, 256, 1)
    )
    assert (train.mlps.name, train.mlps.lr, train.tables.lr, train.batch_size) == ("sgd", 28.0, 28.0, 32768)
    assert train.schedule == ScheduleConfig(warmup_steps=6400, decay_start_step=64000, decay_steps=80000)
    assert train.stopping == StoppingConfig(rule="last")


def test_frozen_to_the_leaves():
    train = TrainConfig()
    for section in (train, train.model, train.mlps, train.schedule, train.stopping):
        name = next(iter(type(section).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, name, getattr(section, name))


def test_configuration_survives_its_own_json(preset):
    made = load_preset(preset, ["seed=4", "mlps.lr=0.1"])
    assert type(made).from_json(made.to_json(), source="x") == made
