"""This module is a pickle machine that can only build data: nothing that a file names is imported, looked up or called.

A global is accepted if its name is on the caller's list, and then stands for itself as text. A "call" of it makes
a `Record` of the arguments, or gives them to a function of ours. Byte strings are views of the file, so a claimed
size costs nothing. What one file may cost is limited as a whole, with the pickles inside its pickles: in
instructions, and in the items that an instruction copies. That bounds time and memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from i2s_batch.errors import CheckpointError

# A 1024-pixel StyleGAN2-ADA pickle needs about 40,000.
MAX_INSTRUCTIONS = 250_000
# Bytes of a whole number; torch's magic number has 10.
_MAX_LONG = 16
# Characters of a key. Keys are joined to paths, and one in the memo is joined as often as a file likes.
_MAX_KEY = 256


@dataclass(frozen=True)
class Global:
    """Holds the name of a class or function in a file, never the thing itself."""

    name: str


@dataclass(eq=False)
class Record:
    """Stands for a call that was not executed: the global's name, its arguments, and the state of the result."""

    name: str
    args: tuple[Any, ...]
    state: Any = field(default=None)


class Budget:
    """Counts what reading one file may still cost."""

    def __init__(self) -> None:
        self._left = MAX_INSTRUCTIONS

    def spend(self, count: int) -> None:
        """Subtract `count` instructions, or items that one of them copies; CheckpointError if nothing is left."""
        self._left -= count
        if self._left < 0:
            raise CheckpointError(f"its pickle has more than {MAX_INSTRUCTIONS} instructions; refused")


# Called in place of a global with its arguments; ours, harmless. Pays for what it does.
Constructor = Callable[[tuple[Any, ...], Budget], Any]


@dataclass(frozen=True)
class Rules:
    """Defines what one file format may contain.

    `what`: the format, for messages; `names`: the globals that may occur; `constructors`: those that do not
    become a Record when called; `persistent`: the object that a persistent id stands for; `prefixes`: of globals that
    may occur too; `classes`: names, without their module, of classes that may occur wherever a program keeps them.
    """

    what: str
    names: frozenset[str]
    constructors: Mapping[str, Constructor] = field(default_factory=dict)
    persistent: Callable[[Any], Any] | None = None
    prefixes: tuple[str, ...] = ()
    classes: frozenset[str] = frozenset()

    def allows(self, name: str) -> bool:
        """Return whether a global of this name may occur."""
        return name in self.names or name.startswith(self.prefixes) or name.rpartition(".")[2] in self.classes


# `Any`: a pickle may hold anything; what it yields is narrowed where it is read.
def new_dict(args: tuple[Any, ...], budget: Budget) -> dict[str | int, Any]:
    """Return a dict for any of the dict types; `args` is empty, or a list of pairs (Python 2)."""
    pairs = args[0] if args else []
    if not isinstance(pairs, list):
        raise CheckpointError("its pickle is malformed: a dict is built from something that is no list of pairs")
    budget.spend(len(pairs))
    return {_key(key): value for key, value in pairs}


def _key(key: Any) -> str | int:
    """Return `key` itself; CheckpointError for keys that could be slow or fatal to hash."""
    if not isinstance(key, str | int):
        raise CheckpointError(f"its pickle has a {type(key).__name__} as a key; refused")
    if isinstance(key, str) and len(key) > _MAX_KEY:
        raise CheckpointError(f"its pickle has a key of {len(key)} characters; refused")
    return key


_MARK = object()


