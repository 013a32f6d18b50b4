"""A study of another program, in one file: does an image seen in a mirror embed as well?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from i2s_batch.config import EmbedConfig
from i2s_batch.studies.pixel_error import mean_squared_error
from i2s_batch.studies.study import Measure, Published, Results, Study, Variant
from i2s_batch.studies.study_output import StudyOutput
from i2s_batch.studies.study_rows import StudyRow
from i2s_batch.studies.wording import stated


def mirrored(embed: EmbedConfig) -> Study:
    """Return the study of mirrored images."""
    return Study(
        name="mirrored",
        question="Does a mirrored image embed as well?",
        variants=(Variant("original", "original", embed), Variant("mirrored", "mirrored", embed, alter=_mirror)),
        baseline="original",
        findings=_findings,
        paper={"mirrored": Published(0.5, 40.0)},
        measures=(Measure("asymmetry", "asymmetry", "of 65025"), Measure("moved", "latent moved")),
        measure=_measure,
        reads_latents=True,
        curves=lambda results: [("both", list(results.all))],
        curves_title="Mean loss of both",
    )


def _mirror(image: np.ndarray, image_id: str, seed: int) -> np.ndarray:
    return np.ascontiguousarray(image[:, ::-1])


def _measure(row: StudyRow, output: StudyOutput) -> Mapping[str, float]:
    """Measure the reconstruction of the mirrored image against the mirrored reconstruction, and both latents."""
    original = output.row("original", row.image)
    if row.variant == "original" or original is None:
        return {}
    one, other = output.reconstruction(row), output.reconstruction(original)
    assert one is not None and other is not None and row.row.latent is not None and original.row.latent is not None
    return {
        "asymmetry": mean_squared_error(one, other[:, ::-1], np.ones(one.shape[:2], bool)),
        "moved": float(np.linalg.norm(row.row.latent - original.row.latent)),
    }


def _findings(results: Results) -> Iterable[str]:
    ratio = results.ratio("mirrored", "original")
    if ratio is not None:
        yield f"{stated('mirrored against original', ratio)}."
