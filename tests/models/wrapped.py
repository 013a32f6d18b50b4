"""The same tensors as other programs save them, by real torch.save and pickle of classes that exist only by name."""

from __future__ import annotations

import collections
import copy
import io
import pickle
import re
import sys
import types
import warnings
from typing import Any

import numpy as np
import torch

from i2s_batch.models import GeneratorWeights, random_generator
from i2s_batch.models.alias_free import bands

from .files import DATA, AdaModule, TensorflowNetwork, ada_module, rosinality_state, tensorflow_stylegan2

State = dict[str, torch.Tensor]


def stand_in(name: str, monkeypatch: Any, *bases: type) -> type:
    """A class of that dotted name, which pickles refer to and no program has."""
    module_name, _, own = name.rpartition(".")
    made = type(own, bases, {"__module__": module_name})
    module = sys.modules.get(module_name) or types.ModuleType(module_name)
    setattr(module, own, made)
    for depth in range(1, module_name.count(".") + 1):
        package = ".".join(module_name.split(".")[:depth])
        monkeypatch.setitem(sys.modules, package, sys.modules.get(package) or types.ModuleType(package))
    monkeypatch.setitem(sys.modules, module_name, module)
    return made


def module_of(state: State, root: str, inner: str, monkeypatch: Any) -> torch.nn.Module:
    """A tree of PyTorch modules with the variables of `state`; `root` and `inner` name the classes."""
    classes = {name: stand_in(name, monkeypatch, torch.nn.Module) for name in (root, inner)}
    whole: torch.nn.Module = classes[root]()
    for name, value in state.items():
        *path, leaf = name.split(".")
        module = whole
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, torch.nn.ModuleList() if part.endswith("s") else classes[inner]())
            module = module.get_submodule(part)
        if leaf in ("kernel", "latent_avg") or leaf.startswith("noise_"):
            module.register_buffer(leaf, value)
        else:
            module.register_parameter(leaf, torch.nn.Parameter(value.clone(), requires_grad=len(path) % 2 == 0))
    return whole


def saved(value: object, zipped: bool = True) -> bytes:
    sink = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Couldn't retrieve source code")  # the old layout holds that of each class
        torch.save(value, sink, _use_new_zipfile_serialization=zipped)
    return sink.getvalue()


def state_of(module: AdaModule, prefix: str = "") -> State:
    """The state dict of a module of NVIDIA's programs."""
    found: State = {}
    for table in ("_parameters", "_buffers"):
        found |= {prefix + name: value.detach() for name, value in module.state[table].items() if value is not None}
    for name, child in module.state["_modules"].items():
        found |= state_of(child, f"{prefix}{name}.")
    return found


def tuned_ada(monkeypatch: Any, family: str = "stylegan2") -> AdaModule:
    """A small generator of NVIDIA's PyTorch programs, with what such modules have besides their variables."""
    if family == "stylegan3":
        module = ada_module(random_generator(family, 16, width=4, channel_base=16, conv_clamp=256), monkeypatch)
        _with_official_names(module.state["_modules"]["synthesis"].state)
    else:
        module = ada_module(random_generator(family, 16, width=8), monkeypatch)
    options = stand_in("dnnlib.util.EasyDict", monkeypatch, dict)
    module.state |= {
        "_init_args": (),
        "_init_kwargs": options(z_dim=8, mapping_kwargs=options(num_layers=8)),
        "_forward_hooks": collections.OrderedDict(),
        "_non_persistent_buffers_set": set(),
        "_is_full_backward_hook": None,
    }
    return module


def _with_official_names(synthesis: dict[str, Any]) -> None:
    """The layers of a StyleGAN3 are named after their numbers, sizes and channels."""
    sizes = [band.size for band in bands(16)]
    names = {
        name: f"{name}_{size}_{synthesis['_modules'][name].state['_parameters']['bias'].shape[0]}"
        for name, size in zip(synthesis["layer_names"], sizes, strict=True)
    }
    synthesis["layer_names"] = list(names.values())
    synthesis["_modules"] = {names.get(name, name): child for name, child in synthesis["_modules"].items()}


def rosinality(prefix: str = "") -> State:
    return {prefix + name: value for name, value in rosinality_state()["g_ema"].items()}


