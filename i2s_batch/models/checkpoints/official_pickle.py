"""This module reads NVIDIA's pickles, and those that other programs make of the same networks.

TensorFlow programs (StyleGAN1, StyleGAN2): a tuple (G, D, Gs) of `Network` objects. PyTorch programs
(StyleGAN2-ADA, StyleGAN3): a dict with G_ema, of module dicts beside the source text of their classes, which is
ignored.
"""

from __future__ import annotations

from typing import Any

from i2s_batch.models.checkpoints.pickled_modules import module_rules
from i2s_batch.models.checkpoints.restricted import Unpickler
from i2s_batch.models.checkpoints.torch_legacy import read_nested_storage

TENSORFLOW_NETWORK = "dnnlib.tflib.network.Network"
_RULES = module_rules(
    "official StyleGAN pickle",
    None,
    TENSORFLOW_NETWORK,
    constructors={"torch.storage._load_from_bytes": read_nested_storage},
)


def load_official(data: memoryview) -> Any:
    """Return what an official pickle holds, as records; nothing is called."""
    return Unpickler(data, _RULES).load()[0]
