"""`i2s-batch learn`: a generator is learned once, so that its images need fewer steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from i2s_batch.cli.help_groups import INPUT, OUTPUT, SELECTION, SPEED, GroupedCommand, option
from i2s_batch.cli.option_types import Checkpoint, Location, Weights
from i2s_batch.cli.options import refuse_without_effect
from i2s_batch.config import DEVICES, TERMS

if TYPE_CHECKING:
    from i2s_batch.encoders.learning import HeldOut

_LEARNING = "What is learned"


@click.command(cls=GroupedCommand)
@click.argument("generator", type=Checkpoint())
@click.argument("file", type=Location(), metavar="FILE.safetensors")
@option(
    "--vgg",
    group=INPUT,
    type=Location("imagenet", "random"),
    default="imagenet",
    metavar="WEIGHTS",
    help="VGG-16 weights of the perceptual loss: imagenet, random, a path or a URL.",
)
@option("--samples", group=_LEARNING, default=4000, help="Samples of the generator from which the start is learned.")
@option(
    "--latents",
    group=_LEARNING,
    type=int,
    default=None,
    metavar="N",
    help="Latents at which the curvature of the loss is measured, four probes at each. Default: 0.4 for each "
    "coordinate of a layer, at least 64.",
)
@option(
    "--loss-weights",
    group=_LEARNING,
    type=Weights(),
    default=None,
    metavar="TERM=WEIGHT,...",
    help=f"Weights of loss terms, as of embed; terms: {', '.join(TERMS)}. Default: 1, also for a term that is not "
    "named.",
)
@option("--seed", group=_LEARNING, default=0, help="Seed of everything that is drawn at random.")
@option(
    "--held-out",
    group=_LEARNING,
    default=8,
    help="Samples on which the result is tried at the end, from which nothing is learned; 0 leaves that out.",
)
@option(
    "--from-table",
    group=SELECTION,
    type=Location(),
    default=None,
    metavar="OUT",
    help="Table of the same generator, at whose latents the curvature is measured, too. Default: none.",
)
@option("--where", group=SELECTION, metavar="SQL", help="Condition that chooses rows of --from-table. Default: all.")
@option(
    "--ids",
    group=SELECTION,
    type=Location(),
    metavar="FILE",
    help="Text file with the ids of the rows of --from-table that are taken, one per line. Default: all.",
)
@option(
    "--images",
    group=SELECTION,
    type=Location(),
    default=None,
    metavar="SOURCE",
    help="Images that are embedded first, 100 steps each; the curvature is measured at their latents, too. Default: "
    "none.",
)
@option("--overwrite", group=OUTPUT, is_flag=True, help="Replace FILE if it exists.")
@option("--device", group=SPEED, type=click.Choice(DEVICES), default="auto", help="Device that computes.")
@option("--batch-size", group=SPEED, default=8, help="Images that are computed at once.")
def learn(
    generator: str,
    file: str,
    vgg: str,
    samples: int,
    latents: int | None,
    loss_weights: Mapping[str, float] | None,
    seed: int,
    held_out: int,
    from_table: str | None,
    where: str | None,
    ids: str | None,
    images: str | None,
    overwrite: bool,
    device: str,
    batch_size: int,
) -> int:
    """Learn a generator once, for embeddings of few steps.

    GENERATOR is a StyleGAN checkpoint: a path, s3://, https://, or a name of `weights list`. FILE.safetensors is the
    file on this machine that gets what is learned from the generator's own samples: the curvature of the loss, a start
    for every image, and which latents are likely. `embed --preset fast --learned FILE.safetensors` uses it;
    it belongs to this generator, this VGG-16 and these loss weights.

    Run the same command again to resume one that was stopped: what it has computed is kept in FILE.safetensors.work.
    """
    if from_table is None:
        refuse_without_effect(["--where", "--ids"], "without --from-table")
    from i2s_batch.cli.run_command import line_logger, resumable

    with resumable("reading the networks"):
        from i2s_batch.api import learning
        from i2s_batch.editing.edit_lists import read_ids

        result = learning.learn(
            generator,
            file,
            vgg=vgg,
            samples=samples,
            latents=latents,
            loss_weights=loss_weights,
            seed=seed,
            held_out=held_out,
            batch_size=batch_size,
            device=device,
            from_table=from_table,
            where=where,
            ids=None if ids is None else read_ids(ids),
            images=images,
            overwrite=overwrite,
            progress=line_logger(),
        )
    click.echo(f"{result.file}: {result.origin}, fingerprint {result.fingerprint}")
    if result.held_out is not None:
        click.echo(_tried(held_out, result.held_out))
    click.echo(f"Next: {result.next_command}")
    return 0


def _tried(count: int, figures: HeldOut) -> str:
    """Return the figures on held-out samples in words."""
    losses = f"{figures.loss_at_mean:.3g} at the mean latent, {figures.loss_at_start:.3g} at the predicted start"
    return (
        f"On {count} samples that nothing was learned from: the start misses {figures.start_error:.1%} of the variance "
        f"of w; median loss {losses}, {figures.loss_after:.3g} after 50 steps"
    )