def encoder_file(average: torch.Tensor) -> dict[str, object]:
    """A file of the e4e, pSp and ReStyle programs."""
    encoder = {"encoder.input_layer.0.weight": torch.zeros(2, 3, 3, 3), "encoder.styles.0.bias": torch.zeros(2)}
    return {"state_dict": encoder | rosinality("decoder."), "latent_avg": average, "opts": {"stylegan_size": 64}}


_BASICSR_NAMES = (
    (r"^style\.", "style_mlp."),
    (r"^input\.input$", "constant_input.weight"),
    (r"^noises\.noise_", "noises.noise"),
    (r"\.noise\.weight$", ".weight"),
    (r"\.conv\.", ".modulated_conv."),
    (r"^convs\.", "style_convs."),
    (r"^conv1\.", "style_conv1."),
)


def basicsr(plain: bool) -> State:
    """The shared rosinality generator under BasicSR's names; `plain`: those of its program without CUDA operators."""
    renamed: State = {}
    for name, value in rosinality().items():
        theirs = name
        for pattern, replacement in _BASICSR_NAMES:
            theirs = re.sub(pattern, replacement, theirs)
        if plain and theirs.endswith(".activate.bias"):
            renamed[theirs.replace(".activate", "")] = value[None, :, None, None]
        elif not theirs.endswith(".kernel"):
            renamed[theirs] = value
    return renamed


def tensorflow_networks(name: str, monkeypatch: Any) -> tuple[Any, Any, Any]:
    """(G, D, Gs) of a shared pickle as objects whose state can be changed and pickled again."""

    class Network:
        def __getstate__(self) -> dict[str, Any]:
            return self.state

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.state = state

    Network.__module__, Network.__qualname__ = TensorflowNetwork.__module__, "Network"
    module = types.ModuleType(Network.__module__)
    module.Network = Network
    for package in ("dnnlib", "dnnlib.tflib"):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return copy.copy(pickle.loads((DATA / name).read_bytes()))


def growing(weights: GeneratorWeights, lod: float) -> TensorflowNetwork:
    """The Gs of configurations B to D: 'orig' under other names, with colours of every resolution."""
    gs = tensorflow_stylegan2(weights)
    synthesis = gs.state["components"]["synthesis"]
    resolution = weights.settings.resolution
    scope = f"{resolution}x{resolution}/ToRGB"
    renamed = [(n.replace(scope, "ToRGB_lod0"), v) for n, v in synthesis.state["variables"]]
    stream, w_dim = np.random.RandomState(5), weights.latent_shape[1]
    for k in range(1, resolution.bit_length() - 2):
        channels = weights.tensors[f"layer.{2 * (resolution.bit_length() - 3 - k) + 1}.bias"].shape[0]
        for part, shape in (("weight", (1, 1, channels, 3)), ("bias", (3,))):
            renamed.append((f"ToRGB_lod{k}/{part}", stream.standard_normal(shape).astype(np.float32)))
        for part, shape in (("mod_weight", (w_dim, channels)), ("mod_bias", (channels,))):
            renamed.append((f"ToRGB_lod{k}/{part}", stream.standard_normal(shape).astype(np.float32)))
    synthesis.state |= {"build_func_name": "G_synthesis_stylegan_revised", "variables": renamed}
    for part in (gs, synthesis):
        part.state["static_kwargs"].pop("architecture", None)
        part.state["variables"] = [("lod", np.float32(lod)), *(v for v in part.state["variables"] if v[0] != "lod")]
    return gs


def as_ada(gs: Any) -> Any:
    """The names of the build functions of StyleGAN2-ADA's program in TensorFlow."""
    gs.state["components"]["synthesis"].state["build_func_name"] = "G_synthesis"
    return gs


def rosinality_stylegan1(blocks: int = 9) -> State:
    """The shared StyleGAN1 of rosinality with its upper blocks as before training: biases and noise strengths of 0."""
    state: State = torch.load(DATA / "ros1_r64.model", weights_only=True)
    for name, value in state.items():
        parts = name.split(".")
        begins_as_zero = (parts[-1] == "bias" and "adain" not in name) or ".noise" in name
        if parts[1] == "progression" and int(parts[2]) >= blocks and begins_as_zero:
            state[name] = torch.zeros_like(value)
    return state
