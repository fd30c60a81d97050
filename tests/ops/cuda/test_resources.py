"""Registers and spills from the compiler's log."""

import pytest

from dlrm_core.ops.cuda.resources import read_log

PART = """ptxas info    : Compiling entry function '{name}' for 'sm_80'
ptxas info    : Function properties for {name}
ptxas         .     {stack} bytes stack frame, {store} bytes spill stores, {load} bytes spill loads
ptxas info    : Used {registers} registers, used 0 barriers
ptxas info    : Compile time = 5.1 ms
"""


def part(name: str, stack: int = 0, store: int = 0, load: int = 0, registers: int = 40) -> str:
    return PART.format(name=name, stack=stack, store=store, load=load, registers=registers)


def test_several_kernels_each_with_its_own():
    found = read_log("ptxas info    : 24 bytes gmem\n" + part("one") + part("two", 8, 4, 12, registers=255))
    assert [(r.kernel, r.registers, r.spills) for r in found] == [("one", 40, False), ("two", 255, True)]
    assert (found[1].stack_bytes, found[1].spill_store_bytes, found[1].spill_load_bytes) == (8, 4, 12)


@pytest.mark.parametrize("where", ["stack", "store", "load"])
def test_any_of_the_three_is_a_spill(where):
    assert read_log(part("one", **{where: 4}))[0].spills


def test_a_log_that_tells_nothing_is_no_sign_of_no_spills():
    assert read_log("") == []
    for line in ("bytes spill stores", "registers"):
        without = "\n".join(x for x in (part("one") + part("two")).splitlines() if line not in x)
        with pytest.raises(ValueError, match="tells no registers and spills"):
            read_log(without)
