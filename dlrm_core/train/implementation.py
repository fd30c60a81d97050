"""Which implementation a run computes with: what was asked for, what the machine offers, and why."""

import os
from dataclasses import dataclass

import torch

from dlrm_core.ops import cpu
from dlrm_core.ops.gemm import bf16_gain, fastest_route
from dlrm_core.ops.interaction import MOST_DIM, MOST_FEATURES
from dlrm_core.schema.config import ModelConfig, TrainConfig
from dlrm_core.schema.dataset import DatasetSpec
from dlrm_core.schema.errors import KitError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_WORTH = 1.2  # below this gain in products bfloat16 costs more in rounding than it saves


@dataclass(frozen=True)
class Implementation:
    """What :func:`choose` decided.

    Attributes
    ----------
    dtype : torch.dtype
        Of the MLPs and the interaction.
    embedding_type : str
        How the tables are stored.
    fused : bool
        Whether the compiled kernels compute, or :meth:`Dlrm.forward` and autograd.
    route : str
        Of float32 products, see :class:`dlrm_core.ops.gemm.Gemm`.
    choices : dict of str to str
        The same in words, with reasons, for the record.
    """

    dtype: torch.dtype
    embedding_type: str
    fused: bool
    route: str
    choices: dict[str, str]


def choose(config: TrainConfig) -> Implementation:
    """The implementation of a configuration on this machine.

    Raises
    ------
    KitError
        If what was asked for by name cannot run here.
    """
    model = config.model
    if config.precision == "tf32":
        raise KitError(
            "precision is tf32, which NVIDIA GPUs from Ampere on have; fp32, bf16, fp16 or auto is needed on a CPU"
        )
    if model.interaction == "cuda_dot":
        raise KitError(
            "model.interaction is cuda_dot, which needs a CUDA device; auto, which picks what runs, or dot is needed"
        )
    hindrance = _hindrance(config)
    if model.embedding_type == "joint_fused" and hindrance:
        raise KitError(
            f"model.embedding_type is joint_fused, but {hindrance}; auto, which picks what runs, or joint is needed"
        )
    fused = hindrance is None
    if fused:
        _compile()
    dtype, why = _dtype(config)
    route = fastest_route()[0] if fused and dtype == torch.float32 else "linear"  # it is float32 products that differ
    embedding_type = model.embedding_type
    if embedding_type == "auto":
        embedding_type = "joint_fused" if fused else "joint"
    by = "compiled CPU kernels and written-out gradients" if fused else f"torch and autograd: {hindrance}"
    choices = {
        "precision": f"{ {v: k for k, v in DTYPES.items()}[dtype] }, {why}",
        "embedding storage": embedding_type,
        "interaction": _interaction_words(config, fused=fused),
        "step": by,
    }
    if fused and dtype == torch.float32:
        choices["float32 products"] = _route_words()
    choices["threads"] = str(torch.get_num_threads())
    return Implementation(dtype, embedding_type, fused, route, choices)


def _compile() -> None:
    """Load the compiled kernels, which numba may be unable to keep."""
    try:
        cpu.kernels()
    except ImportError as error:
        raise KitError(f"{error}; or set deterministic=true, which needs no compiled kernels") from None


def check_model(config: ModelConfig, spec: DatasetSpec) -> None:
    """Make sure that the model of a data set is within the limits of the interaction and of this machine's memory.

    Raises
    ------
    KitError
        If it is not, with what to change.
    """
    vectors, dim = len(spec.categorical) + 1, config.embedding_dim
    if config.interaction != "cat" and (vectors > MOST_FEATURES or dim > MOST_DIM):
        raise KitError(
            f"the dot interaction of {vectors} vectors (bottom MLP and {vectors - 1} tables) of {dim} was asked for; at most "
            f"{MOST_FEATURES} vectors of at most {MOST_DIM} are needed, or model.interaction=cat"
        )
    rows = sum(min(rows, config.max_table_size or rows) for rows in spec.cardinalities.values())
    needed, there = 4 * rows * dim, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise KitError(
            f"the tables need {needed / 1e9:.1f} GB, this machine has {there / 1e9:.1f} GB of memory; lower "
            "model.embedding_dim, set model.max_table_size with hash_indices, or prepare with a higher --frequency-limit"
        )


def _hindrance(config: TrainConfig) -> str | None:
    """Why the compiled kernels cannot compute this configuration; None if they can."""
    model = config.model
    reasons = {
        "deterministic is true, which takes the torch reference in shards": config.deterministic,
        f"model.embedding_type is {model.embedding_type}": model.embedding_type not in ("auto", "joint_fused"),
        f"model.interaction is {model.interaction}": model.interaction != "auto",
        "model.dropout is set": model.dropout > 0,
        "precision is fp16": config.precision == "fp16",
        f"numba is not installed ({cpu.INSTALL})": not cpu.available(),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _dtype(config: TrainConfig) -> tuple[torch.dtype, str]:
    if config.precision != "auto":
        return DTYPES[config.precision], "as asked for"
    if config.deterministic:
        return torch.float32, "auto: deterministic is true"
    gain = bf16_gain()
    words = f"auto: bfloat16 products are {gain:.1f} times as fast as float32 ones here"
    return (torch.bfloat16, words) if gain >= BF16_WORTH else (torch.float32, words)


def _interaction_words(config: TrainConfig, *, fused: bool) -> str:
    if config.model.interaction == "cat":
        return "cat, concatenation"
    asked = f"{config.model.interaction}: "
    return asked + ("dot, batched product and compiled packing" if fused else "dot, torch reference (bmm and gather)")


def _route_words() -> str:
    route, rates = fastest_route()
    return f"{route}, the fastest of " + ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in rates.items())
