"""This module defines what NVIDIA's pickles may refer to, and what one is that no format recognises.

TensorFlow programs (StyleGAN1, StyleGAN2): a tuple (G, D, Gs) of `Network` objects. PyTorch programs
(StyleGAN2-ADA, StyleGAN3): a dict with G_ema, of module dicts beside the source text of their classes, which is
ignored.
"""

from __future__ import annotations

from typing import Any

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.restricted import Budget, Record, Rules, Unpickler, new_dict
from i2s_batch.models.checkpoints.torch_legacy import read_nested_storage

_NETWORK = "dnnlib.tflib.network.Network"
_MODULE = "torch_utils.persistence._reconstruct_persistent_obj"
_LOAD_FROM_BYTES = "torch.storage._load_from_bytes"


def _listed(args: tuple[Any, ...], budget: Budget) -> list[Any]:
    """Return the list that stands for a set (builtins.set)."""
    return args[0] if args and isinstance(args[0], list) else []


_RULES = Rules(
    "official StyleGAN pickle",
    frozenset(
        {
            _NETWORK,
            _MODULE,
            _LOAD_FROM_BYTES,
            "dnnlib.util.EasyDict",
            "collections.OrderedDict",
            "builtins.set",
            "torch._utils._rebuild_tensor_v2",
            "torch._utils._rebuild_parameter",
            "numpy.core.multiarray._reconstruct",
            "numpy.core.multiarray.scalar",
            "numpy.ndarray",
            "numpy.dtype",
        }
    ),
    {
        "collections.OrderedDict": new_dict,
        "dnnlib.util.EasyDict": new_dict,
        "builtins.set": _listed,
        _LOAD_FROM_BYTES: read_nested_storage,
    },
)


def load_official(data: memoryview) -> Any:
    """Return what an official pickle holds, as records; nothing is called."""
    return Unpickler(data, _RULES).load()[0]


def refusal_of(value: Any) -> CheckpointError:
    """Return what an official pickle is that no format recognises, in one line."""
    match value:
        case (Record(name="dnnlib.tflib.network.Network"), Record(), Record(name="dnnlib.tflib.network.Network") as gs):
            return _refusal_of_network(gs)
        case Record(name="dnnlib.tflib.network.Network"):
            what = "this pickle holds a single TensorFlow network; the official (G, D, Gs) is needed"
        case {"G_ema": Record(name="torch_utils.persistence._reconstruct_persistent_obj")}:
            what = "its G_ema is no generator, or is malformed"
        case {"D": Record()}:
            what = "this pickle holds a discriminator but no G_ema; a generator is needed"
        case Record(name="torch_utils.persistence._reconstruct_persistent_obj"):
            what = "this pickle holds a single PyTorch network; the official dict with G_ema is needed"
        case _:
            what = "this is a pickle, but it holds no StyleGAN networks as the official programs save them"
    return CheckpointError(what)


def _refusal_of_network(gs: Record) -> CheckpointError:
    state = gs.state
    if not isinstance(state, dict) or not isinstance(state.get("components"), dict):
        return CheckpointError("its third network (Gs) is no generator, or is malformed")
    synthesis = state["components"].get("synthesis")
    if isinstance(synthesis, Record) and synthesis.state.get("build_func_name") == "G_synthesis_stylegan_revised":
        what = "this is a StyleGAN2 with progressive growing (G_synthesis_stylegan_revised); not supported"
        return CheckpointError(what)
    return CheckpointError("its third network (Gs) is neither a StyleGAN1 nor a StyleGAN2 generator")
