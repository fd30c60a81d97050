"""Small DATA folders written byte by byte, tiny configurations, and a DLRM in plain PyTorch to compare with."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlrm_core.data import Batch, Part
from dlrm_core.model.dlrm import Dlrm
from dlrm_core.schema.config import TrainConfig
from dlrm_core.schema.dataset import CategoricalFeature, DatasetSpec, Preparation, Split, id_dtype
from dlrm_core.schema.files import sha256_bytes, sha256_file
from dlrm_core.schema.record import RunRecord
from dlrm_core.train.run import train

CARDINALITIES = (5, 130, 40)  # the second needs int16
NUM_NUMERICAL = 4


def write_dataset(
    folder: Path,
    *,
    train: int = 230,
    validation: int = 0,
    test: int = 90,
    holdback: int | None = None,
    cardinalities: Sequence[int] = CARDINALITIES,
    num_numerical: int = NUM_NUMERICAL,
    seed: int = 0,
    vocabulary: str = "of the tests",
    preparation: Preparation | None = None,
) -> DatasetSpec:
    """DATA with a signal in the first numerical and the parity of the first id; every split has both classes from 2 rows on."""
    generator = np.random.default_rng(seed)
    features = tuple(
        CategoricalFeature(name=f"C{i}", file=f"cat_{i}.bin", cardinality=n, dtype=id_dtype(n), frequency_limit=1)
        for i, n in enumerate(cardinalities)
    )
    splits = {}
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        numerical = np.abs(generator.normal(1.0, 1.0, (rows, num_numerical))).astype(np.float16)
        # Frequent ids come first, so that batches hold duplicates.
        ids = [
            (n * generator.random(rows) ** 2).astype(np.dtype(f.dtype))
            for n, f in zip(cardinalities, features, strict=True)
        ]
        logit = 1.5 * (numerical[:, 0].astype(np.float64) - 1.0) + np.where(ids[0] % 2, 1.0, -1.0)
        label = generator.random(rows) < 1 / (1 + np.exp(-logit))
        label[: min(rows, 2)] = [False, True][: min(rows, 2)]
        label.tofile(target / "label.bin")
        numerical.tofile(target / "numerical.bin")
        for feature, column in zip(features, ids, strict=True):
            column.tofile(target / feature.file)
        files = ["label.bin", "numerical.bin", *(f.file for f in features)]
        splits[name] = Split(
            rows=rows,
            digests={file: sha256_file(target / file) for file in files},
            sources=(),
            holdback_rows=(rows // 10 if holdback is None and not validation else holdback or 0)
            if name == "train"
            else 0,
        )
    preparation, vocabulary_digest = preparation or Preparation(), sha256_bytes(vocabulary.encode())
    spec = DatasetSpec(
        numerical=tuple(f"I{i}" for i in range(num_numerical)),
        categorical=features,
        preparation=preparation,
        engine="test builder",
        vocabulary_digest=vocabulary_digest,
        splits=splits,  # type: ignore[arg-type]
        digest=DatasetSpec.digest_of(features, preparation, vocabulary_digest, splits),
    )
    (folder / "dataset.json").write_text(spec.to_json())
    return spec


def tiny_config(**changes: Any) -> TrainConfig:
    """A whole configuration of a model with a few hundred weights; nested changes replace whole sections."""
    values: dict[str, Any] = {
        "seed": 1,
        "model": {"embedding_dim": 6, "bottom_mlp_sizes": [8, 6], "top_mlp_sizes": [10, 5, 1]},
        "mlps": {"name": "sgd", "lr": 0.3},
        "tables": {"name": "sgd", "lr": 0.5},
        "schedule": {"warmup_steps": 3, "decay_start_step": 6, "decay_steps": 40},
        "batch_size": 64,
        "test_batch_size": 50,
        "print_freq": 2,
    }
    return TrainConfig.from_dict(values | changes, source="the test")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run a block with that many torch threads."""
    saved = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(saved)


class DoublePart(Part):
    """A part whose tensors are float64, so that two computations of the same thing agree to about 1e-15."""

    def read(self, start: int, stop: int, order: NDArray[np.int64] | None = None) -> Batch:
        batch = super().read(start, stop, order)
        return Batch(batch.numerical_BN.double(), batch.ids_BT, batch.label_B.double())


class PlainDlrm(nn.Module):
    """The DLRM as a textbook would write it: a list of nn.Embedding, one loop over pairs, nn.Sequential.

    The keyword arguments make it wrong on purpose, so that a check can be shown to notice.
    """

    def __init__(
        self,
        model: Dlrm,
        *,
        relu_after_last_bottom: bool = True,
        relu_after_logit: bool = False,
        upper_triangle: bool = False,
        swap_tables: bool = False,
    ) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding.from_pretrained(t.clone(), freeze=False) for t in model.tables())
        self.bottom = nn.ModuleList(_copy(layer) for layer in model.bottom)
        self.top = nn.ModuleList(_copy(layer) for layer in model.top)
        self.interaction = model.interaction
        self.pad = model.interaction_pad
        self.relu_after_last_bottom = relu_after_last_bottom
        self.relu_after_logit = relu_after_logit
        self.upper_triangle = upper_triangle
        self.swap_tables = swap_tables

    def forward(self, numerical_BN: Tensor, ids_BT: Tensor) -> Tensor:
        """Logits, (B,)."""
        x = numerical_BN
        for place, layer in enumerate(self.bottom):
            x = layer(x)
            if place < len(self.bottom) - 1 or self.relu_after_last_bottom:
                x = x.clamp(min=0)
        vectors = [x] + [table(ids_BT[:, t]) for t, table in enumerate(self.tables)]
        if self.swap_tables:
            vectors[1:] = vectors[:0:-1]
        z = self._interact(vectors)
        for layer in self.top[:-1]:
            z = layer(z).clamp(min=0)
        logit_B = self.top[-1](z)[:, 0]
        return logit_B.clamp(min=0) if self.relu_after_logit else logit_B

    def _interact(self, vectors: list[Tensor]) -> Tensor:
        if self.interaction == "cat":
            return torch.cat(vectors, dim=1)
        count = len(vectors)
        if self.upper_triangle:
            pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
        else:
            pairs = [(i, j) for i in range(count) for j in range(i)]
        columns = [(vectors[i] * vectors[j]).sum(dim=1, keepdim=True) for i, j in pairs]
        raw = torch.cat([vectors[0], *columns], dim=1)
        width = raw.shape[1]
        padded = width + 1 if self.pad == "one_column" else 8 * math.ceil(width / 8)
        return torch.cat([raw, raw.new_zeros(len(raw), padded - width)], dim=1)


def _copy(layer: nn.Module) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    copy = nn.Linear(layer.in_features, layer.out_features, dtype=layer.weight.dtype)
    copy.load_state_dict(layer.state_dict())
    return copy


def rms(x: Tensor) -> float:
    """Root of the mean square, in float64."""
    return float(x.double().square().mean().sqrt())


def trained(data: Path, out: Path, config: TrainConfig | None = None, **arguments: Any) -> RunRecord:
    """A whole training on DATA, by default of :func:`tiny_config`."""
    return train(data=data, out=out, config=config or tiny_config(), preset="tiny", **arguments)
