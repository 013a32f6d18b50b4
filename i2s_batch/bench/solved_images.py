"""Holds what recipes made of the held-out images, and keeps it in a file beside the bench.

`reference_latents.npz` holds the latents of the built-in recipes, which take hours to compute: `i2s-batch bench edits
--recompute --photographs FOLDER --save FILE` makes such a file. It names the networks that it was made with.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from i2s_batch.errors import DamagedError
from i2s_batch.storage.files import written_whole

BUNDLED = "reference_latents.npz"
_NETWORKS = "networks"
_FIELDS = ("names", "latents", "losses", "evaluations")


@dataclass(frozen=True, eq=False)
class SolvedImages:
    """Holds the latents that one recipe found.

    Attributes:
        names: Names of held-out images.
        latents: Latents float32 [N, L, w_dim]; NaN where an image diverged.
        losses: The loss at each latent as the engine computed it, float64 [N].
        evaluations: Forward and backward passes of each image, int [N].
        seconds: Mean seconds of an image on this machine; None where it was not measured here.
    """

    names: tuple[str, ...]
    latents: np.ndarray
    losses: np.ndarray
    evaluations: np.ndarray
    seconds: float | None = None

    def of(self, names: Sequence[str]) -> SolvedImages:
        """Return what it holds of these images, in their order; images that it lacks are left out."""
        index = {name: position for position, name in enumerate(self.names)}
        chosen = [index[name] for name in names if name in index]
        return SolvedImages(
            tuple(self.names[position] for position in chosen),
            self.latents[chosen],
            self.losses[chosen],
            self.evaluations[chosen],
            self.seconds,
        )

    def latents_of(self, names: Sequence[str]) -> np.ndarray | None:
        """Return the latents of all these images, [len(names), L, w_dim]; None if it lacks one."""
        found = self.of(names)
        return found.latents if len(found.names) == len(names) else None


def save_solved(path: Path, recipes: Mapping[str, SolvedImages], networks: Sequence[str]) -> None:
    """Write the results of recipes, by name, without pickles; `networks`: fingerprints of generator and VGG."""
    arrays = {
        f"{name}/{field}": np.array(getattr(solved, field)) for name, solved in recipes.items() for field in _FIELDS
    }
    archive = io.BytesIO()
    np.savez_compressed(archive, allow_pickle=False, **{_NETWORKS: np.array(networks)}, **arrays)
    with written_whole(path) as file:
        file.write(archive.getvalue())


def load_solved(path: Path, networks: Sequence[str]) -> dict[str, SolvedImages]:
    """Return the results that `save_solved` wrote, by recipe; none if they are of other networks.

    Raises:
        DamagedError: The file is anything else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if file[_NETWORKS].tolist() != list(networks):
                return {}
            recipes = dict.fromkeys(key.rpartition("/")[0] for key in file.files if key != _NETWORKS)
            return {name: _solved(*(file[f"{name}/{field}"] for field in _FIELDS)) for name in recipes}
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise DamagedError(
            f"{str(path)!r} holds no latents of the edit bench ({error}); make it with --save"
        ) from error


def _solved(names: np.ndarray, latents: np.ndarray, losses: np.ndarray, evaluations: np.ndarray) -> SolvedImages:
    return SolvedImages(tuple(names.tolist()), latents, losses, evaluations)


def bundled_solved(networks: Sequence[str]) -> dict[str, SolvedImages]:
    """Return the results that lie beside the bench; none if they are of other networks, or do not exist."""
    resource = files("i2s_batch.bench") / BUNDLED
    if not resource.is_file():
        return {}
    with as_file(resource) as path:
        return load_solved(path, networks)
