"""This module describes a file that no format recognises by the names of its variables: what it looks like."""

from __future__ import annotations

import re
from collections.abc import Iterable

from i2s_batch.models.checkpoints.wrappers import Network

_MOST_NAMES = 5_000
_SHOWN = 3
_LONGEST = 40

# Patterns of dotted names, with what they belong to; the first that fits any name counts.
_LOOKS: tuple[tuple[str, str], ...] = (
    (r"(^|\.)features\.0\.weight$", "a VGG or another network of torchvision, not a generator"),
    (r"(^|\.)mapping\.embed_proj\.", "a StyleGAN-XL, whose layers and class averages are not supported"),
    (r"(^|\.)(backbone\.synthesis|superresolution|renderer)\b", "an EG3D or another three-dimensional generator"),
    (r"(^|\.)model\.diffusion_model\.|(^|\.)(unet|first_stage_model)\.", "a diffusion model"),
    (r"(^|\.)generator\.progression\.", "a rosinality StyleGAN1 without its mapping"),
    (
        r"(^|\.)synthesis\.(b\d+|input|L\d+_\d+_\d+)\b",
        "the synthesis of a StyleGAN2-ADA or StyleGAN3 without its mapping",
    ),
    (
        r"(^|\.)(synthesis\.layer\d+|synthesis\.output\d+)\b",
        "a StyleGAN of the genforce programs, whose names are others",
    ),
    (r"(^|\.)(GE|G|S)\.(net|blocks|initial_block)\b", "a StyleGAN2 of lucidrains' program, which is another network"),
    (r"(^|\.)convs\.\d+\.conv\.weight$", "a StyleGAN2 of rosinality's program that is not whole"),
    (
        r"(^|\.)(final_conv|final_linear|b4\.(conv|fc|out)|from_rgb|fromrgb)\b",
        "a discriminator only; a generator is needed",
    ),
    (r"(^|\.)layer[1-4]\.\d+\.(conv|bn)\d\b", "a ResNet"),
    (r"(^|\.)encoder\.", "an encoder without its decoder"),
    (r"(^|\.)(mapping|synthesis|style|to_rgbs?)\b", "a generator of another program, or a part of one"),
)


def look_of(networks: Iterable[Network]) -> str | None:
    """Return what the variables of a file look like, by their names, in one clause; None without any."""
    names = list(_names(networks))
    for pattern, look in _LOOKS:
        if any(re.search(pattern, name) for name in names):
            return look
    if not names:
        return None
    shown = ", ".join(name[:_LONGEST] for name in names[:_SHOWN])
    return f"another network (its first variables are {shown})"


def _names(networks: Iterable[Network]) -> Iterable[str]:
    """Return the dotted names in every network, with the keys around it."""
    left = _MOST_NAMES
    # Below a prefix are the same variables again.
    for network in (each for each in networks if not each.path or not each.path[-1].endswith(".")):
        way = "".join(f"{step.rstrip('.')}." for step in network.path)
        for name in network.names:
            left -= 1
            if left < 0:
                return
            yield f"{way}{name}"
