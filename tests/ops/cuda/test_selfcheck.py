"""The check before first use: right kernels are marked, wrong ones refused with a report. Torch on a CPU plays the kernels."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dlrm_core.ops.cuda import selfcheck
from dlrm_core.ops.cuda.selfcheck import Case, cases, check_and_mark, disagreements, marked, to_tf32
from dlrm_core.ops.cuda.variants import Variant, every
from dlrm_core.ops.interaction import dot_interaction, dot_interaction_backward_op

CPU = torch.device("cpu")
ALL = {variant.name: variant for variant in (*every((7, 5)), *every((8, 0)))}


class Right:
    """Rounds what a TF32 kernel rounds, and sums in float64."""

    def __init__(self, variant: Variant) -> None:
        self.tf32 = variant.tensor_cores and variant.dtype == "float32"

    def rounded(self, x: Tensor) -> Tensor:
        return (to_tf32(x) if self.tf32 else x).double()

    def forward(self, x_BFD: Tensor, pad: str) -> Tensor:
        z = dot_interaction(self.rounded(x_BFD), pad)
        z[:, : x_BFD.shape[2]] = x_BFD[:, 0]
        return z.to(x_BFD.dtype)

    def backward(self, gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:
        dim = x_BFD.shape[2]
        pairs = self.rounded(gradient_BK)
        pairs[:, :dim] = 0
        dx = dot_interaction_backward_op(pairs, self.rounded(x_BFD))
        dx[:, 0] += gradient_BK[:, :dim]
        return dx.to(x_BFD.dtype)


@pytest.fixture(autouse=True)
def fewer_rows(monkeypatch):
    monkeypatch.setattr(selfcheck, "_MANY", 300)


@pytest.mark.parametrize("name", ALL)
def test_right_kernels_are_marked(name, tmp_path):
    mark = tmp_path / "deep" / "mark.json"
    check_and_mark(Right(ALL[name]), ALL[name], CPU, mark, about="kernel k on device d")
    assert marked(mark)
    written = json.loads(mark.read_text())
    assert written["about"] == "kernel k on device d"
    assert len(written["passed"]) == len(cases(ALL[name]))


def forward(change: Callable[[Tensor], Tensor]) -> type[Right]:
    class Wrong(Right):
        def forward(self, x_BFD: Tensor, pad: str) -> Tensor:
            return change(super().forward(x_BFD, pad))

    return Wrong


def backward(change: Callable[[Tensor], Tensor]) -> type[Right]:
    class Wrong(Right):
        def backward(self, gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:
            return change(super().backward(gradient_BK, x_BFD))

    return Wrong


class WritesX(Right):
    def forward(self, x_BFD: Tensor, pad: str) -> Tensor:
        z = super().forward(x_BFD, pad)
        x_BFD += 0.5
        return z


class WritesGradient(Right):
    def backward(self, gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:
        dx = super().backward(gradient_BK, x_BFD)
        gradient_BK *= 2
        return dx


def changed(x: Tensor, place: tuple, by: Callable[[Tensor], Tensor]) -> Tensor:
    x[place] = by(x[place])
    return x


WRONG = {
    "one pair of one sample": forward(lambda z: changed(z, (-1, z.shape[1] // 2), lambda one: one + 3)),
    "not a number": forward(lambda z: changed(z, (0, 0), lambda one: one * torch.nan)),
    "padding of ones": forward(lambda z: torch.cat([z[:, :-1], torch.ones_like(z[:, :1])], 1)),
    "a column too few": forward(lambda z: z[:, :-1]),
    "another dtype": forward(lambda z: z.double()),
    "first vector rounded": forward(lambda z: torch.cat([z[:, :1] * (1 + 2**-7), z[:, 1:]], 1)),
    "last sample is not written": forward(lambda z: changed(z, (-1,), torch.zeros_like)),
    "gradient without the first vector's": backward(lambda dx: changed(dx, (slice(None), 0), torch.zeros_like)),
    "gradient of one row": backward(lambda dx: changed(dx, (0, -1), lambda one: one + 5)),
    "gradient is not a number": backward(lambda dx: changed(dx, (0, 0, 0), lambda one: one * torch.inf)),
    "x is changed": WritesX,
    "gradient is changed": WritesGradient,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["bfloat16_tensor_2", "float32_fma", "tf32_tensor_2"])
def test_wrong_kernels_are_refused_and_never_marked(wrong, name, tmp_path):
    mark = tmp_path / "mark.json"
    with pytest.raises(RuntimeError, match=r"kernel k on device d: refused(.|\n)*Case\((.|\n)*Nothing was marked"):
        check_and_mark(WRONG[wrong](ALL[name]), ALL[name], CPU, mark, about="kernel k on device d")
    assert not marked(mark)


def test_tf32_is_refused_for_true_float32_and_half_as_many_bits_for_tf32():
    exact, rounding = ALL["float32_fma"], ALL["tf32_tensor_2"]
    case = Case(4, 27, 128, "multiple_of_8")
    assert disagreements(Right(rounding), exact, CPU, case)
    assert disagreements(Right(rounding), rounding, CPU, case) == []

    class Coarse(Right):
        def rounded(self, x: Tensor) -> Tensor:
            return x.bfloat16().double()

    assert disagreements(Coarse(rounding), rounding, CPU, case)


def test_cases_try_every_path_of_every_variant():
    for variant in ALL.values():
        found = cases(variant)
        assert {case.pad for case in found} == {"multiple_of_8", "one_column"}
        assert max(case.batch for case in found) == 300
        assert any(case.offset for case in found)
        assert {case.dim * variant.size % 16 == 0 for case in found if not case.offset} == {True, False}
        for case in found:
            assert 1 <= case.num_features <= 40
            assert variant.num_tiles in (0, -(-case.num_features // 16))


def test_the_offset_takes_x_and_the_gradient_off_their_alignment():
    class Looking(Right):
        def forward(self, x_BFD: Tensor, pad: str) -> Tensor:
            assert x_BFD.data_ptr() % 16 == 2
            return super().forward(x_BFD, pad)

        def backward(self, gradient_BK: Tensor, x_BFD: Tensor) -> Tensor:
            assert gradient_BK.data_ptr() % 16 == 2
            return super().backward(gradient_BK, x_BFD)

    variant = ALL["float16_tensor_1"]
    assert disagreements(Looking(variant), variant, CPU, Case(2, 4, 8, "multiple_of_8", offset=1)) == []
