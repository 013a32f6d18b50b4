"""Whether results are those of the reference, as far as a machine can tell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

HASHES = Path(__file__).with_name("hashes.json")
REFERENCE = Path(__file__).with_name("reference.npz")

TOLERANCE = 1e-9  # of the largest value of a latent, and of each figure
PIXELS, LEVELS = 1, 1  # values of an image that may differ, and by how much

Results = Mapping[str, np.ndarray]


def hash_of(values: np.ndarray) -> str:
    """Return the sha256 of an array's type, shape and bytes."""
    header = f"{values.dtype.str} {values.shape}\n".encode()
    return hashlib.sha256(header + np.ascontiguousarray(values).tobytes()).hexdigest()


def write(results: Results) -> None:
    """Make `results` the reference."""
    np.savez_compressed(REFERENCE, **dict(sorted(results.items())))
    hashes = {name: hash_of(values) for name, values in sorted(results.items())}
    HASHES.write_text(json.dumps(hashes, indent=1) + "\n")


def read() -> dict[str, np.ndarray]:
    """Return the values of the reference. Raises ValueError if they are not those of `hashes.json`."""
    with np.load(REFERENCE, allow_pickle=False) as file:
        results = {name: file[name] for name in file.files}
    hashes = json.loads(HASHES.read_text())
    found = {name: hash_of(values) for name, values in results.items()}
    torn = {name for name, _ in found.items() ^ hashes.items()}
    if torn:
        raise ValueError(f"{REFERENCE.name} and {HASHES.name} differ in {min(torn)!r}; take both from one commit")
    return results


def differences(results: Results, reference: Results, groups: Iterable[str]) -> list[str]:
    """Return one line for each result that is missing, new or different. Names begin with their group."""
    wanted = {name for name in reference if name.partition("/")[0] in set(groups)}
    lines = [f"{name}: is missing" for name in wanted - results.keys()]
    lines += [f"{name}: is not in the reference" for name in results.keys() - wanted]
    for name in wanted & results.keys():
        line = difference(results[name], reference[name], each=name.endswith("/figures"))
        lines += [f"{name}: {line}"] if line else []
    return sorted(lines)


def identical(results: Results, reference: Results) -> int:
    """Return how many results are those of the reference to the last bit."""
    return sum(name in reference and hash_of(values) == hash_of(reference[name]) for name, values in results.items())


def difference(found: np.ndarray, wanted: np.ndarray, each: bool = False) -> str:
    """Return in words how two results differ; empty if they agree. `each`: every value is judged by its own size."""
    if (found.dtype, found.shape) != (wanted.dtype, wanted.shape):
        return f"is {found.dtype} {list(found.shape)}, was {wanted.dtype} {list(wanted.shape)}"
    if hash_of(found) == hash_of(wanted):
        return ""
    apart = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    if found.dtype == np.uint8:
        changed = int(np.count_nonzero(apart))
        if changed <= PIXELS and apart.max() <= LEVELS:
            return ""
        return f"{changed} of {found.size} pixel values differ, by {apart.max():.0f} levels at most"
    sizes = np.abs(wanted).astype(np.float64)
    limit = TOLERANCE * (sizes if each else sizes.max())
    if found.dtype == np.float32:
        limit = limit + np.spacing(np.abs(wanted)).astype(np.float64)
    wrong = int(np.count_nonzero(~(apart <= limit)))  # NaN is never within a limit
    return f"{wrong} of {found.size} values differ, by {apart.max():.3g} at most" if wrong else ""
