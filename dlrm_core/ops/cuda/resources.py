"""What a kernel takes on the hardware, read from the log of ptxas."""

import re
from dataclasses import dataclass

_KERNEL = re.compile(r"Compiling entry function '(?P<name>\w+)' for '(?P<arch>\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Resources:
    """Of one kernel: registers of a thread; bytes of stack, of spills, and of shared memory known when compiling."""

    kernel: str
    arch: str
    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int
    static_shared_bytes: int

    @property
    def spills(self) -> bool:
        """Whether registers did not suffice, or something lies in the stack: both are traffic to memory."""
        return self.stack_bytes + self.spill_store_bytes + self.spill_load_bytes > 0


def read_log(log: str) -> list[Resources]:
    """One entry for each kernel that the log tells of, in its order.

    >>> read_log(  # doctest: +NORMALIZE_WHITESPACE
    ... '''ptxas info    : Compiling entry function 'scale' for 'sm_90'
    ... ptxas info    : Function properties for scale
    ... ptxas         .     8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
    ... ptxas info    : Used 72 registers, used 0 barriers, 8 bytes cumulative stack size, 128 bytes smem''')
    [Resources(kernel='scale', arch='sm_90', registers=72, stack_bytes=8, spill_store_bytes=4, spill_load_bytes=12,
               static_shared_bytes=128)]

    Raises
    ------
    ValueError
        If a kernel's part says nothing of registers or spills, as from a compiler that words it differently.
    """
    begins = list(_KERNEL.finditer(log))
    ends = [match.start() for match in begins[1:]] + [len(log)] * bool(begins)
    return [_read(match, log[match.end() : end]) for match, end in zip(begins, ends, strict=True)]


def _read(begin: re.Match[str], part: str) -> Resources:
    stack, registers, shared = _STACK.search(part), _REGISTERS.search(part), _SHARED.search(part)
    if not stack or not registers:
        raise ValueError(
            f"the log on kernel {begin['name']} tells no registers and spills; ptxas -v is needed:\n{part}"
        )
    stack_bytes, spill_store_bytes, spill_load_bytes = (int(number) for number in stack.groups())
    return Resources(
        kernel=begin["name"],
        arch=begin["arch"],
        registers=int(registers[1]),
        stack_bytes=stack_bytes,
        spill_store_bytes=spill_store_bytes,
        spill_load_bytes=spill_load_bytes,
        static_shared_bytes=int(shared[1]) if shared else 0,
    )
