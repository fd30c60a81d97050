"""Launches: what a kernel is told, with a device that is only played; and, on a GPU, the op itself.

The tests marked `gpu` have never run where there was none.
"""

import pytest
import torch
from torch import Tensor

from dlrm_core.ops.cuda import interaction
from dlrm_core.ops.cuda.compiler import arch_of
from dlrm_core.ops.cuda.cuda_core import Device, compile_cubin, device
from dlrm_core.ops.cuda.geometry import Limits
from dlrm_core.ops.cuda.selfcheck import check_and_mark
from dlrm_core.ops.cuda.variants import choose, kernel_source, with_variants
from dlrm_core.ops.interaction import MOST_DIM, MOST_FEATURES, check_gradient, dot_interaction, dot_interaction_op
from dlrm_core.ops.layout import dot_width
from tests.ops.test_interaction import PADS, SHAPES

ON = Device(0, (9, 0), Limits(227 << 10, 228 << 10), 132, "a device")


class Recorder:
    """Plays a kernel and remembers its launches."""

    def __init__(self, _: bytes, name: str, __: Device) -> None:
        self.name, self.launches = name, list[tuple]()

    def resident_blocks(self, *_: int) -> int:
        return 792

    def launch(self, stream: str, **what) -> None:
        self.launches.append((stream, what))


@pytest.fixture
def pair(monkeypatch):
    def made(dtype: str, num_features: int) -> interaction.Pair:
        return interaction.Pair(choose(dtype, num_features, ON.capability, allow_tf32=False), ON, b"")

    monkeypatch.setattr(interaction, "Kernel", Recorder)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: f"torch's stream on {index}")
    return made


def numbers(arguments: tuple) -> list[int]:
    return [getattr(argument, "value", argument) for argument in arguments]


def test_both_launches_say_where_everything_is(pair):
    made = pair("float16", 27)
    x = torch.zeros(3_200, 27, 128, dtype=torch.float16)
    z = made.forward(x, "multiple_of_8")
    ((stream, told),) = made._forward.launches
    assert stream == "torch's stream on 0"
    assert z.shape == (3_200, 480)
    assert numbers(told["arguments"]) == [x.data_ptr(), z.data_ptr(), 3_200, 27, 128, 480, 272, 28 * 272 + 960, 1, 1]
    assert (told["num_blocks"], told["num_threads"], told["shared_bytes"]) == (792, 128, 4 * (28 * 272 + 960))
    dx = made.backward(z, x)
    ((_, told),) = made._backward.launches
    assert numbers(told["arguments"])[:5] == [x.data_ptr(), z.data_ptr(), dx.data_ptr(), 3_200, 27]
    assert (made._forward.name, made._backward.name) == ("forward_float16_tensor_2", "backward_float16_tensor_2")


def test_the_source_takes_the_arguments_in_this_order():
    order = "Index batch, int features, int dim, int width, int row_bytes, int warp_bytes, int x_vector, int z_vector"
    assert f"#define SIZES {order}\n" in kernel_source()
    assert "x, T::Bits* z, SIZES)" in kernel_source()
    assert "x, const T::Bits* dz, T::Bits* dx, SIZES)" in kernel_source()


@pytest.mark.parametrize(
    ("shape", "pad", "offset", "vectors"),
    [
        ((2, 4, 8), "multiple_of_8", 0, [1, 1]),
        ((2, 4, 8), "one_column", 0, [1, 0]),
        ((2, 4, 8), "multiple_of_8", 1, [0, 1]),
        ((2, 4, 13), "multiple_of_8", 0, [0, 1]),
    ],
)
def test_vectors_are_used_where_both_address_and_rows_allow(pair, shape, pad, offset, vectors):
    made = pair("bfloat16", 4)
    x = torch.zeros(offset + 2 * 4 * shape[2], dtype=torch.bfloat16)[offset:].view(shape)
    z = made.forward(x, pad)
    made.backward(z, x)
    for kernel in (made._forward, made._backward):
        assert numbers(kernel.launches[0][1]["arguments"])[-2:] == vectors


