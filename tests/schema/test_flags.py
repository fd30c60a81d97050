"""The table of published flags: complete, and its counterparts there."""

import re
from pathlib import Path

import pytest

from dlrm_core.cli import main
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.flags import Flag, flags_table, published_flags

README = Path(__file__).resolve().parents[2] / "README.md"

# absl's DEFINE_ calls of both commits, as facts: names only.
JUNE_2020 = """
mode seed batch_size test_batch_size lr epochs max_steps warmup_factor warmup_steps decay_steps decay_start_step decay_power
decay_end_lr embedding_type embedding_dim top_mlp_sizes bottom_mlp_sizes interaction_op dataset dataset_type
synthetic_dataset_dir synthetic_dataset_table_sizes synthetic_dataset_num_entries shuffle_batch_order num_numerical_features
max_table_size hash_indices dataset_subset load_checkpoint_path save_checkpoint_path output_dir log_path test_freq test_after
print_freq benchmark_warmup_steps base_device amp loss_scale inference_benchmark_batch_sizes inference_benchmark_steps
auc_threshold optimized_mlp backend bottom_features_ordered
"""
NEW_AT_HEAD = """
feature_spec synthetic_dataset_numerical_features synthetic_dataset_use_feature_spec cuda_graphs auc_device freeze_mlps
freeze_embeddings Adam_embedding_optimizer Adam_MLP_optimizer
"""
GONE_AT_HEAD = "loss_scale dataset_subset num_numerical_features output_dir synthetic_dataset_dir"


def test_every_flag_has_an_answer_and_no_other():
    june, head = set(JUNE_2020.split()), set(JUNE_2020.split()) | set(NEW_AT_HEAD.split())
    head -= set(GONE_AT_HEAD.split())
    flags = published_flags()
    assert len({flag.flag for flag in flags}) == len(flags)
    assert {flag.flag for flag in flags if flag.june_2020} == june
    assert {flag.flag for flag in flags if flag.head} == head


@pytest.mark.parametrize("flag", [flag for flag in published_flags() if flag.set], ids=lambda flag: flag.flag)
def test_the_value_to_set_exists(flag):
    values = TrainConfig().model_dump()
    for key in flag.set.split("."):
        assert key in values
        values = values[key]


@pytest.mark.parametrize("flag", [flag for flag in published_flags() if flag.command], ids=lambda flag: flag.flag)
def test_the_command_exists(flag, capsys):
    for command in flag.command.split(", "):
        program, *words = command.split()
        option = words.pop() if words[-1].startswith("--") else None
        assert program == "dlrm"
        with pytest.raises(SystemExit) as stopped:
            main([*words, "--help"])
        assert stopped.value.code == 0
        assert option is None or re.search(rf"{option}\b", capsys.readouterr().out)


def test_one_answer_each():
    for answers in ({}, {"set": "seed", "command": "dlrm train"}):
        with pytest.raises(ValueError, match="exactly one"):
            Flag(flag="x", june_2020=True, head=True, **answers)


def test_the_readme_shows_the_table():
    assert flags_table() in README.read_text(encoding="utf-8")
