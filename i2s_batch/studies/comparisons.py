"""What is measured on the pictures and codes of several variants of one picture."""

from __future__ import annotations

import numpy as np


def damage(
    original: np.ndarray, damaged: np.ndarray, made: np.ndarray, made_undamaged: np.ndarray, mask: np.ndarray
) -> dict[str, float]:
    """What a defect did; mean squared errors of 8-bit pictures uint8 [R, R, 3], peak 255; `mask` bool [R, R].

    `inside` and `outside`: of the reconstruction `made` against its input, in the damaged place and around it;
    `inside_original`: against what was there before; `outside_undamaged`: around it, of the reconstruction of the
    undamaged picture; `changed`: around it, between the two reconstructions.
    """
    return {
        "inside": _error(made, damaged, mask),
        "inside_original": _error(made, original, mask),
        "outside": _error(made, damaged, ~mask),
        "outside_undamaged": _error(made_undamaged, original, ~mask),
        "changed": _error(made, made_undamaged, ~mask),
    }


def round_drift(
    code: np.ndarray, before: np.ndarray | None, made: np.ndarray, first_input: np.ndarray
) -> dict[str, float]:
    """What a round of embedding one's own reconstructions did. `drift`: the distance of its `code` from that of the
    round before, NaN in the first; `psnr_to_first`: dB, of its picture against the input of the first round."""
    drift = np.nan if before is None else float(np.linalg.norm(code.astype(np.float64) - before))
    error = _error(made, first_input, np.ones(made.shape[:2], bool))
    return {"drift": drift, "psnr_to_first": np.inf if error == 0 else 10 * float(np.log10(255**2 / error))}


def _error(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    return float(np.square(a[where].astype(np.float64) - b[where]).mean()) if where.any() else 0.0
