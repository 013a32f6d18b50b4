"""The networks and images that the results are computed from: files, the same on every machine."""

from __future__ import annotations

from pathlib import Path

from i2s_batch.models import random_generator, write_safetensors
from tests.material import DATA

FAMILIES = ("stylegan1", "stylegan2", "stylegan3")
TABLE = DATA / "outputs" / "schema-2" / "finished"  # edited; its generator is the StyleGAN1 here
IMAGES = (
    *(DATA / "outputs" / "schema-2" / "in" / name for name in ("cats/0.png", "dogs/2.png")),
    DATA / "target_face_64.png",
)

_NETWORKS = Path(__file__).with_name("networks")


def network(family: str) -> Path:
    """Return the file of a small random generator of 16 x 16 pixels."""
    return _NETWORKS / f"{family}.safetensors"


def write_networks() -> None:
    """Write the generators that are not there yet."""
    for family in FAMILIES:
        if not network(family).exists():
            sizes = {"width": 16, "channel_base": 256}
            write_safetensors(random_generator(family, 16, seed=3, **sizes), network(family))
