"""An exporter of another program, in one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2s_batch.api.exports import export_folder
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.errors import ConfigError
from i2s_batch.table.arrays import read_latents
from i2s_batch.table.export import export_latents
from i2s_batch.table.exporters import EXPORTERS, FOLDER_EXPORTERS
from tests.extension.folder_of_texts import TEXTS
from tests.extension.text_exporter import TEXT
from tests.runs import embed, job_over


def test_an_exporter_from_outside(tmp_path: Path, generator: Path, vgg: Path) -> None:
    request = job_over(tmp_path, ["00.png", "01.png"], generator, vgg, EmbedRunConfig(embed=EmbedConfig(steps=1)))
    embed(request)
    file, latents = tmp_path / "codes.txt", read_latents(request.out).latents
    with EXPORTERS.added(TEXT):
        assert export_latents(request.out, str(file)) == 2
        with pytest.raises(ConfigError, match=r"ends in \.npy, \.npz, \.pt or \.txt"):
            export_latents(request.out, "codes.csv")
    assert file.read_text() == "".join(f"{i:02d}.png {latents[i].sum():.6f}\n" for i in range(2))
    with pytest.raises(ConfigError, match=r"ends in \.npy, \.npz or \.pt"):
        export_latents(request.out, str(file))


def test_a_folder_exporter_from_outside(tmp_path: Path, generator: Path, vgg: Path) -> None:
    request = job_over(tmp_path, ["00.png", "01.png"], generator, vgg, EmbedRunConfig(embed=EmbedConfig(steps=1)))
    embed(request)
    folder, latents = tmp_path / "latents", read_latents(request.out).latents
    with FOLDER_EXPORTERS.added(TEXTS):
        assert export_folder(request.out, str(folder), "texts") == 2
    found = [path.read_text() for path in sorted(folder.iterdir())]
    assert found == [f"{i:02d}.png {latents[i].sum():.6f}\n" for i in range(2)]
    with pytest.raises(ConfigError, match="format is 'texts'; it must be one of huggingface"):
        export_folder(request.out, str(tmp_path / "other"), "texts")
