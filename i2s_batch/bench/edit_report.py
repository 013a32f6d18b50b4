"""Carries out `i2s-batch bench edits`: solves or loads what each recipe makes of the images, and reports all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from i2s_batch.bench.edit_table import PLOT_ENDINGS, check_file, edit_table, reconstruction_table, write_plot
from i2s_batch.bench.edits import (
    BUILT_IN,
    REFERENCE,
    BenchRecipe,
    EditBench,
    Networks,
    RecipeFigures,
    bench_networks,
    recipe_of,
    seconds_per_evaluation,
    solve,
)
from i2s_batch.bench.solved_images import SolvedImages, bundled_solved, save_solved
from i2s_batch.bench.solved_runs import named_run, solved_by_run
from i2s_batch.config import Json
from i2s_batch.demo.held_out import HeldOutImage, drawn_images, read_photographs
from i2s_batch.errors import ConfigError
from i2s_batch.inversion.learned_loading import load_learned
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.plurals import counted

_SAVED_ENDINGS = (".npz",)


@dataclass(frozen=True)
class EditBenchRequest:
    """Asks for a comparison of recipes.

    Attributes:
        recipes: Settings of recipes, as `recipe_of` reads them, beside the built-in ones.
        learned: Path or URL of a learned file, for recipes that need one.
        runs: Latents of runs, NAME=OUT each, as `named_run` reads them.
        photographs: Folder of photographs; None for drawn images alone.
        recompute: Whether the built-in recipes are computed, too, instead of loaded.
        save: File that gets the latents of all recipes.
        plot: File that gets the plot.
        device: Device of the networks.
        batch_size: Images in a batch.
    """

    recipes: tuple[str, ...] = ()
    learned: str | None = None
    runs: tuple[str, ...] = ()
    photographs: Path | None = None
    recompute: bool = False
    save: Path | None = None
    plot: Path | None = None
    device: str = "cpu"
    batch_size: int = 4


def measure(request: EditBenchRequest, report: Callable[[str], None]) -> dict[str, Json]:
    """Compare the recipes, report their tables, and return all figures as JSON values.

    Raises:
        ConfigError: A recipe or a file's name is wrong, or two recipes have the same name.
    """
    learned = None if request.learned is None else load_learned(request.learned)
    recipes = [recipe_of(text, learned) for text in request.recipes]
    runs = [named_run(text) for text in request.runs]
    names = [recipe.name for recipe in (*BUILT_IN, *recipes)] + [name for name, _ in runs]
    if len(set(names)) < len(names):
        raise ConfigError(f"two recipes have the same name among {', '.join(names)}; give each another")
    check_file(request.plot, PLOT_ENDINGS)
    check_file(request.save, _SAVED_ENDINGS)
    images = held_out_images(request.photographs)
    keep_freed_memory()
    networks = bench_networks(request.device)
    report(f"{len(images)} images, {networks[0].origin}, {networks[1].origin}, {request.device}")
    report(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batches of {request.batch_size}")
    found: dict[str, SolvedImages] = {}
    for recipe, solved in _all_solved(request, networks, recipes, images):
        found[recipe] = solved
        report(f"{recipe}: {counted(len(solved.names), 'image')}")
    found |= {name: solved_by_run(out, networks[0].fingerprint) for name, out in runs}
    if request.save is not None:
        save_solved(request.save, found, _fingerprints(networks))
    if REFERENCE.name not in found:
        report(f"there are no saved latents of {REFERENCE.name}, so no loss has a ratio; add --recompute for them")
    rows = _rows(networks, images, found, request.batch_size)
    report(f"\n{reconstruction_table(rows)}\n\n{edit_table(rows)}\n")
    if request.plot is not None:
        write_plot(request.plot, rows)
    about: dict[str, Json] = {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": request.device}
    return about | {"rows": [asdict(row) for row in rows]}


def held_out_images(photographs: Path | None) -> list[HeldOutImage]:
    """Return the drawn images, and those of a folder of photographs if there is one."""
    return drawn_images() + ([] if photographs is None else read_photographs(photographs))


def _fingerprints(networks: Networks) -> tuple[str, str]:
    return networks[0].fingerprint, networks[1].fingerprint


def _all_solved(
    request: EditBenchRequest, networks: Networks, recipes: list[BenchRecipe], images: list[HeldOutImage]
) -> Iterator[tuple[str, SolvedImages]]:
    """Yield the results of the built-in recipes, loaded or computed, and of the others, by name."""
    if not request.recompute:
        yield from bundled_solved(_fingerprints(networks)).items()
    computed = [*(BUILT_IN if request.recompute else ()), *recipes]
    for recipe, solved in solve(networks, computed, images, request.batch_size):
        yield recipe.name, solved


def _rows(
    networks: Networks, images: list[HeldOutImage], found: dict[str, SolvedImages], batch_size: int
) -> list[RecipeFigures]:
    """Return the rows of the tables: those to compare with, and then the recipes."""
    bench = EditBench(networks, images, found.get(REFERENCE.name))
    rate = seconds_per_evaluation(networks, images[0], batch_size)
    rows = bench.rows_to_compare_with()
    for name, solved in found.items():
        rows.append(bench.figures(name, solved, rate * float(solved.evaluations.mean())))
    return rows
