"""The files of a package as syntax trees: its functions, classes and variables, and what a name in a file means."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Symbol:
    """A function, class or module variable; `id` is "module:qualified name"."""

    id: str
    module: Module
    node: ast.AST
    owner: Symbol | None = None  # the class of a method
    members: dict[str, Symbol] = field(default_factory=dict)  # of a class: its methods and attributes

    @property
    def name(self) -> str:
        return self.id.rsplit(":", 1)[1].rsplit(".", 1)[-1]


@dataclass
class Module:
    """One file: what its names mean."""

    name: str
    path: pathlib.Path
    tree: ast.Module
    symbols: dict[str, Symbol] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)  # local name -> module and name in it, or ""


class Package:
    """All modules below `root/name`."""

    def __init__(self, root: pathlib.Path, name: str) -> None:
        self.root, self.name = root, name
        self.modules: dict[str, Module] = {}
        for path in sorted((root / name).rglob("*.py")):
            dotted = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            module = Module(dotted, path, ast.parse(path.read_text()))
            self.modules[dotted] = module
            _read_names(module)
        self._bases: dict[str, list[Symbol]] = {}
        self._implements: dict[tuple[str, str], bool] = {}

    def entry(self, text: str) -> Symbol:
        """Return the symbol that "folder/file.py:Class.method" names, below the package. Raises LookupError."""
        path, _, names = text.partition(":")
        for module in self.modules.values():
            if module.path == self.root / self.name / path:
                first, *rest = names.split(".")
                symbol = module.symbols.get(first)
                for name in rest:
                    symbol = symbol.members.get(name) if symbol else None
                if symbol is not None:
                    return symbol
        raise LookupError(f"there is no {text!r} in {self.name}; correct the table of entry points")

    def find(self, module: str, name: str) -> Symbol | Module | None:
        """Return what `name` is in `module`: a symbol of the package, one of its modules, or None."""
        here = self.modules.get(module)
        if here is None:
            return None
        if name in here.symbols:
            return here.symbols[name]
        if name in here.imports:
            origin, what = here.imports[name]
            return self.modules.get(origin) if not what else self.find(origin, what)
        return self.modules.get(f"{module}.{name}")

    def refer(self, module: Module, node: ast.expr | None) -> list[Symbol | Module]:
        """Return what a name, or a dotted name, at the level of the module refers to in the package."""
        if isinstance(node, ast.Name):
            found = self.find(module.name, node.id)
            return [] if found is None else [found]
        return self.within(self.refer(module, node.value), node.attr) if isinstance(node, ast.Attribute) else []

    def within(self, bases: list[Symbol | Module], name: str) -> list[Symbol | Module]:
        """Return what `name` is in modules and classes."""
        members: list[Symbol | Module] = []
        for base in bases:
            found: Symbol | Module | None = None
            if isinstance(base, Module):
                found = self.find(base.name, name)
            elif isinstance(base.node, ast.ClassDef):
                found = self.member(base, name)
            members += [found] if found else []
        return members

    def bases(self, cls: Symbol) -> list[Symbol]:
        """Return the class and its bases in the package, nearest first."""
        if cls.id not in self._bases:
            self._bases[cls.id] = self._read_bases(cls)
        return self._bases[cls.id]

    def _read_bases(self, cls: Symbol) -> list[Symbol]:
        found = [cls]
        for base in cls.node.bases if isinstance(cls.node, ast.ClassDef) else ():
            inner = base.value if isinstance(base, ast.Subscript) else base
            for symbol in self.refer(cls.module, inner):
                if isinstance(symbol, Symbol) and isinstance(symbol.node, ast.ClassDef):
                    found += [each for each in self.bases(symbol) if each not in found]
        return found

    def member(self, cls: Symbol, name: str) -> Symbol | None:
        """Return a method or attribute of a class, its own or inherited."""
        return next((each.members[name] for each in self.bases(cls) if name in each.members), None)

    @cached_property
    def classes(self) -> dict[str, Symbol]:
        """Return every class of the package by its id."""
        symbols = (symbol for module in self.modules.values() for symbol in module.symbols.values())
        return {symbol.id: symbol for symbol in symbols if isinstance(symbol.node, ast.ClassDef)}

    def implements(self, cls: Symbol, wanted: Symbol) -> bool:
        """Return whether `cls` is `wanted`, one of its subclasses, or has all that it asks for as a Protocol."""
        if (cls.id, wanted.id) not in self._implements:
            self._implements[cls.id, wanted.id] = self._compare(cls, wanted)
        return self._implements[cls.id, wanted.id]

    def _compare(self, cls: Symbol, wanted: Symbol) -> bool:
        if any(each is wanted for each in self.bases(cls)):
            return True
        node = wanted.node
        if not isinstance(node, ast.ClassDef) or not any(last_name(base) == "Protocol" for base in node.bases):
            return False
        return all(self.member(cls, name) for name, each in wanted.members.items() if isinstance(each.node, Function))


def _read_names(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                module.imports[alias.asname or alias.name] = (node.module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                module.imports[name] = (alias.name if alias.asname else name, "")
    for name, node in _definitions(module.tree.body):
        module.symbols[name] = symbol = Symbol(f"{module.name}:{name}", module, node)
        if isinstance(node, ast.ClassDef):
            for inner, each in _definitions(node.body):
                symbol.members[inner] = Symbol(f"{symbol.id}.{inner}", module, each, symbol)


def _definitions(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    for node in body:
        if isinstance(node, Function | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.If | ast.Try):
            yield from _definitions(node.body)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node


def last_name(node: ast.expr) -> str:
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
