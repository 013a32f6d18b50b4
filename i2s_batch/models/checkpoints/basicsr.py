"""This module reads StyleGAN2 as BasicSR's program has it, whose parts are those of rosinality's under other names."""

from __future__ import annotations

from i2s_batch.models.checkpoints.checkpoint_file import network_format
from i2s_batch.models.checkpoints.rosinality import AVERAGE, assemble_with_average, skip_settings
from i2s_batch.models.checkpoints.torch_modules import tensors_in
from i2s_batch.models.checkpoints.variables import Stored, Table, count_of, refuse_unknown
from i2s_batch.models.checkpoints.wrappers import Network, first_network
from i2s_batch.models.network_settings import StyleGAN2Settings, num_layers, resolutions
from i2s_batch.models.weights import GeneratorWeights

_NEEDLESS = r".*\.kernel"


def read_basicsr(network: Network) -> GeneratorWeights:
    """Return the generator in a network; raises CheckpointError, naming the variable, for what is not whole."""
    found = tensors_in(network)
    convolutions = count_of(r"style_convs\.N\.modulated_conv\.weight", found)
    settings = skip_settings(4 << (convolutions + 1) // 2, count_of(r"style_mlp\.N\.weight", found) - 1)
    silent = not any(name.startswith("noises.") for name in found)
    # The program without CUDA operators keeps the bias in the convolution itself.
    plain = "style_conv1.bias" in found
    table = _table(settings, silent, plain)
    refuse_unknown(found, table, _NEEDLESS)
    origin = f"BasicSR StyleGAN2 file ({network.wrapper})" + (", no stored noise: zero noise" if silent else "")
    return assemble_with_average(settings, table, found, network, origin)


def _table(settings: StyleGAN2Settings, silent: bool, plain: bool) -> Table:
    table = {"w_avg": Stored(AVERAGE), "const": Stored("constant_input.weight", (None, 0, 1, 2))}
    for j in range(settings.mapping_layers):
        table[f"mapping.{j}.weight"] = Stored(f"style_mlp.{j + 1}.weight")
        table[f"mapping.{j}.bias"] = Stored(f"style_mlp.{j + 1}.bias")
    for i in range(1, num_layers(settings.resolution)):
        path = "style_conv1" if i == 1 else f"style_convs.{i - 2}"
        bias = Stored(f"{path}.bias", (None, 0, None, None)) if plain else Stored(f"{path}.activate.bias")
        noise = Stored(f"noises.noise{i - 1}", (None, None, 0, 1), zero_if_missing=silent)
        table |= {f"layer.{i}.bias": bias, f"layer.{i}.noise": noise} | _modulated(f"layer.{i}", path, 2)
        table[f"layer.{i}.noise_strength"] = Stored(f"{path}.weight", (None,))
    for position, r in enumerate(resolutions(settings.resolution)):
        path = "to_rgb1" if position == 0 else f"to_rgbs.{position - 1}"
        table |= {f"to_rgb.{r}.bias": Stored(f"{path}.bias", (None, 0, None, None))} | _modulated(
            f"to_rgb.{r}", path, 0
        )
    return table


def _modulated(ours: str, path: str, kernel_axes: int) -> dict[str, Stored]:
    """Return where a modulated convolution is; `kernel_axes`: how many axes of ours are the kernel's."""
    kernel = (2, 3) if kernel_axes else (None, None)
    return {
        f"{ours}.weight": Stored(f"{path}.modulated_conv.weight", (None, 0, 1, *kernel)),
        f"{ours}.style.weight": Stored(f"{path}.modulated_conv.modulation.weight"),
        f"{ours}.style.bias": Stored(f"{path}.modulated_conv.modulation.bias"),
    }


FORMAT = network_format(
    lambda file: first_network(file.networks, "style_conv1.modulated_conv", "to_rgb1", "style_mlp"),
    read_basicsr,
    AVERAGE,
)
