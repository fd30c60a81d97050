import pytest

from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.errors import KitError
from reports.cards.architecture import architecture, architecture_blocks
from reports.cards.card import Words
from tests.reports.conftest import Runs

SHAPES = [
    {"embedding_dim": 4, "bottom_mlp_sizes": (6, 4), "top_mlp_sizes": (5, 1)},
    {"embedding_dim": 4, "bottom_mlp_sizes": (4,), "top_mlp_sizes": (1,), "interaction": "cat"},
    {"embedding_dim": 5, "bottom_mlp_sizes": (5,), "top_mlp_sizes": (3, 1), "interaction_pad": "one_column"},
    {"embedding_dim": 8, "bottom_mlp_sizes": (8,), "top_mlp_sizes": (1,), "hash_indices": True, "max_table_size": 5},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_those_of_the_model_that_is_built(runs, shape):
    spec = runs.dataset()
    made = architecture(TrainConfig.from_dict({"model": shape}, source="a test").model_dump(mode="json"), spec)
    numerical = len(spec.numerical)
    built = Dlrm(cardinalities=list(spec.cardinalities.values()), num_numerical=numerical, **shape)
    assert made.parameters == sum(parameter.numel() for parameter in built.parameters()) + uncounted(built)
    assert made.top[0] == built.top[0].in_features
    assert made.bottom == (numerical, *shape["bottom_mlp_sizes"])
    assert tuple(made.tables.values()) == built.cardinalities


def uncounted(model: Dlrm) -> int:
    """Elements of tables that are no parameters of torch."""
    known = {id(parameter) for parameter in model.parameters()}
    return 0 if id(model.table_VD) in known else model.table_VD.numel()


def test_a_configuration_of_another_version_is_refused_and_the_card_says_so(runs: Runs):
    spec, config = runs.dataset(), TrainConfig().model_dump(mode="json") | {"log_every": 10}
    with pytest.raises(KitError, match="log_every"):
        architecture(config, spec)
    (block,) = architecture_blocks(config, spec)
    assert isinstance(block, Words)
    assert "cannot be counted" in block.text
    assert "log_every" in block.text


def test_without_a_description_of_the_data_nothing_is_counted():
    (block,) = architecture_blocks(TrainConfig().model_dump(mode="json"), None)
    assert "cannot be counted" in block.text
