"""This module takes off what programs wrap a network in: dictionaries, prefixes of names, whole pickled modules.

    network = first_network(file.networks, "synthesis.b4", "mapping")    the first that has these parts, or None
    network.variables()                                                  its tensors by name

A wrapper is no format: the same tensors may be a pickled module, a state dict, or a part of either, under any key or
prefix ('G_ema', 'params_ema', 'state_dict', 'module.', 'decoder.'). Keys and prefixes are not listed but searched: the
outermost first, averaged networks before others, discriminators last.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from i2s_batch.models.checkpoints.pickled_modules import ModuleState, is_module, members_of
from i2s_batch.models.checkpoints.restricted import Record
from i2s_batch.models.checkpoints.torch_tensors import is_tensor

_DEEPEST = 4
# Entries that a search looks at; a network of 1024 pixels with its encoder has some 2,000 on each level.
_MOST_ENTRIES = 50_000
_LONGEST_STEP = 60
_AVERAGED = frozenset({"ema", "running", "average", "averaged", "shadow"})
_DISCRIMINATORS = frozenset({"d", "netd", "discriminator"})


@dataclass(frozen=True, eq=False)
class Network:
    """Holds something in a file that may be a network.

    Attributes:
        value: A dictionary with names as keys, or the record of a pickled module, unchecked.
        path: The keys and the prefixes (which end in a dot) that lead to it.
        around: The dictionaries and modules around it, the innermost first.
    """

    # `object`: a pickle may hold anything; it is narrowed where it is read.
    value: Mapping[object, object] | Record
    path: tuple[str, ...] = ()
    around: tuple[Network, ...] = ()

    @property
    def is_module(self) -> bool:
        """Return whether it is a pickled module, so that its attributes are known too."""
        return isinstance(self.value, Record)

    @property
    def wrapper(self) -> str:
        """Return the way to it, for people: 'state_dict/decoder.'."""
        way = "/".join(step[:_LONGEST_STEP] for step in self.path)
        return way or ("whole module" if self.is_module else "bare state dict")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the tensors in it: the dotted ones of a state dict, those of a module's own."""
        return tuple(name for name, value in _entries(self).items() if isinstance(name, str) and is_tensor(value))

    def holds(self, part: str) -> bool:
        """Return whether it has a module or a variable of that dotted name."""
        if not isinstance(self.value, Record):
            return any(isinstance(name, str) and f"{name}.".startswith(f"{part}.") for name in self.value)
        found: object = self.value
        for name in part.split("."):
            found = members_of(found).get(name)
        return found is not None

    def beside(self, name: str) -> object:
        """Return the tensor of that name in it or the nearest thing around it; None without one."""
        for level in (self, *self.around):
            state = ModuleState.of(level.value)
            found = _entries(level).get(name) or (state.attributes.get(name) if state else None)
            if is_tensor(found):
                return found
        return None


def networks_in(content: object) -> tuple[Network, ...]:
    """Return all that may be a network in the object of a file, in the order in which formats should look at it."""
    found: list[Network] = []
    waiting = deque([Network(content)] if _may_be_network(content) else [])
    left = _MOST_ENTRIES
    while waiting:
        network = waiting.popleft()
        left -= len(_entries(network))
        if left < 0:
            break
        found.append(network)
        if len(network.path) < _DEEPEST:
            waiting.extend(_inside(network))
    return tuple(found)


def first_network(networks: Iterable[Network], *parts: str) -> Network | None:
    """Return the first network that holds all of these parts; None without one."""
    return next((network for network in networks if all(map(network.holds, parts))), None)


def others_around(network: Network, *known: str) -> Iterator[tuple[object, object]]:
    """Return what a file holds beside a network, the outermost first, but for the entries with `known` names."""
    for depth, level in enumerate(reversed(network.around)):
        way, step = "".join(f"{above.rstrip('.')}." for above in network.path[:depth]), network.path[depth]
        for name, value in _grouped(_entries(level)) if step.endswith(".") else _entries(level).items():
            if name not in (step, step.rstrip("."), *known):
                yield (f"{way}{name}", value) if way else (name, value)


def _may_be_network(value: object) -> TypeGuard[Mapping[object, object] | Record]:
    return isinstance(value, dict) or is_module(value)


def _entries(network: Network) -> Mapping[object, object]:
    return members_of(network.value) if isinstance(network.value, Record) else network.value


def _inside(network: Network) -> list[Network]:
    around = (network, *network.around)
    entries = _entries(network)
    steps = [(name, value) for name, value in entries.items() if isinstance(name, str) and _may_be_network(value)]
    if not network.is_module and any(map(is_tensor, entries.values())):
        steps += [(f"{name}.", value) for name, value in _grouped(entries) if _may_be_network(value)]
    steps.sort(key=lambda step: _rank(step[0]))
    return [Network(value, (*network.path, step), around) for step, value in steps]


def _grouped(entries: Mapping[object, object]) -> Iterator[tuple[str, object]]:
    """Return entries by the first part of their dotted names; what has no dot is returned as it is."""
    groups: dict[str, dict[str, object]] = {}
    for name, value in entries.items():
        first, dot, rest = str(name).partition(".")
        if dot:
            groups.setdefault(first, {})[rest] = value
        else:
            yield first, value
    yield from groups.items()


def _rank(step: str) -> int:
    words = set(re.split(r"[._]", step.lower()))
    return 0 if words & _AVERAGED else 2 if words & _DISCRIMINATORS else 1
