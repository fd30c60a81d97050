"""How wide the dot interaction's output is; plain arithmetic, without torch, for whoever counts parameters."""


def pad_width(raw_width: int, pad: str) -> int:
    """Zero columns after `raw_width` ones: up to a multiple of 8 (HEAD) or always one (June 2020).

    >>> pad_width(128 + 351, "multiple_of_8"), pad_width(16 + 351, "multiple_of_8"), pad_width(16 + 351, "one_column")
    (1, 1, 1)

    Raises
    ------
    ValueError
        If `pad` is neither.
    """
    if pad == "one_column":
        return 1
    if pad == "multiple_of_8":
        return -raw_width % 8
    raise ValueError(f"pad is {pad!r}; 'multiple_of_8' or 'one_column' is needed")


def dot_width(num_features: int, dim: int, pad: str) -> int:
    """Output columns of :func:`dlrm_core.ops.interaction.dot_interaction`.

    >>> dot_width(27, 128, "multiple_of_8")
    480
    """
    raw = dim + num_features * (num_features - 1) // 2
    return raw + pad_width(raw, pad)
