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
from i2s_batch.models.layout import layer_resolution, resolutions, rgb_resolutions
from i2s_batch.models.weights import num_layers

DATA = Path(__file__).parents[1] / "data"
SECURITY = DATA / "security"
MANIFEST = json.loads((SECURITY / "manifest.json").read_text())["files"]


def reference(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def rosinality_state() -> dict[str, Any]:
    """The tensors of the shared rosinality file, through torch itself: {'g_ema': {..}, 'latent_avg': ..}."""
    return torch.load(DATA / "ros2_r64.pt", weights_only=True)


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


def ada_pickle(weights: GeneratorWeights, monkeypatch: Any) -> bytes:
    """A StyleGAN2-ADA pickle of `weights`, its nested storages written by torch."""
    module = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: object) -> None:
        raise AssertionError("a loader ran something from the file")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)
    network = {"training_set_kwargs": {}, "G": None, "D": None, "G_ema": _ada_generator(weights), "augment_pipe": None}
    return pickle.dumps(network, protocol=3)


def _dense(parent: AdaModule, name: str, weights: GeneratorWeights, ours: str, **attributes: Any) -> None:
    dense = parent.child(name, **attributes)
    dense.add("weight", weights.tensors[f"{ours}.weight"])
    dense.add("bias", weights.tensors[f"{ours}.bias"])


def _ada_generator(weights: GeneratorWeights) -> AdaModule:
    t, settings = weights.tensors, weights.settings
    generator = AdaModule()
    mapping, synthesis = generator.child("mapping"), generator.child("synthesis")
    mapping.add("w_avg", t["w_avg"])
    for j in range(settings["mapping_layers"]):
        _dense(mapping, f"fc{j}", weights, f"mapping.{j}", activation="lrelu", bias_gain=0.01)
    if settings["c_dim"]:
        _dense(mapping, "embed", weights, "label", activation="linear", bias_gain=1)
    clamp = settings["conv_clamp"]
    for r in resolutions(settings["resolution"]):
        synthesis.child(f"b{r}", architecture=settings["architecture"])
    synthesis.child("b4").add("const", t["const"])
    for i in range(1, num_layers(settings["resolution"])):
        r = layer_resolution(i)
        block = synthesis.child(f"b{r}")
        layer = block.child(f"conv{i % 2}", activation="lrelu", conv_clamp=clamp, up=2 - i % 2, use_noise=True)
        for theirs, ours in (("weight", "weight"), ("bias", "bias"), ("noise_strength",) * 2, ("noise_const", "noise")):
            layer.add(theirs, t[f"layer.{i}.{ours}"])
        _dense(layer, "affine", weights, f"layer.{i}.style", activation="linear", bias_gain=1)
        if f"skip.{r}.weight" in t:
            block.child("skip").add("weight", t[f"skip.{r}.weight"][:, :, None, None])
    for r in rgb_resolutions(settings):
        rgb = synthesis.child(f"b{r}").child("torgb", conv_clamp=clamp)
        rgb.add("weight", t[f"to_rgb.{r}.weight"][:, :, None, None])
        rgb.add("bias", t[f"to_rgb.{r}.bias"])
        _dense(rgb, "affine", weights, f"to_rgb.{r}.style", activation="linear", bias_gain=1)
    return generator
