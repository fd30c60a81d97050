"""A trained model on disk: `mlps.safetensors` and `tables.safetensors` (one tensor a feature, by name); no pickle."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dlrm_core.model.dlrm import Dlrm
from dlrm_core.model.fused import FusedDlrm
from dlrm_core.schema.config import ModelConfig
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import sha256_file
from dlrm_core.train.implementation import Implementation

MLPS, TABLES = "mlps.safetensors", "tables.safetensors"
DESCRIPTION = "dataset.json"  # of the data that the model was trained on, beside them


def build_model(
    config: ModelConfig, spec: DatasetSpec, seed: int, implementation: Implementation | None = None
) -> Dlrm:
    """A freshly initialised model for a data set; without `implementation`, the float32 torch reference."""
    options = config.model_dump()
    if implementation is not None:
        options |= {"embedding_type": implementation.embedding_type, "compute_dtype": implementation.dtype}
    model = Dlrm(
        cardinalities=tuple(spec.cardinalities.values()), num_numerical=len(spec.numerical), seed=seed, **options
    )
    if implementation is not None and implementation.fused:
        model.fused = FusedDlrm(model, implementation.dtype, implementation.route)
    return model


def save_model(model: Dlrm, spec: DatasetSpec, folder: Path) -> dict[str, str]:
    """Write both files whole or not at all; return their SHA-256 by name. The bytes depend on the weights alone."""
    mlps = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    tables = {name: table.clone() for name, table in zip(spec.cardinalities, model.tables(), strict=True)}
    return {name: _save(folder / name, tensors) for name, tensors in ((MLPS, mlps), (TABLES, tables))}


def check_weights(folder: Path, digests: Mapping[str, str]) -> None:
    """Make sure that both files hold the bytes that the record of their run tells.

    Parameters
    ----------
    folder : Path
    digests : mapping of str to str
        SHA-256 by file name, as :func:`save_model` returned them.

    Raises
    ------
    KitError
        If a file is missing or holds other bytes.
    """
    for name in (MLPS, TABLES):
        path = folder / name
        _check_is_file(path)
        found = sha256_file(path)
        if found != digests[name]:
            raise KitError(
                f"{path}: has SHA-256 {found[:12]}..., the run's record says {digests[name][:12]}...; it was changed or "
                "damaged after training, train the run again"
            )


@torch.no_grad()
def load_model(
    folder: Path, config: ModelConfig, spec: DatasetSpec, implementation: Implementation | None = None
) -> Dlrm:
    """The model that :func:`save_model` wrote.

    Raises
    ------
    KitError
        If a file is missing or damaged, or does not fit the configuration and the data set.
    """
    model = build_model(config, spec, 0, implementation)
    mlps, tables = _load(folder / MLPS), _load(folder / TABLES)
    _copy(dict(model.named_parameters()), mlps, folder / MLPS)
    _copy(dict(zip(spec.cardinalities, model.tables(), strict=True)), tables, folder / TABLES)
    if model.fused is not None:
        model.fused.refresh()
    return model


def _save(path: Path, tensors: dict[str, Tensor]) -> str:
    part = path.with_suffix(".part")
    save_file(tensors, part)
    part.replace(path)
    return sha256_file(path)


def _load(path: Path) -> dict[str, Tensor]:
    _check_is_file(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise KitError(f"{path}: is damaged ({error}); train the run again") from None


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise KitError(f"{path}: is missing; the run did not finish, train it again")


def _copy(targets: dict[str, Tensor], sources: dict[str, Tensor], path: Path) -> None:
    if set(targets) != set(sources):
        raise KitError(
            f"{path}: holds {sorted(sources)}, {sorted(targets)} are needed; it belongs to another configuration"
        )
    for name, target in targets.items():
        if target.shape != sources[name].shape:
            raise KitError(f"{path}: {name} has shape {tuple(sources[name].shape)}, {tuple(target.shape)} is needed")
        target.copy_(sources[name])
