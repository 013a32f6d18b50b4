"""Studies iterated embedding: a reconstruction embedded again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from i2s_batch.config import EmbedConfig
from i2s_batch.studies.pixel_error import mean_squared_error
from i2s_batch.studies.study import Measure, Results, Study, Variant
from i2s_batch.studies.study_output import StudyOutput
from i2s_batch.studies.study_rows import StudyRow
from i2s_batch.studies.wording import figure, mean_of, stated

# The paper embeds its own reconstructions seven times.
ROUNDS = 7


def iterate(embed: EmbedConfig) -> Study:
    """Return the study of rounds, each of which embeds the reconstruction of the one before."""
    first, *later = (f"round-{n}" for n in range(1, ROUNDS + 1))
    redone = dict(zip(later, [first, *later], strict=False))
    variants = tuple(
        Variant(name, f"round {n}", embed, round=n, redoes=redone.get(name, ""))
        for n, name in enumerate((first, *later), 1)
    )
    return Study(
        name="iterate",
        question="What remains when a reconstruction is embedded again and again?",
        variants=variants,
        baseline=first,
        findings=_findings,
        measures=(Measure("drift", "drift of w*"), Measure("psnr_to_first", "PSNR to the first input", "dB")),
        measure=partial(_measure, first, redone),
        reads_latents=True,
    )


def _measure(first: str, redone: Mapping[str, str], row: StudyRow, output: StudyOutput) -> Mapping[str, float]:
    """Measure a round.

    `drift` is the distance of its latent from that of the round before, NaN in the first; `psnr_to_first` compares its
    reconstruction with the input of the first round, in dB.
    """
    first_row = output.row(first, row.image)
    before = output.row(redone.get(row.variant, ""), row.image)
    reconstruction, first_input = output.reconstruction(row), None if first_row is None else output.input(first_row)
    if reconstruction is None or first_input is None:
        return {}
    error = mean_squared_error(reconstruction, first_input, np.ones(reconstruction.shape[:2], bool))
    return {
        "drift": np.nan if before is None else float(np.linalg.norm(_latent(row) - _latent(before))),
        "psnr_to_first": np.inf if error == 0 else 10 * float(np.log10(255**2 / error)),
    }


def _latent(row: StudyRow) -> np.ndarray:
    """Return the latent of a row, float64 [L * w_dim]."""
    return row.known(row.row.latent, "latent").astype(np.float64)


def _findings(results: Results) -> Iterable[str]:
    rounds = [variant.name for variant in results.study.variants]
    ratio = results.ratio(rounds[-1], rounds[0])
    if ratio is None:
        return
    yield f"{stated(f'Round {len(rounds)} against round 1', ratio)}."
    first, last = (
        mean_of(results.of(name), lambda one: one.measure("psnr_to_first")) for name in (rounds[0], rounds[-1])
    )
    if first is not None and last is not None:
        after = f"{first:.1f} dB after one round to {last:.1f} after {len(rounds)}"
        yield f"To the first input, the PSNR goes from {after}."
    second, end = (mean_of(results.of(name), lambda one: one.measure("drift")) for name in (rounds[1], rounds[-1]))
    if second is not None and end is not None:
        yield f"The latent moves by {figure(second)} in round 2 and by {figure(end)} in round {len(rounds)}."
