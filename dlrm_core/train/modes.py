"""The modes of a sweep: what each sets in the training configuration. Imports nothing, so that a parser may read the names."""

from collections.abc import Iterable

MODES: dict[str, tuple[str, ...]] = {
    "fp32": ("precision=fp32", "deterministic=true"),
    "bf16": ("precision=bf16", "deterministic=true"),
    "fp16-static": ("precision=fp16", "deterministic=true", "loss_scale.kind=static"),
    "fp16-dynamic": ("precision=fp16", "deterministic=true", "loss_scale.kind=dynamic", "loss_scale.value=65536.0"),
    "fp32-fast": ("precision=fp32", "deterministic=false"),
    "bf16-fast": ("precision=bf16", "deterministic=false"),
    "auto": ("precision=auto", "deterministic=false"),
}
DEFAULT = ("fp32", "bf16")


def varied(override: str, modes: Iterable[str]) -> bool:
    """Whether a sweep over `modes` itself sets what the `key.path=value` override sets, so that the two cannot both hold.

    >>> [varied(override, ["fp32"]) for override in ("seed=3", "precision=bf16", "loss_scale.kind=static", "epochs=2")]
    [True, True, False, False]
    """
    key = override.partition("=")[0].strip()
    # Which tables a step needs follows from the mode: the compiled ones have one storage of their own.
    own = {"seed", "model.embedding_type", *(word.partition("=")[0] for mode in modes for word in MODES[mode])}
    return any(key == name or name.startswith(f"{key}.") or key.startswith(f"{name}.") for name in own)
