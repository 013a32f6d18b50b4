"""The table that the probe prints last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

FAMILIES = ("stylegan1", "stylegan2", "stylegan3")

Line = dict[str, Any]


def summary(lines: Sequence[Line]) -> str:
    """Return the table: fastest first within a family, with losses relative to the float64 loop's."""
    loops = [line for line in lines if "s_min" in line]
    text = [json.dumps({k: v for k, v in line.items() if k != "at_s"}) for line in lines if line.get("case") == "rates"]
    for family in FAMILIES:
        ones = sorted((line for line in loops if line["family"] == family), key=lambda line: line["s_min"])
        if ones:
            text += _family(family, ones)
    text += ["", *(_failure(line) for line in lines if "error" in line)]
    return "\n".join(text)


def _family(family: str, ones: list[Line]) -> list[str]:
    plain = [one for one in ones if one["step"] == "plain" and one["precision"] == "fp32"]
    exact = [one for one in ones if one["precision"] == "fp64"] or plain or ones
    head = f"\n{family}: case, ms a step and image (least, median), s an image, x plain fp32, first step s, MiB an"
    text = [head, "image, loss over that of fp64 (else fp32) before and after 10 and 50 steps"]
    for one in ones:
        factor = f"{plain[0]['s_min'] / one['s_min']:.2f}x" if plain else "-"
        near = [
            f"{one['losses'][mark] / base:.5f}"
            for mark, base in exact[0]["losses"].items()
            if mark in one["losses"] and base
        ]
        text.append(
            f"{one['case']:36s} {one['s_min'] * 1e3:9.3f} {one['s_median'] * 1e3:9.3f} {one['s_image']:8.2f} "
            f"{factor:>8s} {one['first_step_s']:7.1f} {one.get('peak_mib_per_image', 0):8.1f}  {' '.join(near)} "
            f"{one['warning'][:60]}"
        )
    return text


def _failure(line: Line) -> str:
    return f"failed: {line.get('case') or line.get('job')}: {line['error']} {line.get('reason', '')[:150]}"
