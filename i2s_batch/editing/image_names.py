"""Gives every sequence of an edit the name of its files: readable, with a number where two would share one.

The names follow from the set of the sequences alone, whatever their order and whoever makes the images.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.editing.recipes import ImageSequence
from i2s_batch.output.readable_names import folded, readable_path

_AT_ONCE = 50_000
_NUMBERED = re.compile(r"-[0-9]+")


def _readable(sequence: ImageSequence) -> str:
    return readable_path(sequence.named) if sequence.named else sequence.name


class ImageNames:
    """Names sequences. Holds a short text for each, and more only of those that would share a name."""

    def __init__(self, sequences: Callable[[], Iterable[ImageSequence]]) -> None:
        """Read the sequences, which `sequences` yields as often as it is called."""
        self._folders: set[str] = set()
        keys = self._read(sequences())
        counts = pc.value_counts(keys)
        clashing = set(counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist())
        clashing |= self._folders & set(keys.filter(pc.is_in(keys, pa.array(self._folders, pa.string()))).to_pylist())
        self._renamed = self._numbered(sequences(), clashing, keys) if clashing else {}

    def of(self, sequence: ImageSequence) -> str:
        """Return the name of the files of a sequence: a path without an ending."""
        name = _readable(sequence)
        return self._renamed.get(sequence.name, name) if self._renamed else name

    def _read(self, sequences: Iterable[ImageSequence]) -> pa.ChunkedArray:
        """Return the folded name of each sequence, and take note of the folders."""
        chunks, waiting = [], iter(sequences)
        while part := [folded(_readable(each)) for each in itertools.islice(waiting, _AT_ONCE)]:
            self._folders |= {key.rpartition("/")[0] for key in part}
            chunks.append(pa.array(part, pa.string()))
        self._folders |= {folder[: match.start()] for folder in self._folders for match in re.finditer("/", folder)}
        self._folders.discard("")
        return pa.chunked_array(chunks, pa.string())

    def _numbered(
        self, sequences: Iterable[ImageSequence], clashing: set[str], keys: pa.ChunkedArray
    ) -> dict[str, str]:
        """Return the names that have a number, by the name of the sequence."""
        groups: dict[str, dict[str, ImageSequence]] = {}
        for each in sequences:
            if (key := folded(_readable(each))) in clashing:
                groups.setdefault(key, {})[each.name] = each
        taken = set(keys.filter(pc.match_substring_regex(keys, f"{_NUMBERED.pattern}$")).to_pylist())
        renamed = {}
        for key in sorted(groups):
            group = sorted(groups[key].values(), key=lambda each: (each.named, each.name))
            for each in group[0 if self._is_folder(key, group[0]) else 1 :]:
                name = self._free(_readable(each), each, taken)
                taken.add(folded(name))
                renamed[each.name] = name
        return renamed

    def _free(self, name: str, sequence: ImageSequence, taken: set[str]) -> str:
        for number in itertools.count(2):
            key = folded(f"{name}-{number}")
            if key not in taken and not self._is_folder(key, sequence):
                break
        return f"{name}-{number}"

    def _is_folder(self, key: str, sequence: ImageSequence) -> bool:
        """Return whether the frames of a sequence would lie among the images of others."""
        return len(sequence.recipes) > 1 and key in self._folders
