"""A machine for PTX in Python: runs the compiler's own code lane by lane, where there is no GPU.

It is slow and strict. The lanes of a warp run one after the other, in an order of choice, up to the next instruction
that needs all of them; so whatever relies on lanes keeping step goes wrong. Refused are: a read or write of shared
memory that another lane may touch at the same time (no `bar.warp.sync` between), use of numbers that are still on their
way by `cp.async`, of shared memory that nobody wrote or that is another warp's, an address outside of a tensor or not
a multiple of the access, a second write to the same place of a result. What it says about a GPU is limited: timing,
ptxas and the hardware are not in it.

Fragments of `ldmatrix` and `mma.sync` as in NVIDIA's PTX ISA, "Warp-level matrix instructions".
"""

import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LANES, MANY = 32, -1


class Fault(Exception):
    """The code did what no kernel may do."""


@dataclass
class Region:
    """Global memory: bytes at an address. Writes are counted where the region may be written."""

    base: int
    data: bytearray
    writes: bytearray | None = None

    @staticmethod
    def of(array: np.ndarray, base: int) -> "Region":
        return Region(base, bytearray(array.tobytes()))

    @staticmethod
    def result(size: int, base: int) -> "Region":
        return Region(base, bytearray(size), bytearray(size))


@dataclass
class Shared:
    """One warp's shared memory in units of two bytes, and who touched each since the last barrier."""

    first: int
    last: int
    epoch: int = 0
    data: bytearray = field(init=False)
    writer: dict[int, tuple[int, int]] = field(default_factory=dict)
    reader: dict[int, tuple[int, int]] = field(default_factory=dict)
    coming: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.data = bytearray(self.last)

    def units(self, address: int, size: int) -> range:
        if address % size:
            raise Fault(f"shared address {address} is no multiple of {size}")
        if not self.first <= address <= address + size <= self.last:
            raise Fault(f"shared address {address} + {size} is outside of the warp's {self.first} to {self.last}")
        return range(address >> 1, (address + size) >> 1)

    def read(self, address: int, size: int, lane: int) -> bytes:
        for unit in self.units(address, size):
            if unit in self.coming:
                raise Fault(f"lane {lane} reads {2 * unit}, which cp.async has not brought yet")
            if unit not in self.writer:
                raise Fault(f"lane {lane} reads {2 * unit}, which nobody wrote")
            epoch, writer = self.writer[unit]
            if epoch == self.epoch and writer != lane:
                raise Fault(f"lane {lane} reads {2 * unit}, which lane {writer} writes; no barrier between")
            epoch, reader = self.reader.get(unit, (-1, lane))
            self.reader[unit] = (self.epoch, lane if epoch != self.epoch or reader == lane else MANY)
        return bytes(self.data[address : address + size])

    def claim(self, address: int, size: int, lane: int) -> None:
        for unit in self.units(address, size):
            if unit in self.coming:
                raise Fault(f"lane {lane} writes {2 * unit}, where cp.async is writing")
            for who, others in (("writes", self.writer), ("reads", self.reader)):
                epoch, other = others.get(unit, (-1, lane))
                if epoch == self.epoch and other != lane:
                    raise Fault(f"lane {lane} writes {2 * unit}, which lane {other} {who}; no barrier between")
            self.writer[unit] = (self.epoch, lane)

    def write(self, address: int, content: bytes, lane: int) -> None:
        self.claim(address, len(content), lane)
        self.data[address : address + len(content)] = content