class Unpickler:
    """Runs the pickles of one file; `load` may be called for each of several that follow one another."""

    def __init__(self, data: memoryview, rules: Rules, budget: Budget | None = None) -> None:
        """Start with `budget`, that of the file, if these pickles are not all of it."""
        self._data = data
        self._rules = rules
        self._position = 0
        self._budget = budget or Budget()
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}  # `Any`, as above

    def load(self, position: int = 0) -> tuple[Any, int]:
        """Return the value of the pickle that begins at `position`, and the position after it."""
        self._position, self._stack, self._memo = position, [], {}
        data, instructions = self._data, _INSTRUCTIONS
        while True:
            code = data[self._position]
            self._position += 1
            if code == _STOP:
                return self._pop(), self._position
            self._budget.spend(1)
            instruction = instructions.get(code)
            if instruction is None:
                raise CheckpointError(f"its pickle has the instruction 0x{code:02x}, which no {self._rules.what} needs")
            instruction(self)

    def _take(self, count: int) -> memoryview:
        end = self._position + count
        if end > len(self._data):
            raise CheckpointError(
                f"it is truncated: {count} bytes are claimed at byte {self._position} of {len(self._data)}"
            )
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise CheckpointError("its pickle is malformed: a mark stands where a value is needed")
        return value

    def _pop_to_mark(self) -> list[Any]:
        position = len(self._stack) - 1
        while self._stack[position] is not _MARK:
            position -= 1
            if position < 0:
                raise CheckpointError("its pickle is malformed: a mark is missing")
        values = self._stack[position + 1 :]
        del self._stack[position:]
        return values

    def _skip_protocol(self) -> None:
        self._take(1)

    def _skip_frame(self) -> None:
        length = self._number("<Q")
        if length > len(self._data) - self._position:
            raise CheckpointError(f"it is truncated: a frame of {length} bytes is claimed")

    def _push_line_global(self) -> None:
        names = []
        for _ in range(2):
            window = bytes(self._data[self._position : self._position + 256])
            line, newline, _ = window.partition(b"\n")
            if not newline:
                raise CheckpointError("its pickle is malformed: a global's name has no end")
            self._position += len(line) + 1
            names.append(line.decode())
        self._push_global(*names)

    def _push_stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise CheckpointError("its pickle is malformed: a global's name is no text")
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        # NumPy 2 renamed the package that its pickles refer to.
        full = f"{module}.{name}".replace("numpy._core.", "numpy.core.", 1)
        if not self._rules.allows(full):
            raise CheckpointError(f"refers to {full[:80]}, which no {self._rules.what} needs; refused, nothing was run")
        self._stack.append(Global(full))

    def _reduce(self) -> None:
        args, function = self._pop(), self._pop()
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise CheckpointError("its pickle is malformed: a call of something that is no global")
        constructor = self._rules.constructors.get(function.name)
        self._stack.append(constructor(args, self._budget) if constructor else Record(function.name, args))

    def _build(self) -> None:
        state, target = self._pop(), self._stack[-1]
        if isinstance(target, Record):
            target.state = state
        elif not isinstance(target, dict):  # attributes of a dict type carry no weights
            raise CheckpointError("its pickle is malformed: a state for something that has none")

    def _set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise CheckpointError("its pickle is malformed: items for something that takes none")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_key(key)] = value

    def _append(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise CheckpointError("its pickle is malformed: items for something that is no list")
        target.extend(values)

    def _push_tuple(self, length: int) -> None:
        values = self._stack[-length:]
        if len(values) < length or _MARK in values:
            raise CheckpointError("its pickle is malformed: a tuple of values that are not there")
        self._stack[-length:] = [tuple(values)]

    def _push_text(self, length_form: str, encoding: str = "utf-8") -> None:
        self._stack.append(bytes(self._take(self._number(length_form))).decode(encoding))

    def _push_bytes(self, length_form: str) -> None:
        self._stack.append(self._take(self._number(length_form)))

    def _push_long(self) -> None:
        length = self._number("<B")
        if length > _MAX_LONG:
            raise CheckpointError(f"its pickle has a number of {length} bytes; refused")
        self._stack.append(int.from_bytes(self._take(length), "little", signed=True))

    def _push_persistent(self) -> None:
        if self._rules.persistent is None:
            raise CheckpointError(f"its pickle refers to outside objects, which no {self._rules.what} needs; refused")
        self._stack.append(self._rules.persistent(self._pop()))

    def _memorize(self, key: int) -> None:
        value = self._stack[-1]
        if value is _MARK:
            raise CheckpointError("its pickle is malformed: a mark stands where a value is needed")
        self._memo[key] = value


_STOP = ord(".")

# The instructions of protocols 2 to 5 that a pickler writes for the formats read here.
_INSTRUCTIONS: dict[int, Callable[[Unpickler], None]] = {
    0x80: lambda u: u._skip_protocol(),
    0x95: lambda u: u._skip_frame(),
    ord("("): lambda u: u._stack.append(_MARK),
    ord("}"): lambda u: u._stack.append({}),
    ord("]"): lambda u: u._stack.append([]),
    ord(")"): lambda u: u._stack.append(()),
    0x8F: lambda u: u._stack.append([]),  # a set; read as a list
    ord("t"): lambda u: u._stack.append(tuple(u._pop_to_mark())),
    0x85: lambda u: u._push_tuple(1),
    0x86: lambda u: u._push_tuple(2),
    0x87: lambda u: u._push_tuple(3),
    ord("N"): lambda u: u._stack.append(None),
    0x88: lambda u: u._stack.append(True),
    0x89: lambda u: u._stack.append(False),
    ord("K"): lambda u: u._stack.append(u._number("<B")),
    ord("M"): lambda u: u._stack.append(u._number("<H")),
    ord("J"): lambda u: u._stack.append(u._number("<i")),
    ord("G"): lambda u: u._stack.append(u._number(">d")),
    0x8A: lambda u: u._push_long(),
    0x8C: lambda u: u._push_text("<B"),
    ord("X"): lambda u: u._push_text("<I"),
    0x8D: lambda u: u._push_text("<Q"),
    ord("U"): lambda u: u._push_text("<B", "latin-1"),  # text of Python 2
    ord("T"): lambda u: u._push_text("<I", "latin-1"),
    ord("C"): lambda u: u._push_bytes("<B"),
    ord("B"): lambda u: u._push_bytes("<I"),
    0x8E: lambda u: u._push_bytes("<Q"),
    ord("q"): lambda u: u._memorize(u._number("<B")),
    ord("r"): lambda u: u._memorize(u._number("<I")),
    0x94: lambda u: u._memorize(len(u._memo)),
    ord("h"): lambda u: u._stack.append(u._memo[u._number("<B")]),
    ord("j"): lambda u: u._stack.append(u._memo[u._number("<I")]),
    ord("c"): lambda u: u._push_line_global(),
    0x93: lambda u: u._push_stack_global(),
    ord("R"): lambda u: u._reduce(),
    0x81: lambda u: u._reduce(),  # cls.__new__(cls, *args)
    ord("b"): lambda u: u._build(),
    ord("s"): lambda u: u._set_items([u._pop(), u._pop()][::-1]),
    ord("u"): lambda u: u._set_items(u._pop_to_mark()),
    ord("a"): lambda u: u._append([u._pop()]),
    ord("e"): lambda u: u._append(u._pop_to_mark()),
    0x90: lambda u: u._append(u._pop_to_mark()),
    ord("Q"): lambda u: u._push_persistent(),
}
