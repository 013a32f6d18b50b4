"""`i2s-batch bench edits`: recipes of embedding, judged by loss and by what edits make of the latents."""

from __future__ import annotations

import json
from pathlib import Path

import click

from i2s_batch.cli.help_groups import SPEED, GroupedCommand, option
from i2s_batch.cli.option_types import Location
from i2s_batch.cli.options import refuse_without_effect

_MEASURED = "What is measured"


@click.command("edits", cls=GroupedCommand)
@option(
    "--recipe",
    "recipes",
    group=_MEASURED,
    metavar="NAME=VALUE,...",
    multiple=True,
    help="Settings of an embedding that are compared with the built-in recipes, such as optimizer=lbfgs,steps=250 or "
    "preset=fast; may be given several times. Default: the built-in recipes alone.",
)
@option(
    "--learned",
    group=_MEASURED,
    type=Location(),
    metavar="FILE",
    help="Learned file, a path or URL, for recipes that need one. Default: no recipe needs one.",
)
@option(
    "--latents",
    "runs",
    group=_MEASURED,
    metavar="NAME=OUT",
    multiple=True,
    help="Row of that name for the latents of a run over the images of --write-images; may be given several times. "
    "Default: no run's latents are judged.",
)
@option(
    "--photographs",
    group=_MEASURED,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of photographs that are embedded beside the drawn faces. Default: drawn images alone.",
)
@option(
    "--recompute",
    group=_MEASURED,
    is_flag=True,
    help="Embed the images by the built-in recipes, too, which takes hours, in place of their saved latents.",
)
@option(
    "--save",
    group=_MEASURED,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File (.npz) that gets the latents of all recipes. Default: they are not kept.",
)
@option(
    "--plot",
    group=_MEASURED,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File (.png or .svg) that gets a plot of loss and edits against evaluations and seconds. Default: no plot.",
)
@option(
    "--write-images",
    "written_images",
    group=_MEASURED,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Folder that gets the held-out images, for a run of `i2s-batch embed`; then nothing is measured. Default: "
    "they are measured.",
)
@option("--device", group=SPEED, type=click.Choice(["cpu", "cuda"]), default="cpu", help="Device that is used.")
@option("--batch-size", group=SPEED, type=click.IntRange(1, 1024), default=4, help="Images in a batch.")
def bench_edits(
    recipes: tuple[str, ...],
    learned: str | None,
    runs: tuple[str, ...],
    photographs: Path | None,
    recompute: bool,
    save: Path | None,
    plot: Path | None,
    written_images: Path | None,
    device: str,
    batch_size: int,
) -> int:
    """Judge recipes of embedding by loss and by edits.

    Held-out images of the demo's generator are embedded by each recipe. Faces whose coordinates are known get another
    face's smile, turn their heads and are morphed; the truth of such an edit can be drawn, so that its errors are
    measured, inside the region that should change and outside it. The last line is JSON.
    """
    from i2s_batch.cli.run_command import shown_at_once

    with shown_at_once("loading PyTorch"):
        from i2s_batch.bench import edit_report, solved_runs
    from i2s_batch.bench.loop import check_device

    if written_images is not None:
        refuse_without_effect(
            ["--recipe", "--learned", "--latents", "--recompute", "--save", "--plot"], "with --write-images"
        )
        solved_runs.write_held_out(written_images, edit_report.held_out_images(photographs))
        return 0
    if learned is not None and not recipes:
        refuse_without_effect(["--learned"], "without --recipe")
    check_device(device)
    request = edit_report.EditBenchRequest(
        recipes, learned, runs, photographs, recompute, save, plot, device, batch_size
    )
    click.echo(json.dumps(edit_report.measure(request, click.echo)))
    return 0
