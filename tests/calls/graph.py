"""The calls of the package, from its syntax trees alone: which functions an entry point reaches, and in which files.

Nothing is imported or run. What is followed:

- names, through imports (also those inside functions and re-exports of an `__init__`), to functions, classes and module
  variables; a variable's value is followed as well, so that a table of functions leads to its functions, and so does a
  text of the form "package.module:object";
- attributes of values whose class is known: from the annotation of a parameter, a field or a result, from `self`, or
  from an assignment of one of these (no control flow: a variable has all the classes that any assignment gives it);
- overrides and implementations of a Protocol, but only of classes that are constructed somewhere on the way (rapid type
  analysis): the driver's `Run` leads an image to `EmbedRun` and not to `EditRun`;
- an attribute of an unknown value, by its name alone, if at most `SHARED_NAMES` classes constructed on the way have
  it and no common type of the standard library does;
- special methods (`__enter__`, `__iter__`, ..., and `forward`) of every class that is constructed on the way.

What is not followed: annotations, `except` clauses and `isinstance` tests, and whatever the caller names as a stop.
"""

from __future__ import annotations

import ast
import concurrent.futures
import io
import pathlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.calls.names import Function, Package, Symbol
from tests.calls.types import UNKNOWN, Environment, Type, Types

SHARED_NAMES = 2
_REFERENCE = re.compile(r"([a-z]\w*(?:\.\w+)+):(\w+)")
_COMMON_TYPES = (str, bytes, list, dict, set, tuple, int, float, io.BytesIO, pathlib.Path, concurrent.futures.Future)
_COMMON = {name for each in (*_COMMON_TYPES, threading.Thread, threading.Event) for name in dir(each)}
_COMMON |= {"acquire", "release", "submit", "shutdown", "put"}
_COMMON |= {"convert", "fromarray", "load", "map", "save", "slice", "take", "to_pylist"}  # of arrays, tables and images
_TESTS = {"isinstance", "issubclass", "cast"}


@dataclass
class Reached:
    """What an entry point reaches. `calls`: call sites in one file with a target in another, as (file, line, column);
    `by_name` are those of them that only the name of the attribute resolved."""

    functions: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    files: set[pathlib.Path] = field(default_factory=set)
    calls: set[tuple[pathlib.Path, int, int]] = field(default_factory=set)
    by_name: set[tuple[pathlib.Path, int, int]] = field(default_factory=set)


def reach(package: Package, entries: list[str], stops: tuple[str, ...]) -> Reached:
    """Return all that the entry points reach, without what lies in files or folders that `stops` names."""
    reached = Reached()
    walk = _Walk(package, reached, tuple(package.root / package.name / stop for stop in stops))
    for entry in entries:
        walk.add(package.entry(entry))
    size = -1
    while size != (size := len(reached.functions) + len(reached.classes)):
        reached.calls.clear()
        reached.by_name.clear()
        for symbol in list(walk.symbols.values()):
            walk.visit(symbol)
    return reached


class _Walk:
    """One walk over what is reached; done again until nothing is added, since each class found adds overrides."""

    def __init__(self, package: Package, reached: Reached, stops: tuple[pathlib.Path, ...]) -> None:
        self._package, self._reached, self._stops = package, reached, stops
        self._types = Types(package)
        self.symbols: dict[str, Symbol] = {}
        self._read: dict[ast.expr, tuple[list[Symbol], Type]] = {}  # what needs no second look

    def add(self, symbol: Symbol) -> bool:
        """Reach a symbol; return False for what is stopped."""
        if symbol.id in self.symbols:
            return True
        path = symbol.module.path
        if any(path == stop or stop in path.parents for stop in self._stops):
            return False
        self.symbols[symbol.id] = symbol
        if isinstance(symbol.node, Function):
            self._reached.functions.add(symbol.id)
            self._reached.files.add(path)
        elif isinstance(symbol.node, ast.ClassDef):
            self._reached.classes.add(symbol.id)
            self._reached.files.add(path)
            for cls in self._package.bases(symbol):
                self.add(cls)
                for name, member in cls.members.items():
                    if (name.startswith("__") or name == "forward") and isinstance(member.node, Function):
                        self.add(member)
        return True

    def visit(self, symbol: Symbol) -> None:
        """Follow what a symbol calls and refers to."""
        environment = self._types.within(symbol)
        for node in _code_of(symbol.node):
            if isinstance(node, ast.Call):
                targets, by_name = self._targets(node.func, environment)
                outside = [each for each in targets if self.add(each) and each.module is not symbol.module]
                if outside and not all(isinstance(each.node, ast.Assign | ast.AnnAssign) for each in outside):
                    site = (symbol.module.path, node.lineno, node.col_offset)
                    self._reached.calls.add(site)
                    if by_name:
                        self._reached.by_name.add(site)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                for target in self._targets(node, environment)[0]:
                    self.add(target)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                match = _REFERENCE.fullmatch(node.value)
                named = self._package.find(match[1], match[2]) if match else None
                if isinstance(named, Symbol):
                    self.add(named)

    def _targets(self, node: ast.expr, environment: Environment) -> tuple[list[Symbol], bool]:
        """Return the symbols that an expression may name, and whether only an attribute's name says so."""
        if isinstance(node, ast.Attribute) and node.attr == "remote":  # a call of Ray's: actor.method.remote(...)
            node = node.value
        if node not in self._read:
            named = [each for each in environment.refer(node) if isinstance(each, Symbol)]
            self._read[node] = (named, environment.type_of(node.value) if isinstance(node, ast.Attribute) else UNKNOWN)
        symbols, receiver = self._read[node]
        if symbols or not isinstance(node, ast.Attribute):
            return symbols, False
        if receiver.classes:
            wanted = [self._package.classes[each] for each in receiver.classes]
            return self._members(wanted, node.attr), False
        if node.attr in _COMMON or environment.is_foreign(node.value):
            return [], True
        having = [self._package.classes[each] for each in sorted(self._reached.classes)]
        found = {each.id: each for cls in having if (each := self._package.member(cls, node.attr))}
        return (list(found.values()) if len(found) <= SHARED_NAMES else []), True

    def _members(self, wanted: list[Symbol], name: str) -> list[Symbol]:
        """Return the attribute of the classes, and of what is constructed and may stand in their place."""
        found = {}
        for cls in wanted:
            constructed = [self._package.classes[each] for each in sorted(self._reached.classes)]
            for each in (cls, *(other for other in constructed if self._package.implements(other, cls))):
                if member := self._package.member(each, name):
                    found[member.id] = member
        return list(found.values())


def _code_of(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run: no annotations, types of exceptions or arguments of `isinstance`; of a class, what
    stands outside its methods."""
    pending = list(_parts(node, is_whole=True))
    while pending:
        each = pending.pop()
        yield each
        pending += _parts(each, is_whole=False)


def _parts(node: ast.AST, is_whole: bool) -> list[ast.AST]:
    if isinstance(node, ast.ClassDef) and is_whole:
        return [each for each in node.body if not isinstance(each, Function)] + list(node.decorator_list)
    left_out: list[object] = [getattr(node, name, None) for name in ("annotation", "returns")]
    if isinstance(node, ast.ExceptHandler):
        left_out.append(node.type)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _TESTS:
        left_out += node.args[:1] if node.func.id == "cast" else node.args[1:]
    return [each for each in ast.iter_child_nodes(node) if not any(each is other for other in left_out)]
