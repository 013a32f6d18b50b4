"""NVIDIA's pickles: which of their programs wrote one, and the network in it that makes the best images.

TensorFlow programs (StyleGAN1, StyleGAN2): a tuple (G, D, Gs) of `Network` objects. PyTorch programs
(StyleGAN2-ADA, StyleGAN3): a dict with G_ema, of module dicts beside the source text of their classes, which is
ignored.
"""

from __future__ import annotations

from typing import Any

from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.restricted import Budget, Record, Rules, Unpickler, new_dict
from i2s_batch.models.checkpoints.stylegan1_pickle import read_stylegan1
from i2s_batch.models.checkpoints.stylegan2_ada_pickle import read_stylegan2_ada
from i2s_batch.models.checkpoints.stylegan2_pickle import SYNTHESIS, read_stylegan2
from i2s_batch.models.checkpoints.stylegan3_pickle import read_stylegan3
from i2s_batch.models.checkpoints.torch_legacy import read_nested_storage
from i2s_batch.models.checkpoints.torch_modules import modules_of
from i2s_batch.models.weights import GeneratorWeights

_NETWORK = "dnnlib.tflib.network.Network"
_MODULE = "torch_utils.persistence._reconstruct_persistent_obj"
_LOAD_FROM_BYTES = "torch.storage._load_from_bytes"


def _listed(args: tuple[Any, ...], budget: Budget) -> list[Any]:
    """Stands for builtins.set."""
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
    """What an official pickle holds, as records; nothing is called."""
    return Unpickler(data, _RULES).load()[0]


def read_official(value: Any) -> GeneratorWeights:
    """The generator in what an official pickle holds; raises CheckpointError, saying what it is, for anything else."""
    match value:
        case (Record(name="dnnlib.tflib.network.Network"), Record(), Record(name="dnnlib.tflib.network.Network") as gs):
            return _read_tensorflow(gs)
        case Record(name="dnnlib.tflib.network.Network"):
            raise CheckpointError("this pickle holds a single TensorFlow network; the official (G, D, Gs) is needed")
        case {"G_ema": Record(name="torch_utils.persistence._reconstruct_persistent_obj") as g_ema}:
            return _read_pytorch(g_ema)
        case {"D": Record()}:
            raise CheckpointError("this pickle holds a discriminator but no G_ema; a generator is needed")
        case Record(name="torch_utils.persistence._reconstruct_persistent_obj"):
            raise CheckpointError("this pickle holds a single PyTorch network; the official dict with G_ema is needed")
    raise CheckpointError("this is a pickle, but it holds no StyleGAN networks as the official programs save them")


def _read_tensorflow(gs: Record) -> GeneratorWeights:
    state = gs.state
    if not isinstance(state, dict) or not isinstance(state.get("components"), dict):
        raise CheckpointError("its third network (Gs) is no generator, or is malformed")
    synthesis = state["components"].get("synthesis")
    function = synthesis.state.get("build_func_name") if isinstance(synthesis, Record) else None
    if function == "G_synthesis" and state.get("build_func_name") == "G_style":
        return read_stylegan1(state)
    if function == SYNTHESIS and state.get("build_func_name") == "G_main":
        return read_stylegan2(state)
    if function == "G_synthesis_stylegan_revised":
        raise CheckpointError(
            "this is a StyleGAN2 with progressive growing (G_synthesis_stylegan_revised); not supported"
        )
    raise CheckpointError("its third network (Gs) is neither a StyleGAN1 nor a StyleGAN2 generator")


def _read_pytorch(g_ema: Record) -> GeneratorWeights:
    meta = g_ema.args[0] if len(g_ema.args) == 1 else None
    state = meta.get("state") if isinstance(meta, dict) else None
    modules = state.get("_modules") if isinstance(state, dict) else None
    if not isinstance(modules, dict) or not {"synthesis", "mapping"} <= set(modules):
        raise CheckpointError("its G_ema is no generator, or is malformed")
    found = modules_of(g_ema)
    return read_stylegan3(found) if "layer_names" in found["synthesis"] else read_stylegan2_ada(found)
