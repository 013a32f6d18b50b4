"""Chooses among the images of SOURCE: by their names, by their number, and without the outputs of earlier runs."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate

import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.errors import RunConflictError, SourceError
from i2s_batch.parquet.row_groups import RowGroups
from i2s_batch.parquet.sorted_rows import SpilledRows, spilled
from i2s_batch.sources.options import SourceOptions

_RECORD = "/run.json"
_BESIDE_RECORD = ("manifest/", "latents/")  # what an output has as well
_BRACES = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"(\d+)\.\.(\d+)")
_MOST_ALTERNATIVES = 10_000
_NAMED_OUTPUTS = 3  # in a message

Test = Callable[[str], bool]
Condition = Callable[[pa.Table], pa.Array]  # which of some rows fulfil it, bool [rows]


def chosen(images: SpilledRows, options: SourceOptions, condition: Condition | None = None) -> SpilledRows:
    """Return the images that the options choose, in the same order.

    Of those that are included and fulfil `condition`, which is `options.where`, they are a sample, or the first.
    """
    if condition is not None:
        images = spilled(_fulfilling(condition, images), images.schema)
    if options.include or options.exclude or (options.limit and options.sample is None):
        images = _filtered(images, _chooses(options), options.limit if options.sample is None else None)
    return images if options.sample is None else _sampled(images, options.sample, options.seed)


def _fulfilling(condition: Condition, images: SpilledRows) -> Iterator[pa.Table]:
    return (rows.filter(condition(rows)) for rows in images.parts())


def _sampled(images: SpilledRows, count: int, seed: int) -> SpilledRows:
    """Return the images whose ids have the smallest digests, so that no image depends on which others there are."""
    ids = (image_id for rows in images.parts(["image_id"]) for image_id in rows["image_id"].to_pylist())
    drawn = set(heapq.nsmallest(count, ids, key=lambda image_id: _digest(seed, image_id)))
    return _filtered(images, drawn.__contains__)


def _digest(seed: int, image_id: str) -> bytes:
    return hashlib.blake2b(f"{seed} {image_id}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def check_not_narrower(options: SourceOptions, planned: RowGroups, condition: Condition | None = None) -> None:
    """Raise RunConflictError if an updated run has images planned that the options leave out."""
    if options.most is not None and options.most < planned.num_rows:
        name = "--limit" if options.sample is None else "--sample"
        raise RunConflictError(
            f"{name} {options.most} is less than the {planned.num_rows} images of this run; give more, or another OUT"
        )
    if condition is not None:
        _check_fulfil(condition, planned)
    if not (options.include or options.exclude):
        return
    test = _chooses(options)
    for rows in planned.parts(["image_id"]):
        left_out = next((image_id for image_id in rows["image_id"].to_pylist() if not test(image_id)), None)
        if left_out is not None:
            raise RunConflictError(
                f"{left_out!r} is an image of this run, and --include or --exclude leave it out; give wider patterns, "
                "or another OUT"
            )


def _check_fulfil(condition: Condition, planned: RowGroups) -> None:
    for rows in planned.parts():
        left_out = rows.filter(pc.invert(condition(rows)))
        if len(left_out):
            raise RunConflictError(
                f"{left_out['image_id'][0].as_py()!r} is an image of this run, and --where leaves it out; give a wider "
                "condition, or another OUT"
            )


def _chooses(options: SourceOptions) -> Test:
    included, excluded = _any_of(options.include or ("*",)), _any_of(options.exclude)
    return lambda image_id: included(image_id) and not excluded(image_id)


def _filtered(images: SpilledRows, test: Test, limit: int | None = None) -> SpilledRows:
    def parts() -> Iterator[pa.Table]:
        left = limit
        for rows in images.parts():
            kept = rows.filter(pa.array([test(image_id) for image_id in rows["image_id"].to_pylist()], pa.bool_()))
            kept = kept if left is None else kept.slice(0, left)
            left = None if left is None else left - len(kept)
            yield kept
            if left == 0:
                return

    return spilled(parts(), images.schema)


def _any_of(patterns: Sequence[str]) -> Test:
    """Return a test whether one of the patterns fits an image id, or its name if the pattern has no '/'."""
    of_names: list[str] = []
    of_paths: list[str] = []
    for pattern in patterns:
        for plain in alternatives(pattern):
            (of_paths if "/" in plain else of_names).append(translate(plain))
    name, path = (re.compile("|".join(group), re.IGNORECASE) if group else None for group in (of_names, of_paths))

    def fits(image_id: str) -> bool:
        by_name = name is not None and name.match(image_id.rpartition("/")[2]) is not None
        return by_name or (path is not None and path.match(image_id) is not None)

    return fits


def alternatives(pattern: str) -> list[str]:
    """Return the patterns that a pattern with braces stands for: '*.{jpg,png}' for '*.jpg' and '*.png'.

    '{000..099}' stands for each number, with as many digits.
    """
    found = [pattern]
    while any(_BRACES.search(one) for one in found):
        found = [
            one[: braces.start()] + choice + one[braces.end() :] if braces else one
            for one in found
            for braces in [_BRACES.search(one)]
            for choice in (_choices(pattern, braces[1]) if braces else [""])
        ]
        if len(found) > _MOST_ALTERNATIVES:
            raise SourceError(f"the pattern {pattern!r} stands for more than {_MOST_ALTERNATIVES}; give fewer choices")
    return found


def _choices(pattern: str, braces: str) -> list[str]:
    numbers = _NUMBERS.fullmatch(braces)
    if numbers is None:
        return braces.split(",")
    first, last = int(numbers[1]), int(numbers[2])
    if abs(last - first) >= _MOST_ALTERNATIVES:
        raise SourceError(f"the pattern {pattern!r} stands for more than {_MOST_ALTERNATIVES}; give fewer numbers")
    digits = max(map(len, numbers.groups())) if braces.startswith("0") or numbers[2].startswith("0") else 1
    return [f"{number:0{digits}d}" for number in range(min(first, last), max(first, last) + 1)]


def without_outputs(images: SpilledRows) -> tuple[SpilledRows, list[str]]:
    """Return the images that lie in no folder that an earlier run wrote, and these folders."""
    outputs = [folder for folder in _with_records(images) if _holds_output(images, folder)]
    if not outputs:
        return images, []
    tops = tuple(f"{folder}/" for folder in outputs)
    return _filtered(images, lambda image_id: not image_id.startswith(tops)), outputs


def _with_records(images: SpilledRows) -> list[str]:
    """Return the folders below SOURCE that hold a run.json."""
    found = []
    for rows in images.parts(["image_id"]):
        ids = rows["image_id"].filter(pc.ends_with(rows["image_id"], _RECORD)).to_pylist()
        found += [image_id.removesuffix(_RECORD) for image_id in ids]
    return found


def _holds_output(images: SpilledRows, folder: str) -> bool:
    return any(
        pc.any(pc.starts_with(rows["image_id"], f"{folder}/{name}")).as_py()
        for rows in images.parts(["image_id"])
        for name in _BESIDE_RECORD
    )


def message_of_outputs(source: str, folders: Sequence[str]) -> str:
    """Return the message that names what has been left out of SOURCE."""
    named = ", ".join(map(repr, folders[:_NAMED_OUTPUTS]))
    more = f" and {len(folders) - _NAMED_OUTPUTS} more" if len(folders) > _NAMED_OUTPUTS else ""
    return f"{source!r} holds outputs of earlier runs, which are left out: {named}{more}"
