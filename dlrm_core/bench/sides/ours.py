"""Our model and its training step, in one of its modes."""

from typing import Any

import torch
from torch import Tensor, nn

from dlrm_core.bench.sides.plain import load_linears
from dlrm_core.bench.sides.side import Side, tensor
from dlrm_core.bench.workload import CARDINALITIES, LEARNING_RATE, NUM_NUMERICAL, Arrays, Workload, initial_weights
from dlrm_core.data import Batch
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.dataset import CategoricalFeature, DatasetSpec, Preparation, Split, id_dtype
from dlrm_core.train.checkpoint import build_model
from dlrm_core.train.evaluate import predict_batch
from dlrm_core.train.implementation import choose
from dlrm_core.train.shards import Shards
from dlrm_core.train.step import TrainStep


class Ours(Side[Batch]):
    """`mode` is a precision, not deterministic, or ``deterministic``, which is fp32."""

    def __init__(self, workload: Workload, mode: str) -> None:
        super().__init__(workload)
        config = train_config(workload, mode)
        implementation = choose(config)
        asked = f"dlrm_core, precision={config.precision} deterministic={str(config.deterministic).lower()}"
        self.description = "; ".join([asked, *(f"{what}: {how}" for what, how in implementation.choices.items())])
        self._model = build_model(config.model, _spec(), config.seed, implementation)
        _load(self._model, workload)
        self._shards = Shards(deterministic=config.deterministic)
        self._step = TrainStep(self._model, config, self._shards)

    def native(self, arrays: Arrays) -> Batch:
        """A batch as the loader gives it."""
        return Batch(tensor(arrays.numerical_BN), tensor(arrays.ids_BT), tensor(arrays.label_B))

    def step(self, batch: Batch) -> Tensor:
        """What the training loop does with a batch."""
        return self._step.run(batch)

    def logits(self, batch: Batch) -> Tensor:
        """Logits of shape (B,), by the evaluation's function."""
        return predict_batch(self._model, batch, self._shards)

    def predict(self, batch_size: int, calls: int) -> dict[str, Any]:
        """As the base does; the weights are taken over before the first call."""
        if self._model.fused is not None:
            self._model.fused.refresh()
        return super().predict(batch_size, calls)


def train_config(workload: Workload, mode: str) -> TrainConfig:
    """The configuration of a mode: SGD at a constant rate, else the defaults.

    Raises
    ------
    KitError
        If the mode is none.
    """
    rate = {"name": "sgd", "lr": LEARNING_RATE}
    values = {
        "seed": workload.seed,
        "deterministic": mode == "deterministic",
        "precision": "fp32" if mode == "deterministic" else mode,
        "model": {
            "embedding_dim": workload.embedding_dim,
            "bottom_mlp_sizes": workload.bottom_mlp_sizes,
            "top_mlp_sizes": workload.top_mlp_sizes,
        },
        "mlps": rate,
        "tables": rate,
        "schedule": {"warmup_steps": 0, "decay_start_step": None, "decay_steps": 0},
        "batch_size": workload.batch_size,
    }
    return TrainConfig.from_dict(values, source=f"the mode ours:{mode}")


def _spec() -> DatasetSpec:
    """A description of data that exist in memory only; the model is built from its cardinalities."""
    features = tuple(
        CategoricalFeature(
            name=f"C{number}", file=f"C{number}.bin", cardinality=rows, dtype=id_dtype(rows), frequency_limit=1
        )
        for number, rows in enumerate(CARDINALITIES, 1)
    )
    empty = Split(rows=0, digests={}, sources=())
    return DatasetSpec(
        numerical=tuple(f"I{number}" for number in range(1, NUM_NUMERICAL + 1)),
        categorical=features,
        preparation=Preparation(),
        engine="benchmark",
        vocabulary_digest="",
        splits={"train": empty, "validation": empty, "test": empty},
        digest="",
    )


@torch.no_grad()
def _load(model: Dlrm, workload: Workload) -> None:
    weights = initial_weights(workload)
    for layers, arrays in ((model.bottom, weights.bottom), (model.top, weights.top)):
        load_linears([layer for layer in layers if isinstance(layer, nn.Linear)], arrays)
    for table, array in zip(model.tables(), weights.tables, strict=True):
        table.copy_(torch.from_numpy(array))
