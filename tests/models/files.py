"""The shared reference data, and files made from it."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2s_batch.models import GeneratorWeights
from i2s_batch.models.network_layout import layer_resolution
from i2s_batch.models.network_settings import num_layers, resolutions

DATA = Path(__file__).parents[1] / "data"
SECURITY = DATA / "security"
MANIFEST = json.loads((SECURITY / "manifest.json").read_text())["files"]


def reference(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def rosinality_state() -> dict[str, Any]:
    """The tensors of the shared rosinality file, through torch itself: {'g_ema': {..}, 'latent_avg': ..}."""
    return torch.load(DATA / "ros2_r64.pt", weights_only=True)


class TensorflowNetwork:
    """A network as the TensorFlow programs pickle it: an object of a class that exists only by name."""

    __module__ = "dnnlib.tflib.network"
    __qualname__ = "Network"

    def __init__(self, function: str, **state: Any) -> None:
        source = "# no source"
        self.state = {"version": 4, "name": "Gs", "static_kwargs": {}, "components": {}, "build_func_name": function}
        self.state |= {"build_module_src": source, "variables": [], **state}

    def __getstate__(self) -> dict[str, Any]:
        return self.state


def tensorflow_pickle(gs: TensorflowNetwork, monkeypatch: Any) -> bytes:
    """(G, D, Gs) as the TensorFlow programs save it."""
    module = types.ModuleType("dnnlib.tflib.network")
    module.Network = TensorflowNetwork
    for name in ("dnnlib", "dnnlib.tflib"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return pickle.dumps((TensorflowNetwork("G_main"), TensorflowNetwork("D_stylegan2"), gs), protocol=4)


def tensorflow_stylegan2(weights: GeneratorWeights) -> TensorflowNetwork:
    """`weights` as the Gs of StyleGAN2's TensorFlow program: its names, its order of axes, its kernels unflipped."""
    t, settings = weights.tensors, weights.settings
    mapping, synthesis = {}, {"4x4/Const/const": t["const"][None]}
    for j in range(settings.mapping_layers):
        mapping[f"Dense{j}/weight"], mapping[f"Dense{j}/bias"] = t[f"mapping.{j}.weight"].T, t[f"mapping.{j}.bias"]
    if "label.bias" in t:  # StyleGAN2-ADA's
        mapping["LabelEmbed/weight"], mapping["LabelEmbed/bias"] = t["label.weight"].T, t["label.bias"]
    elif settings.c_dim:
        mapping["LabelConcat/weight"] = t["label.weight"].T
    for i in range(1, num_layers(settings.resolution)):
        r = layer_resolution(i)
        scope = f"{r}x{r}/" + ("Conv" if i == 1 else "Conv1" if i % 2 else "Conv0_up")
        kernel = t[f"layer.{i}.weight"].transpose(2, 3, 1, 0)
        synthesis[f"{scope}/weight"] = kernel if i % 2 else kernel[::-1, ::-1]
        synthesis[f"{scope}/bias"] = t[f"layer.{i}.bias"]
        synthesis[f"{scope}/noise_strength"] = t[f"layer.{i}.noise_strength"][()]  # a scalar, no array
        synthesis[f"noise{i - 1}"] = t[f"layer.{i}.noise"][None, None]
        synthesis |= _modulation(weights, f"layer.{i}", scope)
        if f"skip.{r}.weight" in t:
            synthesis[f"{r}x{r}/Skip/weight"] = t[f"skip.{r}.weight"].T[None, None]
    for r in settings.rgb_resolutions:
        synthesis[f"{r}x{r}/ToRGB/weight"] = t[f"to_rgb.{r}.weight"].T[None, None]
        synthesis[f"{r}x{r}/ToRGB/bias"] = t[f"to_rgb.{r}.bias"]
        synthesis |= _modulation(weights, f"to_rgb.{r}", f"{r}x{r}/ToRGB")
    given = {"num_channels": 3, "resolution": settings.resolution, "label_size": settings.c_dim}
    given |= {"architecture": settings.architecture}
    parts = {
        "synthesis": TensorflowNetwork("G_synthesis_stylegan2", static_kwargs=given, variables=_listed(synthesis)),
        "mapping": TensorflowNetwork("G_mapping", static_kwargs=given, variables=_listed(mapping)),
    }
    own = {"lod": np.float32(0), "dlatent_avg": t["w_avg"]}
    return TensorflowNetwork("G_main", static_kwargs=given, components=parts, variables=_listed(own))


def _modulation(weights: GeneratorWeights, ours: str, scope: str) -> dict[str, np.ndarray]:
    weight, bias = (weights.tensors[f"{ours}.style.{part}"] for part in ("weight", "bias"))
    return {f"{scope}/mod_weight": weight.T, f"{scope}/mod_bias": bias}


def _listed(variables: dict[str, Any]) -> list[tuple[str, Any]]:
    """C order, as TensorFlow's arrays are."""
    return [(n, v if np.isscalar(v) else np.ascontiguousarray(v)) for n, v in variables.items()]