def test_an_empty_batch_launches_nothing(pair):
    made = pair("float32", 4)
    x = torch.zeros(0, 4, 8)
    assert made.forward(x, "one_column").shape == (0, dot_width(4, 8, "one_column"))
    assert made.backward(torch.zeros(0, 16), x).shape == x.shape
    assert not made._forward.launches
    assert not made._backward.launches


def test_strided_tensors_are_brought_together(pair):
    made = pair("float32", 4)
    x = torch.zeros(3, 8, 16)[:, ::2, ::2]
    gradient = torch.zeros(16, 3).T
    assert made.forward(x, "multiple_of_8").is_contiguous()
    assert made.backward(gradient, x).is_contiguous()
    assert numbers(made._backward.launches[0][1]["arguments"])[0] != x.data_ptr()
    assert numbers(made._backward.launches[0][1]["arguments"])[1] != gradient.data_ptr()


def test_a_graph_is_not_captured_with_an_unchecked_kernel(pair, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr(interaction, "device", lambda _: ON)
    monkeypatch.setattr(interaction, "binary", lambda *_: SimpleNamespace(cubin=b"", mark=lambda _: MissingMark()))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="run the step once before it is captured"):
        interaction._checked_pair.__wrapped__(choose("float16", 4, (9, 0), allow_tf32=False), 0)


class MissingMark:
    def is_file(self) -> bool:
        return False


def test_a_gradient_on_another_device_is_refused():
    with pytest.raises(ValueError, match="gradient_BK is on meta; cpu is needed"):
        check_gradient(torch.zeros(2, 8, device="meta"), torch.zeros(2, 3, 4))


# On a GPU


DTYPES = [torch.float16, torch.bfloat16, torch.float32]
ODD = [(0, 4, 3), (1, 1, 1), (3, 1, 8), (1, 27, 128), (2, MOST_FEATURES, MOST_DIM), (70_001, 27, 16)]


def on_gpu(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype).cuda()


def errors(x: Tensor, pad: str) -> tuple[list[float], list[float], list[float]]:
    """Of the op and of torch against float64, forward and backward, and a rounding of the largest values."""
    upstream = on_gpu(len(x), dot_width(*x.shape[1:], pad), dtype=x.dtype, seed=1)
    results = []
    for function, dtype in (
        (dot_interaction, torch.float64),
        (dot_interaction, x.dtype),
        (dot_interaction_op, x.dtype),
    ):
        leaf = x.to(dtype, copy=True).requires_grad_()
        z = function(leaf, pad)
        (dx,) = torch.autograd.grad(z, leaf, upstream.to(dtype))
        results.append((z.detach().double(), dx.double()))
    exact, own, tested = results
    of = [
        [float((a - b).abs().amax()) if a.numel() else 0.0 for a, b in zip(r, exact, strict=True)]
        for r in (tested, own)
    ]
    return *of, [torch.finfo(x.dtype).eps * float(e.abs().amax()) if e.numel() else 0.0 for e in exact]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("shape", [*SHAPES, *ODD])
def test_gpu_op_as_torch(shape, pad, dtype):
    tested, own, floor = errors(on_gpu(*shape, dtype=dtype), pad)
    assert all(t <= 2 * o + f for t, o, f in zip(tested, own, floor, strict=True)), (tested, own)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_gpu_opcheck(dtype):
    x = on_gpu(3, 9, 5, dtype=dtype).requires_grad_()
    torch.library.opcheck(dot_interaction_op, (x, "multiple_of_8"))
    z = dot_interaction_op(x, "multiple_of_8").detach()
    torch.library.opcheck(torch.ops.dlrm.dot_interaction_backward.default, (z, x.detach()))