def f32(x: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return float("inf") if x > 0 else float("-inf")


def bits(x: float) -> int:
    return struct.unpack("<I", struct.pack("<f", x))[0]


def number(word: int) -> float:
    return struct.unpack("<f", struct.pack("<I", word))[0]


def signed(x: int, width: int) -> int:
    return x - (1 << width) if x >> (width - 1) else x


def quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def to_f16(x: float) -> int:
    with np.errstate(over="ignore"):
        return int(np.float32(x).astype(np.float16).view(np.uint16))


def from_f16(half: int) -> float:
    return float(np.uint16(half).view(np.float16))


def to_bf16(x: float) -> int:
    word = bits(x)
    return 0x7FFF if x != x else (word + 0x7FFF + (word >> 16 & 1)) >> 16


def to_tf32(x: float) -> int:
    return ((bits(x) + 0x1000) & 0xFFFFE000) & 0xFFFFFFFF


class Lane:
    """One thread: its registers and copies under way. The translated code calls its methods."""

    def __init__(self, machine: "Warp", lane: int, count: int) -> None:
        self.machine, self.lane, self.registers = machine, lane, [0] * count
        self.copies: list[tuple[int, bytes]] = []
        self.block = 0

    def load(self, space: str, address: int, size: int) -> bytes:
        if space == "shared":
            return self.machine.shared.read(address, size, self.lane)
        region, place = self.machine.find(address, size)
        return bytes(region.data[place : place + size])

    def store(self, space: str, address: int, content: bytes) -> None:
        if space == "shared":
            self.machine.shared.write(address, content, self.lane)
            return
        region, place = self.machine.find(address, len(content))
        if region.writes is None:
            raise Fault("write to a tensor that is only read")
        if any(region.writes[place : place + len(content)]):
            raise Fault(f"lane {self.lane} writes place {place} of a result a second time")
        region.writes[place : place + len(content)] = b"\1" * len(content)
        region.data[place : place + len(content)] = content

    def copy(self, shared: int, address: int, size: int) -> None:
        content, memory = self.load("global", address, size), self.machine.shared
        memory.claim(shared, size, self.lane)
        memory.coming.update(memory.units(shared, size))
        self.copies.append((shared, content))

    def wait(self) -> None:
        for shared, content in self.copies:
            self.machine.shared.coming.difference_update(self.machine.shared.units(shared, len(content)))
            self.machine.shared.write(shared, content, self.lane)
        self.copies.clear()


@dataclass(frozen=True)
class Collective:
    """What needs all lanes: its name, its operands' registers, and the block that follows."""

    name: str
    operands: tuple[Any, ...]
    follows: int


class Warp:
    """Thirty-two lanes on one program."""

    def __init__(self, program: "Program", regions: Iterable[Region], shared: Shared, special: dict[str, int]) -> None:
        self.program, self.regions, self.shared, self.special = program, list(regions), shared, special
        self.lanes = [Lane(self, lane, program.num_registers) for lane in range(LANES)]

    def find(self, address: int, size: int) -> tuple[Region, int]:
        if address % size:
            raise Fault(f"global address {address} is no multiple of {size}")
        for region in self.regions:
            if region.base <= address and address + size <= region.base + len(region.data):
                return region, address - region.base
        raise Fault(f"global address {address} + {size} is in no tensor")

    def run(self, arguments: list[int], order: list[int]) -> None:
        waiting: list[Collective | None] = [None] * LANES
        while True:
            for lane in order:
                waiting[lane] = self.run_lane(self.lanes[lane], arguments)
            if all(item is None for item in waiting):
                return
            first = waiting[0]
            if first is None or any(item != first for item in waiting):
                raise Fault(f"lanes wait at different places: {set(waiting)}")
            COLLECTIVES[first.name.split(".")[0]](self, first)
            for lane in self.lanes:
                lane.block = first.follows

    def run_lane(self, lane: Lane, arguments: list[int]) -> Collective | None:
        special = {**self.special, "tid": self.special["warp"] * LANES + lane.lane}
        while True:
            step = self.program.blocks[lane.block](lane, lane.registers, arguments, special)
            if not isinstance(step, int):
                return step
            lane.block = step


def _barrier(warp: Warp, _: Collective) -> None:
    warp.shared.epoch += 1


def _matrix(warp: Warp, collective: Collective) -> None:
    """8 x 8 matrices of two bytes: matrix m's row is where lane 8 m + row points; lane l gets row l / 4, place l % 4."""
    *into, address = collective.operands
    rows = []
    for lane in range(8 * len(into)):
        base, offset = address
        content = warp.shared.read(warp.lanes[lane].registers[base] + offset, 16, MANY)
        rows.append(np.frombuffer(content, np.uint16))
    for m, register in enumerate(into):
        matrix = np.stack(rows[8 * m : 8 * m + 8])
        matrix = matrix.T if ".trans" in collective.name else matrix
        words = np.ascontiguousarray(matrix).view(np.uint32).ravel()
        for lane in range(LANES):
            warp.lanes[lane].registers[register] = int(words[lane])


def _multiply(warp: Warp, collective: Collective) -> None:
    """m16n8kK: fragments to matrices, a product in float64, and back."""
    name, operands = collective.name, collective.operands
    depth = int(re.search(r"m16n8k(\d+)", name)[1])
    a_count = 4 if depth == 16 or "tf32" in name else 2
    into, a, b, c = operands[:4], operands[4 : 4 + a_count], operands[4 + a_count : -4], operands[-4:]
    A, B, C = np.zeros((16, depth)), np.zeros((depth, 8)), np.zeros((16, 8))
    for lane in warp.lanes:
        g, t, r = lane.lane // 4, lane.lane % 4, lane.registers
        for v, register in enumerate(a):
            for e, x in enumerate(_numbers(name, r[register])):
                A[g + 8 * (v % 2), _along(name, t, e) + _half(name) * (v // 2)] = x
        for v, register in enumerate(b):
            for e, x in enumerate(_numbers(name, r[register])):
                B[_along(name, t, e) + _half(name) * v, g] = x
        for v, register in enumerate(c):
            C[g + 8 * (v // 2), 2 * t + v % 2] = r[register]
    with np.errstate(all="ignore"):
        C = (C + A @ B).astype(np.float32)
    for lane in warp.lanes:
        for v, register in enumerate(into):
            lane.registers[register] = float(C[lane.lane // 4 + 8 * (v // 2), 2 * (lane.lane % 4) + v % 2])


def _half(name: str) -> int:
    return 4 if "tf32" in name else 8


def _along(name: str, t: int, e: int) -> int:
    return t if "tf32" in name else 2 * t + e


def _numbers(name: str, word: int) -> tuple[float, ...]:
    if "tf32" in name:
        return (number(word & 0xFFFFE000),)  # the hardware does not look at the rest
    halves = (word & 0xFFFF, word >> 16)
    return tuple(number(h << 16) if "bf16" in name else from_f16(h) for h in halves)


COLLECTIVES: dict[str, Callable[[Warp, Collective], None]] = {"bar": _barrier, "ldmatrix": _matrix, "mma": _multiply}


@dataclass(frozen=True)
class Program:
    """A kernel's blocks as Python functions."""

    blocks: list[Callable[..., Any]]
    num_registers: int

    def launch(
        self, arguments: list[int], regions: list[Region], *, block: int, num_blocks: int, warps: int, warp_bytes: int,
        reverse: bool = False,
    ) -> None:  # fmt: skip
        """Run one block."""
        for warp in range(warps):
            shared = Shared(warp * warp_bytes, (warp + 1) * warp_bytes)
            special = {"ctaid": block, "nctaid": num_blocks, "ntid": LANES * warps, "warp": warp}
            order = list(range(LANES))[:: -1 if reverse else 1]
            Warp(self, regions, shared, special).run(arguments, order)