class AdaModule:
    """A module as the StyleGAN2-ADA program pickles it: a call of a function that exists only by name."""

    def __init__(self, **attributes: Any) -> None:
        self.state = {"training": False, "_parameters": {}, "_buffers": {}, "_modules": {}, **attributes}

    def __reduce__(self) -> tuple[Any, ...]:
        reconstruct = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        meta = {"type": "class", "version": 6, "module_src": "# no source", "class_name": "C", "state": self.state}
        return reconstruct, (meta,)

    def add(self, name: str, value: np.ndarray) -> None:
        self.state["_parameters"][name] = torch.nn.Parameter(torch.tensor(value), requires_grad=False)

    def child(self, name: str, **attributes: Any) -> AdaModule:
        return self.state["_modules"].setdefault(name, AdaModule(**attributes))


def ada_module(weights: GeneratorWeights, monkeypatch: Any) -> AdaModule:
    """The generator of a StyleGAN2-ADA or StyleGAN3 program; from now on such a module can be pickled."""
    module = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: object) -> None:
        raise AssertionError("a loader ran something from the file")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)
    return stylegan3_generator(weights) if weights.family == "stylegan3" else _ada_generator(weights)


def ada_pickle(weights: GeneratorWeights, monkeypatch: Any, **beside: Any) -> bytes:
    """A StyleGAN2-ADA or StyleGAN3 pickle of `weights`, its nested storages written by torch."""
    g_ema = ada_module(weights, monkeypatch)
    return pickle.dumps({"G": None, "D": None, "G_ema": g_ema, "augment_pipe": None, **beside}, protocol=3)


def _dense(parent: AdaModule, name: str, weights: GeneratorWeights, ours: str, **attributes: Any) -> None:
    dense = parent.child(name, **attributes)
    dense.add("weight", weights.tensors[f"{ours}.weight"])
    dense.add("bias", weights.tensors[f"{ours}.bias"])


def _with_mapping(weights: GeneratorWeights) -> AdaModule:
    t, settings = weights.tensors, weights.settings
    generator = AdaModule()
    mapping = generator.child("mapping")
    mapping.add("w_avg", t["w_avg"])
    for j in range(settings.mapping_layers):
        _dense(mapping, f"fc{j}", weights, f"mapping.{j}", activation="lrelu", bias_gain=0.01)
    if settings.c_dim:
        _dense(mapping, "embed", weights, "label", activation="linear", bias_gain=1)
    return generator


def stylegan3_generator(weights: GeneratorWeights) -> AdaModule:
    t, settings = weights.tensors, weights.settings
    generator = _with_mapping(weights)
    names = [f"L{i}" for i in range(len(settings.layers))]
    pixels = {"img_resolution": settings.resolution, "output_scale": settings.output_scale}
    synthesis = generator.child("synthesis", layer_names=names, **pixels)
    rates = {name: np.float64(getattr(settings, name)) for name in ("sampling_rate", "bandwidth")}
    feed = synthesis.child("input", size=np.array([settings.input_size] * 2), **rates)
    for name in ("freqs", "phases", "transform", "weight"):
        feed.add(name, t[f"input.{name}"])
    _dense(feed, "affine", weights, "input.style", activation="linear", bias_gain=1)
    for i, (name, shape) in enumerate(zip(names, settings.layers, strict=True)):
        attributes = {"conv_kernel": shape.kernel, "up_factor": shape.up, "down_factor": shape.down}
        attributes |= {"up_taps": shape.up_taps, "down_taps": shape.down_taps, "padding": list(shape.padding)}
        attributes |= {"conv_clamp": settings.conv_clamp, "is_torgb": name == names[-1]}
        layer = synthesis.child(name, use_fp16=np.bool_(False), **attributes)
        theirs = {"magnitude": "magnitude_ema"}
        for ours in ("weight", "bias", "magnitude", "up_filter", "down_filter"):
            if f"layer.{i}.{ours}" in t:
                layer.add(theirs.get(ours, ours), t[f"layer.{i}.{ours}"])
        _dense(layer, "affine", weights, f"layer.{i}.style", activation="linear", bias_gain=1)
    return generator


def _ada_generator(weights: GeneratorWeights) -> AdaModule:
    t, settings = weights.tensors, weights.settings
    generator = _with_mapping(weights)
    synthesis = generator.child("synthesis")
    clamp = settings.conv_clamp
    for r in resolutions(settings.resolution):
        synthesis.child(f"b{r}", architecture=settings.architecture)
    synthesis.child("b4").add("const", t["const"])
    for i in range(1, num_layers(settings.resolution)):
        r = layer_resolution(i)
        block = synthesis.child(f"b{r}")
        layer = block.child(f"conv{i % 2}", activation="lrelu", conv_clamp=clamp, up=2 - i % 2, use_noise=True)
        for theirs, ours in (("weight", "weight"), ("bias", "bias"), ("noise_strength",) * 2, ("noise_const", "noise")):
            layer.add(theirs, t[f"layer.{i}.{ours}"])
        _dense(layer, "affine", weights, f"layer.{i}.style", activation="linear", bias_gain=1)
        if f"skip.{r}.weight" in t:
            block.child("skip").add("weight", t[f"skip.{r}.weight"][:, :, None, None])
    for r in settings.rgb_resolutions:
        rgb = synthesis.child(f"b{r}").child("torgb", conv_clamp=clamp)
        rgb.add("weight", t[f"to_rgb.{r}.weight"][:, :, None, None])
        rgb.add("bias", t[f"to_rgb.{r}.bias"])
        _dense(rgb, "affine", weights, f"to_rgb.{r}.style", activation="linear", bias_gain=1)
    return generator