@pytest.mark.gpu
@pytest.mark.parametrize("offset", [1, 3, 8])
def test_gpu_unaligned_and_strided(offset):
    whole = on_gpu(offset + 5 * 27 * 128, dtype=torch.float16)
    x = whole[offset:].view(5, 27, 128)
    assert torch.equal(dot_interaction_op(x, "one_column"), dot_interaction_op(x.clone(), "one_column"))
    strided = x[:, ::3, ::2]
    assert torch.equal(dot_interaction_op(strided, "one_column"), dot_interaction_op(strided.clone(), "one_column"))


@pytest.mark.gpu
def test_gpu_runs_on_the_current_stream():
    """The other stream is kept busy before it makes x: a launch elsewhere would read zeros."""
    x, source, stream = (
        torch.zeros(64, 27, 128, device="cuda"),
        on_gpu(64, 27, 128, dtype=torch.float32),
        torch.cuda.Stream(),
    )
    expected = dot_interaction_op(source, "multiple_of_8")
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        x.copy_(source)
        z = dot_interaction_op(x, "multiple_of_8")
    stream.synchronize()
    assert torch.equal(z, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_gpu_graph_of_forward_and_backward(dtype):
    x = on_gpu(300, 27, 128, dtype=dtype).requires_grad_()
    upstream = on_gpu(300, 480, dtype=dtype, seed=1)

    def both() -> tuple[Tensor, Tensor]:
        z = dot_interaction_op(x, "multiple_of_8")
        return z, torch.autograd.grad(z, x, upstream)[0]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        both()  # compiled and checked before the capture
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        z, dx = both()
    with torch.no_grad():
        x.copy_(on_gpu(300, 27, 128, dtype=dtype, seed=5))
    graph.replay()
    torch.cuda.synchronize()
    expected = both()
    assert torch.equal(z, expected[0])
    assert torch.equal(dx, expected[1])


@pytest.mark.gpu
def test_gpu_repeats_bit_for_bit():
    x = on_gpu(5_000, 27, 128, dtype=torch.bfloat16).requires_grad_()
    runs = []
    for _ in range(3):
        z = dot_interaction_op(x, "multiple_of_8")
        runs.append((z, torch.autograd.grad(z.float().square().sum(), x)[0]))
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True))


@pytest.mark.gpu
def test_gpu_true_float32_unless_tf32_is_allowed(monkeypatch):
    x = on_gpu(50, 27, 128, dtype=torch.float32)
    exact = dot_interaction(x.double())
    found = []
    for allowed in (False, True):
        monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", allowed)
        found.append(float((dot_interaction_op(x, "multiple_of_8").double() - exact).abs().max()))
    assert found[0] < 1e-4
    if torch.cuda.get_device_capability() >= (8, 0):
        assert 1e-3 < found[1] < 0.1


@pytest.mark.gpu
def test_gpu_a_wrong_kernel_is_refused(tmp_path):
    on, variant = device(0), choose("float16", 27, device(0).capability, allow_tf32=False)
    wrong = with_variants(kernel_source().replace("sum[0][1] += T", "sum[0][0] += T"), [variant])
    pair = interaction.Pair(variant, on, compile_cubin(wrong, arch_of(on.capability))[0])
    with pytest.raises(RuntimeError, match="backward: largest error"):
        check_and_mark(pair, variant, torch.device("cuda", 0), tmp_path / "mark.json", about="a wrong kernel")
    assert not (tmp_path / "mark.json").exists()


@pytest.mark.gpu
def test_gpu_a_right_kernel_is_marked_and_not_checked_again(monkeypatch):
    variant = choose("float16", 27, device(0).capability, allow_tf32=False)
    interaction._checked_pair.__wrapped__(variant, 0)
    monkeypatch.setattr(interaction.selfcheck, "check_and_mark", None)
    interaction._checked_pair.__wrapped__(variant, 0)


@pytest.mark.gpu
def test_gpu_refuses_float64():
    with pytest.raises(ValueError, match="float64"):
        dot_interaction_op(on_gpu(2, 3, 4, dtype=torch.float64), "multiple_of_8")
