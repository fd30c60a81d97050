"""Which kernel serves what."""

import pytest

from dlrm_core.ops.cuda.variants import Variant, choose, every, kernel_source, with_variants


@pytest.mark.parametrize(
    ("dtype", "capability", "allow_tf32", "name"),
    [
        ("float16", (7, 5), False, "float16_tensor_2"),
        ("float16", (12, 0), False, "float16_tensor_2"),
        ("bfloat16", (7, 5), False, "bfloat16_fma"),
        ("bfloat16", (8, 0), False, "bfloat16_tensor_2"),
        ("float32", (7, 5), True, "float32_fma"),
        ("float32", (9, 0), False, "float32_fma"),
        ("float32", (9, 0), True, "tf32_tensor_2"),
    ],
)
def test_choice(dtype, capability, allow_tf32, name):
    assert choose(dtype, 27, capability, allow_tf32=allow_tf32).name == name


def test_tiles_hold_all_vectors_and_no_tile_is_empty():
    for num_features in range(1, 41):
        tiles = choose("float16", num_features, (9, 0), allow_tf32=False).num_tiles
        assert 16 * (tiles - 1) < num_features <= 16 * tiles


def test_every_choice_is_among_all_variants():
    for capability in ((7, 5), (8, 0), (12, 0)):
        made = every(capability)
        assert len(made) == len({variant.name for variant in made}) == (5 if capability < (8, 0) else 10)
        for dtype in ("float16", "bfloat16", "float32"):
            for num_features in range(1, 41):
                for allowed in (False, True):
                    assert choose(dtype, num_features, capability, allow_tf32=allowed) in made


@pytest.mark.parametrize(
    ("dtype", "capability", "words"),
    [
        ("float64", (9, 0), "x_BFD is float64; the CUDA kernel takes float16"),
        ("float16", (7, 0), "compute capability 7.0"),
    ],
)
def test_refusals(dtype, capability, words):
    with pytest.raises(ValueError, match=words):
        choose(dtype, 27, capability, allow_tf32=False)


def test_source_has_one_line_for_each_variant():
    variants = [Variant("float16", 2), Variant("float32", 0)]
    added = with_variants(kernel_source(), variants).removeprefix(kernel_source()).split()
    assert "".join(added) == "KERNELS(float16_tensor_2,F16,Tensor<F16,2>)KERNELS(float32_fma,F32,Fma<F32>)"
