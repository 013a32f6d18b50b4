"""Prints the rows of the edit bench as Markdown, and draws them: loss and edits against evaluations and seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from i2s_batch.bench.edit_scores import RegionErrors
from i2s_batch.bench.edits import FACE, OWN, REFERENCE, UNEDITED, ClassFigures, RecipeFigures
from i2s_batch.demo.held_out import CLASSES
from i2s_batch.errors import ConfigError
from i2s_batch.reporting.charts import number
from i2s_batch.reporting.scatter import Panel, Point, scatter_figure
from i2s_batch.storage.files import written_whole

PLOT_ENDINGS = (".png", ".svg")
_RECONSTRUCTION = (
    *("recipe", "images", "evaluations, median (most)", "s per image"),
    *(f"loss / {REFERENCE.name}, mean (worst)", "loss, median", "perceptual terms", "PSNR", "SSIM", "‖w − w_avg‖"),
)
_EDITS = (
    *("recipe", "evaluations", "smile: PSNR", "inside", "outside"),
    *("turn: PSNR", "inside", "outside", "morph: PSNR"),
)
_NONE = "–"


def reconstruction_table(rows: Sequence[RecipeFigures]) -> str:
    """Return a line for each recipe and class of images."""
    lines = [
        [row.recipe, f"{figures.images} {label}", _count(figures.evaluations), _seconds(row), *_class_cells(figures)]
        for label in CLASSES
        for row in rows
        if (figures := row.classes.get(label)) is not None
    ]
    return _markdown(_RECONSTRUCTION, lines)


def edit_table(rows: Sequence[RecipeFigures]) -> str:
    """Return a line for each recipe whose edits were scored."""
    lines = [
        [
            row.recipe,
            _count(row.classes[FACE].evaluations if FACE in row.classes else None),
            *_errors(row.edits.expression),
            *_errors(row.edits.turn),
            _decibels(row.edits.morph),
        ]
        for row in rows
        if row.edits is not None
    ]
    return _markdown(_EDITS, lines)


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    every = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in every)


def _count(evaluations: tuple[float, int] | None) -> str:
    return _NONE if evaluations is None else f"{evaluations[0]:g} ({evaluations[1]})"


def _seconds(row: RecipeFigures) -> str:
    return _NONE if row.seconds is None else f"{row.seconds:.1f}"


def _class_cells(figures: ClassFigures) -> list[str]:
    ratio = _NONE
    if figures.loss_ratio is not None and figures.worst_ratio is not None:
        ratio = f"{figures.loss_ratio:.2f} ({figures.worst_ratio:.2f})"
    losses = [number(round(value, 5)) for value in (figures.loss, figures.perceptual)]
    return [ratio, *losses, _decibels(figures.psnr), f"{figures.ssim:.3f}", f"{figures.distance:.1f}"]


def _errors(errors: RegionErrors) -> list[str]:
    return [_decibels(errors.psnr), f"{errors.inside:.4f}", f"{errors.outside:.4f}"]


def _decibels(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1f}"


def check_file(path: Path | None, endings: Sequence[str]) -> None:
    """Raise ConfigError for a file that could not be written in the end: of another ending, or without a folder."""
    if path is None:
        return
    if path.suffix.lower() not in endings:
        raise ConfigError(f"file {str(path)!r} ends in {path.suffix!r}; its name must end in {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise ConfigError(f"file {str(path)!r}: there is no folder {str(path.parent)!r}; create it first")


def write_plot(path: Path, rows: Sequence[RecipeFigures]) -> None:
    """Draw loss ratio of the faces and errors of the smiles against evaluations and seconds, as PNG or SVG."""
    figure = scatter_figure(list(_panels(rows)))
    with written_whole(path) as file:
        file.write(figure.svg() if path.suffix.lower() == ".svg" else figure.png())


def _panels(rows: Sequence[RecipeFigures]) -> Iterator[list[Panel]]:
    """Yield the panels of each kind of figure, by evaluations and by seconds."""
    smiles = {row.recipe: row.edits.expression for row in rows if row.edits is not None}
    ratios = {row.recipe: row.classes[FACE].loss_ratio or 0.0 for row in rows if FACE in row.classes}
    inside = {name: errors.inside for name, errors in smiles.items()}
    outside = {name: errors.outside for name, errors in smiles.items()}
    counts = {row.recipe: row.classes[FACE].evaluations for row in rows if FACE in row.classes}
    evaluations = {name: count[0] for name, count in counts.items() if count is not None}
    seconds = {row.recipe: row.seconds for row in rows if row.seconds is not None and row.recipe in evaluations}
    for title, values in (
        (f"loss / {REFERENCE.name}, faces", {name: ratios[name] for name in evaluations if name in ratios}),
        ("error of a smile, inside the mouth", inside),
        ("error of a smile, outside the mouth", outside),
    ):
        levels = tuple((name, values[name]) for name in (UNEDITED, OWN) if name in values)
        yield [
            Panel(title, axis, tuple(Point(name, cost[name], values[name]) for name in cost if name in values), levels)
            for axis, cost in (("evaluations per image", evaluations), ("seconds per image", seconds))
        ]
