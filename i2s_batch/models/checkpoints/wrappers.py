"""This module takes off what programs wrap a network in: dictionaries, prefixes of names, whole pickled modules.

    network = first_network(file.networks, "synthesis.b4", "mapping")    the first that has these parts, or None
    tensors_in(network)                                                  its tensors by name (`torch_modules`)

A wrapper is no format: the same tensors may be a pickled module, a state dict, or a part of either, under any key or
prefix ('G_ema', 'params_ema', 'state_dict', 'module.', 'decoder.'). Keys and prefixes are not listed but searched: the
outermost first, averaged networks before others, discriminators last.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from i2s_batch.models.checkpoints.pickled_modules import Entries, ModuleState, is_module
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
        entries: What it consists of: of a state dict all tensors by dotted name, of a module its own members.
        module: The state of a pickled module, whose attributes are known too; None of a dictionary.
        path: The keys and the prefixes (which end in a dot) that lead to it.
        around: The dictionaries and modules around it, the innermost first.
    """

    entries: Entries
    module: ModuleState | None
    path: tuple[str, ...] = ()
    around: tuple[Network, ...] = ()

    @property
    def wrapper(self) -> str:
        """Return the way to it, for people: 'state_dict/decoder.'."""
        way = "/".join(step[:_LONGEST_STEP] for step in self.path)
        return way or ("bare state dict" if self.module is None else "whole module")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the tensors in it: the dotted ones of a state dict, those of a module's own."""
        return tuple(name for name, value in self.entries.items() if is_tensor(value))

    def holds(self, part: str) -> bool:
        """Return whether it has a module or a variable of that dotted name."""
        if self.module is None:
            return any(f"{name}.".startswith(f"{part}.") for name in self.entries)
        first, _, rest = part.partition(".")
        found = self.entries.get(first)
        inner = ModuleState.of(found) if rest else None
        return found is not None if not rest else inner is not None and Network(inner.members, inner).holds(rest)

    def beside(self, name: str) -> object:
        """Return the tensor of that name in it or the nearest thing around it; None without one."""
        for level in (self, *self.around):
            found = level.entries.get(name) or (level.module.attributes.get(name) if level.module else None)
            if is_tensor(found):
                return found
        return None


def networks_in(content: object) -> tuple[Network, ...]:
    """Return all that may be a network in the object of a file, in the order in which formats should look at it."""
    found: list[Network] = []
    waiting: deque[tuple[object, tuple[str, ...], tuple[Network, ...]]] = deque([(content, (), ())])
    left = _MOST_ENTRIES
    while waiting:
        value, path, around = waiting.popleft()
        state = ModuleState.of(value)
        entries = Entries(value) if isinstance(value, dict) else state.members if state else Entries()
        left -= len(entries)
        if left < 0:
            break
        if not isinstance(value, dict) and state is None:
            continue
        network = Network(entries, state, path, around)
        found.append(network)
        if len(path) < _DEEPEST:
            waiting.extend((inner, (*path, step), (network, *around)) for step, inner in _inside(network))
    return tuple(found)


def first_network(networks: Iterable[Network], *parts: str) -> Network | None:
    """Return the first network that holds all of these parts; None without one."""
    return next((network for network in networks if all(map(network.holds, parts))), None)


def others_around(network: Network, *known: str) -> Iterator[tuple[object, object]]:
    """Return what a file holds beside a network, the outermost first, but for the entries with `known` names."""
    for depth, level in enumerate(reversed(network.around)):
        way, step = "".join(f"{above.rstrip('.')}." for above in network.path[:depth]), network.path[depth]
        for name, value in _grouped(level.entries) if step.endswith(".") else level.entries.items():
            if name not in (step, step.rstrip("."), *known):
                yield f"{way}{name}", value


def _inside(network: Network) -> list[tuple[str, object]]:
    """Return what may be a network inside another, with the key or the prefix that leads to it."""
    steps = [(name, value) for name, value in network.entries.items() if isinstance(value, dict) or is_module(value)]
    if network.module is None and any(map(is_tensor, network.entries.values())):
        steps += [(f"{name}.", value) for name, value in _grouped(network.entries) if isinstance(value, dict)]
    return sorted(steps, key=lambda step: _rank(step[0]))


def _grouped(entries: Entries) -> Iterator[tuple[str, object]]:
    """Return entries by the first part of their dotted names; what has no dot is returned as it is."""
    groups: dict[str, dict[str, object]] = {}
    for name, value in entries.items():
        first, dot, rest = name.partition(".")
        if dot:
            groups.setdefault(first, {})[rest] = value
        else:
            yield first, value
    yield from groups.items()


def _rank(step: str) -> int:
    words = set(re.split(r"[._]", step.lower()))
    return 0 if words & _AVERAGED else 2 if words & _DISCRIMINATORS else 1
