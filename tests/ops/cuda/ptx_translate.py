"""PTX to Python: each basic block of a kernel becomes one function for :mod:`tests.ops.cuda.ptx_machine`.

Integer registers hold unsigned numbers of their width, `%f` registers hold floats that float32 has. An instruction that
is not known is an error.
"""

import re

from tests.ops.cuda import ptx_machine as machine
from tests.ops.cuda.ptx_machine import Collective, Program

WIDTH = {"8": 8, "16": 16, "32": 32, "64": 64}
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
INFIX = {"add": "+", "sub": "-", "and": "&", "or": "|", "xor": "^"}
COLLECTIVE = ("bar.warp.sync", "ldmatrix.", "mma.sync.")


def kernels(ptx: str) -> dict[str, Program]:
    """Every kernel of a module."""
    found = re.finditer(r"\.entry (\w+)\((.*?)\)\s*(?:\.\w+ [^\n]*\n)*\{(.*?)\n\}", ptx, re.S)
    return {name: _Translation(name, body).program() for name, _, body in (match.groups() for match in found)}


class _Translation:
    def __init__(self, name: str, body: str) -> None:
        self.name, self.registers = name, dict[str, int]()
        self.labels: dict[str, int] = {}
        self.blocks: list[list[str]] = [[]]
        statements = [s.strip() for s in re.sub(r"//[^\n]*", "", body).replace(":\n", ":;\n").split(";")]
        self.statements = [s for s in statements if s and not s.startswith((".reg", ".pragma"))]

    def program(self) -> Program:
        self._number_blocks()
        for statement in self.statements:
            self._statement(statement)
        text = "\n".join(self._function(n, lines) for n, lines in enumerate(self.blocks))
        names: dict[str, object] = {**vars(machine), "Collective": Collective}
        exec(compile(text, self.name, "exec"), names)
        return Program([names[f"block_{n}"] for n in range(len(self.blocks))], len(self.registers))

    def _number_blocks(self) -> None:
        """A label begins a block, and so does what follows a branch or a collective."""
        block = 0
        for statement in self.statements:
            if statement.endswith(":"):
                block += 1
                self.labels[statement[:-1]] = block
            elif self._ends(statement):
                block += 1

    @staticmethod
    def _ends(statement: str) -> bool:
        bare = re.sub(r"^@!?\S+\s+", "", statement)
        return bare.startswith(("bra", "ret", *COLLECTIVE))

    @staticmethod
    def _function(n: int, lines: list[str]) -> str:
        return f"def block_{n}(lane, r, p, special):\n" + "".join(f"    {x}\n" for x in [*lines, f"return {n + 1}"])

    def _statement(self, statement: str) -> None:
        if statement.endswith(":"):
            self.blocks.append([])
            return
        guard = re.match(r"@(!?)(%\w+)\s+(.*)", statement, re.S)
        condition = ""
        if guard:
            condition = f"if {'not ' if guard[1] else ''}{self._get(guard[2])}: "
            statement = guard[3]
        opcode, _, rest = statement.partition(" ")
        opcode, operands = opcode.strip(), _operands(rest)
        if opcode.startswith(COLLECTIVE):
            assert not guard, statement
            self.blocks[-1].append(f"return {self._collective(opcode, operands, len(self.blocks))}")
        else:
            self.blocks[-1].append(condition + self._code(opcode, operands))
        if self._ends(statement):
            self.blocks.append([])

    def _collective(self, opcode: str, operands: list[str], follows: int) -> str:
        if opcode.startswith("bar"):
            return f"Collective({opcode!r}, (), {follows})"
        flat: list[object] = []
        for operand in operands:
            if operand.startswith("["):
                base, offset = _address(operand)
                flat.append((self._slot(base), offset))
            else:
                flat += [self._slot(name) for name in _parts(operand)]
        return f"Collective({opcode!r}, {tuple(flat)!r}, {follows})"

    def _slot(self, name: str) -> int:
        return self.registers.setdefault(name, len(self.registers))

    def _set(self, name: str) -> str:
        return f"r[{self._slot(name)}]"

    def _get(self, text: str) -> str:
        if special := re.fullmatch(r"%(tid|ntid|ctaid|nctaid)\.x", text):
            return f"special[{special[1]!r}]"
        if text.startswith("%"):
            return f"r[{self._slot(text)}]"
        if text.startswith("{"):  # two halves of a word, the low one first
            low, high = (self._get(part) for part in _parts(text))
            return f"({low} | {high} << 16)"
        if text.startswith("0f"):
            return repr(machine.number(int(text[2:], 16)))
        return "0" if text == "memory" else f"({int(text, 0)})"

    def _code(self, opcode: str, x: list[str]) -> str:
        head, *tail = opcode.split(".")
        kind = tail[-1] if tail else ""
        if opcode.startswith(("bra", "ret")):
            return f"return {self.labels[x[0]]}" if head == "bra" else "return None"
        if opcode.startswith("cp.async.cg"):
            (shared, s), (address, a) = _address(x[0]), _address(x[1])
            return f"lane.copy({self._get(shared)} + {s}, {self._get(address)} + {a}, {x[2]})"
        if opcode == "cp.async.wait_all":
            return "lane.wait()"
        if head in ("ld", "st"):
            return self._memory(head, tail, x)
        if x[0].startswith("{"):
            low, high = (self._set(part) for part in _parts(x[0]))
            return f"{low}, {high} = {self._get(x[1])} & 0xFFFF, {self._get(x[1])} >> 16"
        return f"{self._set(x[0])} = {self._value(head, tail, kind, x)}"

    def _value(self, head: str, tail: list[str], kind: str, x: list[str]) -> str:
        values = [self._get(text) for text in x[1:]]
        if head in ("mov", "cvta"):
            return self._moved(x[0], x[1], values[0])
        if head == "cvt":
            return self._converted(".".join(tail), values[0])
        if head == "selp":
            return f"{values[0]} if {values[2]} else {values[1]}"
        if kind == "f32":
            a, b, *c = values
            return f"f32({a} * {b} + {c[0]})" if head == "fma" else f"f32({a} {INFIX[head]} {b})"
        if kind == "pred":
            return f"not {values[0]}" if head == "not" else f"bool({values[0]} {INFIX[head]} {values[1]})"
        return self._whole(head, tail, kind, values)

    def _whole(self, head: str, tail: list[str], kind: str, values: list[str]) -> str:
        width = WIDTH[kind[1:]]
        mask = (1 << width) - 1
        s = [f"signed({v} & {mask}, {width})" if kind[0] == "s" else f"({v} & {mask})" for v in values]
        if head == "setp":
            return f"{s[0]} {COMPARE[tail[0]]} {s[1]}"
        if head in INFIX:
            return f"({values[0]} {INFIX[head]} {values[1]}) & {mask}"
        wide = (1 << 2 * width) - 1
        forms = {
            "not": f"~{values[0]} & {mask}",
            "shl": f"({values[0]} << min({values[-1]}, {width})) & {mask}",
            "shr": f"({s[0]} >> min({values[-1]}, {width})) & {mask}",
            "min": f"min({s[0]}, {s[-1]}) & {mask}",
            "max": f"max({s[0]}, {s[-1]}) & {mask}",
            "div": f"quotient({s[0]}, {s[-1]}) & {mask}",
            "rem": f"({s[0]} - quotient({s[0]}, {s[-1]}) * {s[-1]}) & {mask}",
            "mul": f"({s[0]} * {s[1 % len(s)]}) & {wide if 'wide' in tail else mask}",
            "mad": f"({s[0]} * {s[1 % len(s)]} + {values[-1]}) & {mask}",
        }
        return forms[head]

    @staticmethod
    def _moved(into: str, source: str, value: str) -> str:
        if into.startswith("%f") and source.startswith("%r"):
            return f"number({value})"
        return f"bits({value})" if into.startswith("%r") and source.startswith("%f") else value

    @staticmethod
    def _converted(kind: str, value: str) -> str:
        return {
            "u64.u32": value,
            "u32.u16": value,
            "u16.u32": f"{value} & 0xFFFF",
            "u32.u64": f"{value} & 0xFFFFFFFF",
            "s64.s32": f"signed({value}, 32) & 0xFFFFFFFFFFFFFFFF",
            "f32.f16": f"from_f16({value})",
            "rn.f16.f32": f"to_f16({value})",
            "rn.bf16.f32": f"to_bf16({value})",
            "rna.tf32.f32": f"to_tf32({value})",
        }[kind]

    def _memory(self, head: str, tail: list[str], x: list[str]) -> str:
        kind, space = tail[-1], tail[0]
        if space == "param":
            mask = (1 << WIDTH[kind[1:]]) - 1
            return f"{self._set(x[0])} = p[{x[1].rstrip(']').rpartition('_')[2]}] & {mask}"
        size = WIDTH[kind[1:]] // 8
        names, (base, offset) = _parts(x[0 if head == "ld" else 1]), _address(x[1 if head == "ld" else 0])
        code = {"f32": "f", "u8": "B", "u16": "H", "u32": "I", "u64": "Q"}[kind]
        address = f"{self._get(base)} + {offset}"
        form = f"'<{len(names)}{code}'"
        if head == "ld":
            into = ", ".join(self._set(name) for name in names)
            return f"{into}, = struct.unpack({form}, lane.load({space!r}, {address}, {size * len(names)}))"
        values = ", ".join(self._get(name) for name in names)
        return f"lane.store({space!r}, {address}, struct.pack({form}, {values}))"


def _operands(text: str) -> list[str]:
    return [part.strip() for part in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", text)]


def _parts(operand: str) -> list[str]:
    return [part.strip() for part in operand.strip("{}").split(",")]


def _address(operand: str) -> tuple[str, int]:
    base, _, offset = operand.strip("[]").partition("+")
    return base.strip(), int(offset or 0)
