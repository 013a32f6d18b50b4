"""The same tensors in the wrappers that programs save them in: one network, read to the last bit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_of

from i2s_batch.errors import CheckpointError
from i2s_batch.models import build_generator, read_generator, read_vgg
from i2s_batch.models.checkpoints import facts, inspect_checkpoint
from i2s_batch.models.checkpoints.wrappers import networks_in

from .files import DATA, rosinality_state
from .test_hostile import Canary, bounded_work
from .wrapped import (
    basicsr,
    encoder_file,
    module_of,
    rosinality,
    saved,
    stand_in,
    state_of,
    tuned_ada,
)


def contiguous(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().contiguous().clone() for name, value in state.items()}


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


ADA_WRAPPERS = {
    "whole module": saved,
    "whole module, old layout": lambda g: saved(g, zipped=False),
    "single pickle": lambda g: pickle.dumps(g, 3),
    "G alone": lambda g: pickle.dumps({"G": g}, 4),
    "G_ema in torch.save": lambda g: saved({"G_ema": g, "w_pivot": torch.zeros(1, 6, 8)}),
    "state dict": lambda g: saved(state_of(g)),
    "state dict, old layout": lambda g: saved(state_of(g), zipped=False),
    "pickled state dict": lambda g: pickle.dumps(state_of(g), 4),
    "safetensors": lambda g: safetensors_of(contiguous(state_of(g))),
    "module.": lambda g: saved(prefixed(state_of(g), "module.")),
    "lightning": lambda g: saved({"state_dict": prefixed(state_of(g), "generator."), "epoch": 3}),
    "state dicts of a training": lambda g: saved(
        {"D": {"b4.conv.weight": torch.zeros(1)}, "G": {n: v + 1 for n, v in state_of(g).items()}, "G_ema": state_of(g)}
    ),
    "prefixes of a training": lambda g: saved(
        prefixed({n: v + 1 for n, v in state_of(g).items()}, "G.") | prefixed(state_of(g), "G_ema.")
    ),
}
WRAPPERS_SHOWN = {
    "whole module": "whole module",
    "G alone": "G",
    "G_ema in torch.save": "G_ema",
    "state dict": "bare state dict",
    "safetensors": "bare state dict",
    "module.": "module.",
    "lightning": "state_dict/generator.",
    "state dicts of a training": "G_ema",
    "prefixes of a training": "G_ema.",
}


@pytest.mark.parametrize("family", ["stylegan2", "stylegan3"])
@pytest.mark.parametrize("wrapper", ADA_WRAPPERS)
def test_networks_of_nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, wrapper: str) -> None:
    generator = tuned_ada(monkeypatch, family)
    known, other = tmp_path / "known.pkl", tmp_path / "other"
    known.write_bytes(pickle.dumps({"G_ema": generator}, 3))
    other.write_bytes(ADA_WRAPPERS[wrapper](generator))
    expected, read = read_generator(known), read_generator(other)
    assert read.fingerprint == expected.fingerprint
    ws = torch.from_numpy(np.random.RandomState(0).standard_normal((1, *read.latent_shape)).astype(np.float32))
    assert torch.equal(build_generator(read).synthesize(ws), build_generator(expected).synthesize(ws))
    shown = dict(facts(inspect_checkpoint(other)))["wrapper"]
    assert shown == WRAPPERS_SHOWN.get(wrapper, shown)
    with pytest.raises(CheckpointError, match="a generator, not a VGG-16; give it as --generator"):
        read_vgg(other)


def average() -> torch.Tensor:
    return rosinality_state()["latent_avg"]


def whole_rosinality(monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor], root: str) -> torch.nn.Module:
    return module_of(state, root, "models.stylegan2.model.StyledConv", monkeypatch)


ROSINALITY_WRAPPERS = {
    "encoder, [layers, w]": lambda patch: saved(encoder_file(average().repeat(10, 1))),
    "encoder, [1, w]": lambda patch: saved(encoder_file(average()[None])),
    "encoder, old layout": lambda patch: saved(encoder_file(average()), zipped=False),
    "DataParallel": lambda patch: saved({"g_ema": rosinality("module."), "latent_avg": average()}),
    "params_ema": lambda patch: saved({"params_ema": rosinality(), "params": {}, "latent_avg": average()}),
    "average among the variables": lambda patch: saved(rosinality() | {"latent_avg": average()}),
    "safetensors": lambda patch: safetensors_of(contiguous(rosinality("decoder.") | {"latent_avg": average()})),
    "safetensors of an encoder": lambda patch: safetensors_of(
        contiguous(rosinality("decoder.") | {"latent_avg": average()})
        | {"encoder.body.0.num_batches_tracked": torch.tensor(5), "encoder.body.0.weight": torch.zeros(3)}
    ),
    "whole DataParallel": lambda patch: saved(
        torch.nn.DataParallel(
            whole_rosinality(patch, rosinality() | {"latent_avg": average()}, "models.stylegan2.model.Generator")
        )
    ),
    "whole module": lambda patch: saved(
        whole_rosinality(patch, rosinality() | {"latent_avg": average()}, "models.stylegan2.model.Generator")
    ),
    "whole module in a dictionary": lambda patch: saved(
        {"g_ema": whole_rosinality(patch, rosinality(), "model.Generator"), "latent_avg": average()}
    ),
    "whole module, old layout": lambda patch: saved(
        whole_rosinality(patch, rosinality() | {"latent_avg": average()}, "model.Generator"), zipped=False
    ),
    "BasicSR": lambda patch: saved({"params_ema": basicsr(plain=False), "latent_avg": average()}),
    "BasicSR without CUDA": lambda patch: saved(basicsr(plain=True) | {"latent_avg": average()}),
}


@pytest.mark.parametrize("wrapper", ROSINALITY_WRAPPERS)
def test_networks_of_rosinality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapper: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(ROSINALITY_WRAPPERS[wrapper](monkeypatch))
    expected, read = read_generator(DATA / "ros2_r64.pt"), read_generator(path)
    assert read.fingerprint == expected.fingerprint
    ws = torch.zeros(1, *read.latent_shape)
    assert torch.equal(build_generator(read).synthesize(ws), build_generator(expected).synthesize(ws))


def test_an_average_that_differs_between_layers_is_averaged(tmp_path: Path) -> None:
    rows = average() + torch.arange(10.0)[:, None]
    (tmp_path / "x").write_bytes(saved(encoder_file(rows)))
    read = read_generator(tmp_path / "x")
    np.testing.assert_allclose(read.tensors["w_avg"], rows.double().mean(0).numpy(), rtol=1e-6)
    assert read.origin.endswith("latent_avg averaged over its 10 layers")


def test_what_lies_beside_is_listed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(saved(encoder_file(average())))
    shown = dict(facts(inspect_checkpoint(tmp_path / "x")))
    assert shown["wrapper"] == "state_dict/decoder."
    assert shown["also holds"] == "opts (1 entries), state_dict.encoder (2 entries)"


def test_a_state_dict_of_a_stylegan3_must_have_the_official_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of(tuned_ada(monkeypatch, "stylegan3"))
    first = next(name for name in state if name.endswith(".up_filter"))
    (tmp_path / "x").write_bytes(saved(state | {first: state[first] * 0.9}))
    with pytest.raises(CheckpointError, match="has not the official layers; save the whole network"):
        read_generator(tmp_path / "x")


LOOKS = [
    ({"mapping.embed_proj.weight": 1, "mapping.w_avg": 1, "synthesis.input.weight": 1}, "StyleGAN-XL"),
    ({"synthesis.b4.const": 1, "synthesis.b4.conv1.weight": 1}, "without its mapping"),
    ({"backbone.synthesis.b4.const": 1}, "EG3D"),
    ({"b4.conv.weight": 1, "b4.out.weight": 1}, "a discriminator only"),
    ({"encoder.input_layer.0.weight": 1}, "an encoder without its decoder"),
    ({"model.diffusion_model.time_embed.0.weight": 1}, "a diffusion model"),
    ({"S.net.0.weight": 1, "G.initial_block": 1}, "lucidrains"),
    ({"synthesis.layer0.conv.weight": 1, "truncation.w_avg": 1}, "genforce"),
    ({"convs.0.conv.weight": 1, "style.1.weight": 1}, "not whole"),
    ({"layer1.0.conv1.weight": 1, "fc.weight": 1}, "a ResNet"),
    ({"main.0.weight": 1}, r"another network \(its first variables are .*main\.0\.weight\)"),
]


@pytest.mark.parametrize("as_safetensors", [False, True])
@pytest.mark.parametrize(("names", "look"), LOOKS)
def test_what_cannot_be_read_is_described(
    tmp_path: Path, names: dict[str, int], look: str, as_safetensors: bool
) -> None:
    state = {name: torch.zeros(2, 2) for name in names}
    (tmp_path / "x").write_bytes(safetensors_of(state) if as_safetensors else saved({"state_dict": state}))
    for read in (read_generator, inspect_checkpoint):
        with pytest.raises(CheckpointError, match=look) as caught:
            read(tmp_path / "x")
        assert "VGG" not in str(caught.value)


def test_a_stylegan_xl_is_no_stylegan3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = tuned_ada(monkeypatch, "stylegan3")
    generator.state["_modules"]["mapping"].child("embed_proj").add("weight", np.zeros((4, 4), np.float32))
    (tmp_path / "x").write_bytes(pickle.dumps({"G_ema": generator}, 3))
    with pytest.raises(CheckpointError, match="StyleGAN-XL, whose"):
        read_generator(tmp_path / "x")


class TestHostile:
    """Nothing of a wrapper is run, and no wrapper makes the search long."""

    @staticmethod
    def refused(path: Path, content: bytes) -> str:
        path.write_bytes(content)
        with bounded_work(), pytest.raises(CheckpointError) as caught:
            read_generator(path)
        return str(caught.value)

    def test_a_value_of_a_module_never_runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        generator = tuned_ada(monkeypatch)
        generator.state["hook"] = Canary()
        whole = whole_rosinality(monkeypatch, rosinality(), "model.Generator")
        whole.hook = Canary(eval, "open('PWNED', 'w')")
        for value, name in ((generator, "system"), (whole, "eval")):
            for zipped in (True, False):
                why = self.refused(tmp_path / "x", saved(value, zipped))
                assert f"{name}, which no torch file of weights needs; refused, nothing was run" in why
        assert [file.name for file in tmp_path.iterdir()] == ["x"]

    def test_a_class_that_no_network_has_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = whole_rosinality(monkeypatch, rosinality(), "model.Surprise")
        assert "refers to model.Surprise" in self.refused(tmp_path / "x", saved(whole))

    def test_a_module_without_state_is_no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        empty = stand_in("model.Generator", monkeypatch, object)()
        for state in ({}, {"_modules": 5}, {"_modules": {}, "_parameters": {}, "_buffers": []}):
            vars(empty).update(state)
            assert "holds no state dict and no module" in self.refused(tmp_path / "x", saved(empty))

    def test_a_dictionary_in_itself_ends(self, tmp_path: Path) -> None:
        value: dict[str, Any] = {f"k{i}": {} for i in range(300)}
        for inner in list(value.values()):
            inner |= {f"again{i}": value for i in range(30)}
        assert "no state dict" in self.refused(tmp_path / "x", saved(value))
        assert len(networks_in(value)) < 60_000

    def test_long_names_with_many_dots_end(self, tmp_path: Path) -> None:
        one = torch.zeros(1)
        state = {f"{'a.' * 100}{i}": one for i in range(3_000)}
        assert "another network" in self.refused(tmp_path / "x", saved(state))
