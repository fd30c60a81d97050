"""What a training step must compute and move, by formula.

Legend: B rows of a batch, N numerical features, T tables, F = T + 1 feature vectors, D embedding dimension, P pairs of feature
vectors, I inputs of a layer, O its outputs.
"""

from dlrm_core.bench.workload import CARDINALITIES, NUM_NUMERICAL, Workload, multiply_adds

NUMBER_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "tf32": 4}  # of what is computed with, by precision


def flop_a_sample(workload: Workload) -> int:
    """Floating-point operations of one row's training step, a multiply-add being two.

    Each layer takes three products of 2 I O: forward, gradient of the weight, gradient of the input; the first layer's
    input needs none. Each of the P pairs of the interaction takes a dot product of 2 D forward, and as much for the
    gradient of either vector.

    >>> from dlrm_core.bench.workload import CONFIGS
    >>> flop_a_sample(CONFIGS["S"])
    2866592
    """
    features = len(CARDINALITIES) + 1
    pairs = features * (features - 1) // 2
    return layer_flop_a_sample(workload) + 3 * 2 * pairs * workload.embedding_dim


def layer_flop_a_sample(workload: Workload) -> int:
    """The layers' share of :func:`flop_a_sample`: what the measured limits multiply."""
    layers = workload.layers()
    return 3 * 2 * multiply_adds(layers) - 2 * multiply_adds(layers[:1])


def bytes_a_sample(workload: Workload, batch_size: int, number_bytes: int) -> float:
    """Bytes that a training step must move for each row, with e = `number_bytes` a number that is computed with.

    Each operand counts whenever a computation takes it in or puts it out, as if no cache kept it from one to the next; of
    ids that come twice in a batch, each counts.

    - Inputs: N float32 numericals, T int64 ids for the look-up and again for the update, a float32 label.
    - Tables, in float32 at any precision: the look-up reads T rows of D and writes them in e; the update reads their
      gradients in e, and reads and writes the rows: T D (4 + e + e + 8).
    - Interaction: forward reads F D and writes D + P; backward reads D + P and F D and writes F D, all in e.
    - Activations: each of a layer's three products takes I and O values of a row, (I + O) e; the first layer has two.
    - Weights, once a batch: I O + O numbers a layer, read by the two products that take them (the first layer: one) in e;
      their gradient written and read in float32, and they themselves read and written: 16 bytes. Where e is not 4 they
      are rounded anew each step, 4 + e.

    >>> from dlrm_core.bench.workload import CONFIGS
    >>> round(bytes_a_sample(CONFIGS["S"], 2048, 4))
    63540
    """
    tables, dim, e = len(CARDINALITIES), workload.embedding_dim, number_bytes
    features = tables + 1
    z = dim + features * (features - 1) // 2
    inputs = 4 * NUM_NUMERICAL + 2 * 8 * tables + 4
    rows = tables * dim * (12 + 2 * e)
    interaction = e * (3 * features * dim + 2 * z)
    rounding = 0 if e == 4 else 4 + e
    activations = weights = 0
    for number, (size_in, size_out) in enumerate(workload.layers()):
        products = 3 if number else 2
        activations += e * products * (size_in + size_out)
        weights += (size_in + 1) * size_out * (e * (products - 1) + 16 + rounding)
    return inputs + rows + interaction + activations + weights / batch_size
