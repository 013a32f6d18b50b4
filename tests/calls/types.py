"""The classes that values may have, as far as annotations and assignments say so. No control flow is followed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from tests.calls.names import Function, Module, Package, Symbol, last_name

_PASSING_ON = {"list", "sorted", "tuple", "set", "iter", "next", "zip", "enumerate", "reversed"}


@dataclass(frozen=True)
class Type:
    """The classes that a value may have, and those of what it holds where it is a container."""

    classes: frozenset[str] = frozenset()
    items: frozenset[str] = frozenset()

    def __or__(self, other: Type) -> Type:
        return Type(self.classes | other.classes, self.items | other.items)

    def held(self) -> Type:
        """Return the type of what the container gives."""
        return Type(self.items, self.items)


UNKNOWN = Type()


UNKNOWN = Type()


class Types:
    """The types of all variables, attributes and results of a package."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self._environments: dict[str, Environment] = {}

    def within(self, symbol: Symbol) -> Environment:
        """Return what the names in a function, class body or variable's value mean."""
        if symbol.id not in self._environments:
            self._environments[symbol.id] = environment = Environment(self, symbol)
            environment.read_assignments()
        return self._environments[symbol.id]


class Environment:
    """What names mean within one symbol, and of which classes its variables are."""

    def __init__(self, types: Types, symbol: Symbol) -> None:
        self._types, self._package, self._symbol = types, types.package, symbol
        self._variables: dict[str, Type] = {}
        self._own_class: dict[str, Symbol] = {}  # `cls` of a class method

    def read_assignments(self) -> None:
        """Give every variable the classes that any of its assignments gives it."""
        symbol = self._symbol
        for function in (node for node in ast.walk(symbol.node) if isinstance(node, Function | ast.Lambda)):
            arguments = function.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            for argument in every:
                self._assign(argument.arg, self.annotated(argument.annotation))
            if function is symbol.node and symbol.owner and every:
                if any(last_name(each) == "classmethod" for each in getattr(function, "decorator_list", ())):
                    self._own_class[every[0].arg] = symbol.owner
                else:
                    self._assign(every[0].arg, Type(frozenset({symbol.owner.id})))
        for _ in range(2):  # a variable may be used above, in a loop, before the line that gives it its class
            for node in ast.walk(symbol.node):
                self._read(node)

    def _read(self, node: ast.AST) -> None:
        if isinstance(node, ast.AnnAssign):
            self._bind(node.target, self.annotated(node.annotation))
        elif isinstance(node, ast.Assign | ast.NamedExpr):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._bind(target, self.type_of(node.value))
        elif isinstance(node, ast.For | ast.comprehension):
            self._bind(node.target, self.type_of(node.iter).held())
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            entered = self.type_of(node.context_expr)
            self._bind(node.optional_vars, entered | entered.held())

    def _bind(self, target: ast.expr, kind: Type) -> None:
        if isinstance(target, ast.Name):
            self._assign(target.id, kind)
        elif isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self._bind(element.value if isinstance(element, ast.Starred) else element, kind | kind.held())

    def _assign(self, name: str, kind: Type) -> None:
        self._variables[name] = self._variables.get(name, UNKNOWN) | kind

    def annotated(self, node: ast.expr | None) -> Type:
        """Return the type that an annotation names; of a generic type, its arguments are what it holds."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        if isinstance(node, ast.BinOp):
            return self.annotated(node.left) | self.annotated(node.right)
        if isinstance(node, ast.Subscript):
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple | ast.List) else [node.slice]
            held = UNKNOWN
            for each in inner:
                part = self.annotated(each)
                held |= Type(part.classes | part.items)
            return self.annotated(node.value) | Type(frozenset(), held.classes)
        if isinstance(node, ast.List | ast.Tuple):  # the parameters of a Callable
            return UNKNOWN
        found = UNKNOWN
        for symbol in self.refer(node) if isinstance(node, ast.Name | ast.Attribute) else ():
            if isinstance(symbol, Symbol) and isinstance(symbol.node, ast.ClassDef):
                found |= Type(frozenset({symbol.id}))
            elif isinstance(symbol, Symbol) and isinstance(symbol.node, ast.Assign):  # another name for a type
                found |= Environment(self._types, symbol).annotated(symbol.node.value)
        return found

    def refer(self, node: ast.expr | None) -> list[Symbol | Module]:
        """Return what a name, or a dotted name, refers to in the package."""
        if isinstance(node, ast.Name):
            if node.id in self._own_class:
                return [self._own_class[node.id]]
            return [] if self._variables.get(node.id) else self._package.refer(self._symbol.module, node)
        return self._package.within(self.refer(node.value), node.attr) if isinstance(node, ast.Attribute) else []

    def is_foreign(self, node: ast.expr) -> bool:
        """Return whether an expression begins with a module of another package, such as `torch.linalg`."""
        while isinstance(node, ast.Attribute):
            node = node.value
        origin = self._symbol.module.imports.get(node.id) if isinstance(node, ast.Name) else None
        return origin is not None and not origin[0].startswith(self._package.name)

    def type_of(self, node: ast.expr | None) -> Type:
        """Return the classes that an expression may have, as far as they can be read."""
        if isinstance(node, ast.Name):
            found = self._variables.get(node.id)
            return found or self._type_of_references(node)
        if isinstance(node, ast.Attribute):
            return self._type_of_references(node) | self._type_of_attribute(node)
        if isinstance(node, ast.Call):
            return self._type_of_call(node)
        if isinstance(node, ast.Subscript | ast.Starred | ast.Await):
            return self.type_of(node.value).held() if isinstance(node, ast.Subscript) else self.type_of(node.value)
        if isinstance(node, ast.NamedExpr):
            return self.type_of(node.value)
        parts: list[ast.expr] = []
        if isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        elif isinstance(node, ast.BoolOp):
            parts = node.values
        elif isinstance(node, ast.BinOp):
            parts = [node.left, node.right]
        whole = UNKNOWN
        for part in parts:
            whole |= self.type_of(part)
        held = UNKNOWN
        for part in _elements(node):
            held |= self.type_of(part)
        return whole | Type(frozenset(), held.classes | held.items)

    def _type_of_references(self, node: ast.expr) -> Type:
        found = UNKNOWN
        for symbol in self.refer(node):
            if isinstance(symbol, Symbol):
                found |= self._types.within(symbol).type_of_variable(symbol)
        return found

    def type_of_variable(self, symbol: Symbol) -> Type:
        """Return the type of a module variable, an attribute of a class, or a property."""
        if isinstance(symbol.node, ast.AnnAssign):
            return self.annotated(symbol.node.annotation)
        if isinstance(symbol.node, ast.Assign):
            return Environment(self._types, symbol).type_of(symbol.node.value)
        if isinstance(symbol.node, Function) and any("property" in last_name(d) for d in symbol.node.decorator_list):
            return self.annotated(symbol.node.returns)
        return UNKNOWN

    def _type_of_attribute(self, node: ast.Attribute) -> Type:
        found = UNKNOWN
        for cls in sorted(self.type_of(node.value).classes):
            member = self._package.member(self._package.classes[cls], node.attr)
            if member is not None:
                found |= self._types.within(member).type_of_variable(member)
            else:
                found |= self._set_by_a_method(self._package.classes[cls], node.attr)
        return found

    def _set_by_a_method(self, cls: Symbol, name: str) -> Type:
        """Return the type of `self.name` as the methods of the class assign it."""
        found = UNKNOWN
        for method in (each for base in self._package.bases(cls) for each in base.members.values()):
            if not isinstance(method.node, Function) or (method.id == self._symbol.id and method.name != "__init__"):
                continue
            environment = self._types.within(method)
            for target, value in _assigned_attributes(method.node):
                if target.attr == name:
                    found |= environment.annotated(value[1]) if value[1] else environment.type_of(value[0])
        return found

    def _type_of_call(self, node: ast.Call) -> Type:
        found = UNKNOWN
        symbols = [each for each in self.refer(node.func) if isinstance(each, Symbol)]
        if isinstance(node.func, ast.Attribute) and not symbols:
            receiver = self.type_of(node.func.value)
            for cls in sorted(receiver.classes):
                member = self._package.member(self._package.classes[cls], node.func.attr)
                symbols += [member] if member else []
            if not symbols:  # list.pop, dict.values, Future.result ...: what the container holds
                found |= receiver.held()
        if isinstance(node.func, ast.Name) and node.func.id in _PASSING_ON:
            for argument in node.args:
                part = self.type_of(argument)
                found |= Type(part.items if node.func.id == "next" else frozenset(), part.items)
        if isinstance(node.func, ast.Name) and node.func.id == "super" and self._symbol.owner:
            bases = self._package.bases(self._symbol.owner)[1:]
            found |= Type(frozenset(base.id for base in bases))
        for symbol in symbols:
            if isinstance(symbol.node, ast.ClassDef):
                found |= Type(frozenset({symbol.id}))
            elif isinstance(symbol.node, Function):
                found |= self._types.within(symbol).annotated(symbol.node.returns)
        return found


def _assigned_attributes(node: Function) -> Iterator[tuple[ast.Attribute, tuple[ast.expr | None, ast.expr | None]]]:
    """Yield each attribute that a function assigns, with the value and the annotation, one of which may be None."""
    for each in ast.walk(node):
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Attribute):
            yield each.target, (each.value, each.annotation)
        elif isinstance(each, ast.Assign):
            for target in each.targets:
                if isinstance(target, ast.Attribute):
                    yield target, (each.value, None)
                elif isinstance(target, ast.Tuple) and isinstance(each.value, ast.Tuple):
                    for one, value in zip(target.elts, each.value.elts, strict=False):
                        if isinstance(one, ast.Attribute):
                            yield one, (value, None)


def _elements(node: ast.expr | None) -> list[ast.expr]:
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return node.elts
    if isinstance(node, ast.Dict):
        return node.values
    if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        return [node.elt]
    return [node.value] if isinstance(node, ast.DictComp) else []
