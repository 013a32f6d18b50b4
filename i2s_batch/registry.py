"""Declares registries: lists of what the program can do, each entry of which is one new file and one line.

    EXPORTERS = Registry("format", [Declaration[Exporter]("csv", "One row an image.", "i2s_batch.table.csv:export")])
    EXPORTERS.names                      what a command offers: ("csv",)
    EXPORTERS.get(name)                  the declaration; ConfigError, which lists the names, for another name
    EXPORTERS.get(name).resolve()        what `target` names; only now is its module imported
    with EXPORTERS.added(declaration):   for a test, or a program of somebody else, which may also add and remove

A declaration is text alone, so that a command lists its choices without torch or pyarrow. An entry that needs more
than name, summary and target (a column, a unit, options) derives a frozen dataclass from `Declaration`.

What another program adds is known in its own process. Workers are other processes: where they need it, a module that
they import has to add it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from i2s_batch.errors import ConfigError

T = TypeVar("T")
D = TypeVar("D", bound="Declaration[Any]")


@dataclass(frozen=True)
class Declaration(Generic[T]):
    """Declares one entry of a registry.

    Args:
        name: What users write, and what runs record: never renamed.
        summary: One sentence for people.
        target: Where the entry is, as "module:object"; an object of type T.
    """

    name: str
    summary: str
    target: str

    def __post_init__(self) -> None:
        module, _, attribute = self.target.partition(":")
        if not self.name or not all(part.isidentifier() for part in (*module.split("."), attribute)):
            raise ConfigError(f"{self.name!r} is declared as {self.target!r}; a name and 'module:object' are needed")

    def resolve(self) -> T:
        """Import the module and return the object.

        Raises:
            ConfigError: The module cannot be imported, or has no such object; the message gives the reason.
        """
        module, _, attribute = self.target.partition(":")
        try:
            holder = importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"{self.name!r} needs the module {module}, which cannot be imported: {error}") from error
        if not hasattr(holder, attribute):
            raise ConfigError(f"{self.name!r} is declared as {self.target!r}, but {module} has no {attribute}")
        target: T = getattr(holder, attribute)
        return target


class Registry(Generic[D]):
    """Holds declarations in the order in which they were added; `what` names an entry in messages."""

    def __init__(self, what: str, declarations: Iterable[D] = ()) -> None:
        self.what = what
        self._declarations: dict[str, D] = {}
        for declaration in declarations:
            self.add(declaration)

    def __iter__(self) -> Iterator[D]:
        return iter(tuple(self._declarations.values()))

    def __len__(self) -> int:
        return len(self._declarations)

    def __contains__(self, name: object) -> bool:
        return name in self._declarations

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name, in order."""
        return tuple(self._declarations)

    def get(self, name: str) -> D:
        """Return the declaration of that name.

        Raises:
            ConfigError: There is none; the message lists the names.
        """
        if name not in self._declarations:
            raise ConfigError(f"{self.what} is {name!r}; it must be one of {', '.join(self.names)}")
        return self._declarations[name]

    def add(self, declaration: D, before: str | None = None) -> None:
        """Add a declaration, as the last one or `before` another.

        Raises:
            ConfigError: The name is taken, or there is no `before`.
        """
        if declaration.name in self._declarations:
            raise ConfigError(f"{self.what} {declaration.name!r} is declared already; give the new one another name")
        later = [] if before is None else list(self)[self.names.index(self.get(before).name) :]
        self._declarations[declaration.name] = declaration
        for each in later:
            self._declarations[each.name] = self._declarations.pop(each.name)

    def remove(self, name: str) -> None:
        """Remove the declaration of that name.

        Raises:
            ConfigError: There is none; the message lists the names.
        """
        self.get(name)
        del self._declarations[name]

    @contextmanager
    def added(self, declaration: D, before: str | None = None) -> Iterator[D]:
        """Add a declaration for the length of a `with` block."""
        self.add(declaration, before)
        try:
            yield declaration
        finally:
            self.remove(declaration.name)
