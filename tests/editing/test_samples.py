"""Samples: the official programs' latents and images for a seed, plain files, and runs with a table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2s_batch import load_generator, read_latents
from i2s_batch.api.sampling import Samples, sample
from i2s_batch.api.verification import verify
from i2s_batch.config import EditConfig
from i2s_batch.editing import Morph
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.editing.sampling.seed_latents import SeedLatents
from i2s_batch.editing.sampling.seeds import LARGEST_SEED, MOST_SEEDS, Seeds, image_id_of, seed_of
from i2s_batch.editing.sampling.settings import SampleSettings
from i2s_batch.errors import ConfigError, RunConflictError
from i2s_batch.inversion.metrics import to_uint8
from i2s_batch.models import random_generator, write_safetensors
from i2s_batch.models.loading import generator_weights
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.table.neighbours import find_neighbours
from i2s_batch.table.shards import read_table
from tests.material import DATA, download
from tests.program import status_of

# The original programs drew their z with RandomState(seed of the reference data): the first is what this seed alone
# gives. File, that seed, psi (None: the default), and the image and the w that the original program made of it.
REFERENCE = [
    ("sg1_r64.pkl", 1102, None, "image_z_psi07_cut8", "w_psi07_cut8_f64"),
    ("sg1_r128.pkl", 1202, None, "image_z_psi07_cut8", "w_psi07_cut8_f64"),
    ("sg2tf_r64.pkl", 1702, 0.5, "image_z_psi05", "w_psi05_f64"),
    ("sg2ada_r64.pkl", 1302, 0.7, "image_z_psi07", "w_psi07_f64"),
    ("sg2ada_r64.pkl", 1302, 1.0, "image_z", "w_f64"),
    ("sg3t_r64.pkl", 1802, 0.7, "image_z_psi07", "w_psi07_f64"),
    ("ros2_r64.pt", 1402, 0.7, "image_z_trunc07", None),
]


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("file", "seed", "psi", "image", "w"), REFERENCE)
def test_a_seed_gives_what_the_original_program_draws(
    file: str, seed: int, psi: float | None, image: str, w: str | None, tmp_path: Path
) -> None:
    with np.load(DATA / f"{file.partition('.')[0]}.npz", allow_pickle=False) as arrays:
        theirs, latent = arrays[image][0], None if w is None else arrays[w][0]
    given = {} if psi is None else {"psi": psi}
    sample(str(DATA / file), str(tmp_path / "out"), seeds=[seed], **given)
    ours = pixels_of(tmp_path / "out" / f"seed{seed}.png").astype(int)
    expected = np.clip(np.floor(theirs * 127.5 + 128), 0, 255).transpose(1, 2, 0)
    off = np.abs(ours - expected)
    assert off.max() <= 1 and (off > 0).mean() < 1e-3  # values at the edge between two levels
    if latent is not None:
        settings = SampleSettings(Seeds.of([range(seed, seed + 1)]), **given)
        weights = generator_weights(DATA / file)
        found = SeedLatents(weights, settings.resolved(weights)).of([seed])[0]
        assert np.abs(found - latent).max() < 1e-6  # the table's float32 of values around 1


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random StyleGAN2 with three classes at 16 x 16."""
    path = tmp_path_factory.mktemp("networks") / "conditional.safetensors"
    write_safetensors(random_generator("stylegan2", 16, seed=4, width=16, channel_base=256, c_dim=3), path)
    return path


def test_a_class_of_a_conditional_generator(conditional: Path, generator: Path, tmp_path: Path) -> None:
    sample(str(conditional), str(tmp_path / "two"), seeds="5", label=2, psi=0.6, precision="fp64")
    network = load_generator(conditional, dtype=torch.float64)
    z = torch.from_numpy(np.random.RandomState(5).randn(1, 16).astype(np.float32)).double()
    images = [
        to_uint8(network.synthesize(network.map(z, torch.eye(3).double()[[label]], 0.6).float().double())[0])
        for label in range(3)
    ]
    drawn = pixels_of(tmp_path / "two" / "seed0005.png")
    assert [np.array_equal(drawn, image) for image in images] == [False, False, True]
    with pytest.raises(ConfigError, match=r"conditional \(3 classes\); give the class with --label, from 0 to 2"):
        sample(str(conditional), str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="label is 3; this generator has the classes 0 to 2"):
        sample(str(conditional), str(tmp_path / "none"), label=3)
    with pytest.raises(ConfigError, match="has no classes; leave --label out"):
        sample(str(generator), str(tmp_path / "none"), label=0)
    assert not (tmp_path / "none").exists()


def test_the_cutoff_of_each_family(generator: Path, conditional: Path) -> None:
    seeds = Seeds.parse("0")
    of_16_pixels, of_64_pixels = generator_weights(generator), generator_weights(DATA / "sg1_r64.pkl")
    assert SampleSettings(seeds).resolved(of_16_pixels).cutoff == 6  # it has no more layers
    assert SampleSettings(seeds).resolved(of_64_pixels).cutoff == 8
    assert SampleSettings(seeds, label=0).resolved(generator_weights(conditional)).cutoff == 6
    assert SampleSettings(seeds, cutoff=3).resolved(of_64_pixels).cutoff == 3
    with pytest.raises(ConfigError, match="cutoff is 7; this generator has 6 layers"):
        SampleSettings(seeds, cutoff=7).resolved(of_16_pixels)


def test_seeds_as_users_write_them() -> None:
    assert list(Seeds.parse("1,5,9-12")) == [1, 5, 9, 10, 11, 12]
    overlapping = Seeds.parse("7-9 0-3,2-5, 8")
    assert str(overlapping) == "0-5,7-9" and list(overlapping) == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert len(overlapping) == 9 and overlapping[6] == 7 and 6 not in overlapping and 8 in overlapping
    assert Seeds.parse("0-99").spread(3) == [0, 50, 99] and Seeds.parse("4,6").spread(3) == [4, 6]
    many = Seeds.parse(f"0-{MOST_SEEDS - 1}")
    assert len(many.ranges) == 1 and len(many) == MOST_SEEDS  # and no list of ten million
    for text in ("", "x", "5-2", "-1", "1.5", f"0-{MOST_SEEDS}", str(LARGEST_SEED + 1)):
        with pytest.raises(ConfigError):
            Seeds.parse(text)
    names = [image_id_of(seed) for seed in (0, 9999, 10000, LARGEST_SEED)]
    assert names[:3] == ["seed0000", "seed9999", "seed10000"]
    assert [seed_of(name) for name in names] == [0, 9999, 10000, LARGEST_SEED]
    assert {seed_of(name) for name in ("seed00001", "seed1", "seeds0001", "contact-sheet")} == {None}


def test_an_image_depends_on_its_seed_alone(generator: Path, tmp_path: Path) -> None:
    for size in (1, 7):
        sample(str(generator), str(tmp_path / f"by {size}"), seeds="0-9", batch_size=size, precision="fp64")
    sample(str(generator), str(tmp_path / "two"), seeds=[8, 3], precision="fp64")
    by_one, by_seven = files_of(tmp_path / "by 1"), files_of(tmp_path / "by 7")
    assert by_one == by_seven and len(by_one) == 11
    two = files_of(tmp_path / "two")
    assert {name: by_one[name] for name in ("seed0003.png", "seed0008.png")}.items() <= two.items()


def test_the_same_command_again_changes_nothing(generator: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = sample(str(generator), str(out), seeds="0-3")
    assert first == Samples(str(out), 4, 0, str(out), str(out / "contact-sheet.png"))
    kept = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "seed0002.png").unlink()
    (out / "contact-sheet.png").unlink()  # as a run that was killed leaves it
    assert sample(str(generator), str(out), seeds="0-3") == first
    assert {path for path, at in kept.items() if path.stat().st_mtime_ns != at} == {
        out / "seed0002.png",
        out / "contact-sheet.png",
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"psi": 0.5}, r"seed0000\.png' exists and is not what is drawn now"),
        ({"seeds": "0-4"}, "is the sheet of 4 samples, and 5 are asked for"),
        ({"seeds": "0-2"}, r"holds 1 file \('seed0003\.png'\) and no run\.json"),
        ({"table": True}, "and no run.json of i2s-batch"),
    ],
)
def test_other_samples_are_not_mixed(generator: Path, tmp_path: Path, changed: dict, message: str) -> None:
    out = tmp_path / "out"
    sample(str(generator), str(out), seeds="0-3")
    before = files_of(out)
    with pytest.raises(RunConflictError, match=message):
        sample(str(generator), str(out), **{"seeds": "0-3"} | changed)
    assert files_of(out) == before


@pytest.mark.parametrize("name", ["notes.txt", "seed0001.png", "seed0009.png", "contact-sheet.png", "a/seed0000.png"])
def test_files_of_the_user_stay(generator: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(RunConflictError, match=name):
        sample(str(generator), str(tmp_path), seeds="0-3")
    assert (tmp_path / name).read_bytes() == b"mine"


@pytest.fixture(scope="module")
def with_table(generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty samples, in two units, with a table."""
    out = tmp_path_factory.mktemp("samples") / "out"
    result = sample(str(generator), str(out), seeds="0-39", table=True)
    assert result.table == str(out / "latents") and result.folder == str(out / "pictures")
    return out


def test_a_table_of_samples(with_table: Path, generator: Path, tmp_path: Path) -> None:
    rows = {row["image_id"]: row for row in read_table(str(with_table)).to_pylist()}
    assert {name: row["seed"] for name, row in rows.items()} == {image_id_of(seed): seed for seed in range(40)}
    assert {row["operation"] for row in rows.values()} == {"sample"} and "_seed" not in rows["seed0000"]
    checked = verify(str(with_table), sample=40)
    assert checked.sound and checked.rendered == 40 and checked.unchecked == []
    settings = json.loads((with_table / "run.json").read_bytes())["settings"]
    assert settings["seeds"] == "0-39" and settings["truncation_psi"] == 0.7 and settings["truncation_cutoff"] == 6
    sample(str(generator), str(tmp_path / "plain"), seeds="0-39")
    plain = files_of(tmp_path / "plain")
    names = [f"seed{seed:04d}.png" for seed in range(40)]
    apart = [
        np.abs(pixels_of(with_table / "pictures" / n).astype(int) - pixels_of(tmp_path / "plain" / n)).max()
        for n in names
    ]
    assert set(names) < set(plain) and max(apart) <= 1  # other batches round otherwise
    assert files_of(with_table)["contact-sheet.png"].startswith(b"\x89PNG")


def test_a_table_of_samples_is_searched_and_edited(with_table: Path, generator: Path, tmp_path: Path) -> None:
    table = read_latents(str(with_table))
    found = find_neighbours(str(with_table), "seed0007", 1, "all", "euclidean").neighbours[0]
    distances = np.linalg.norm((table.latents - table.latents[7]).reshape(40, -1), axis=1)
    assert found.image_id == table.ids[int(np.argsort(distances)[1])]
    asked = Morph((0.5,), pairing="chain")
    out = str(tmp_path / "morph")
    request = EditRunRequest((str(with_table),), out, str(generator), asked, EditConfig(), ids=("seed0003", "seed0030"))
    EditRun(request, generator_weights(generator), [].append).execute(InProcessCluster())
    assert np.allclose(read_latents(out).latents[0], (table.latents[3] + table.latents[30]) / 2, atol=1e-6)


def test_a_run_of_samples_is_resumed_or_refused(with_table: Path, generator: Path) -> None:
    (with_table / "latents/shard-00000.parquet").unlink()
    before = files_of(with_table)
    with pytest.raises(RunConflictError, match=r"--psi is 0\.7 there, 0\.6 was asked; use another OUT$"):
        sample(str(generator), str(with_table), seeds="0-39", psi=0.6, table=True)
    with pytest.raises(RunConflictError, match="holds a run"):
        sample(str(generator), str(with_table), seeds="0-39")
    assert files_of(with_table) == before
    sample(str(generator), str(with_table), seeds="0-39", table=True)
    assert verify(str(with_table)).sound and len(read_latents(str(with_table)).ids) == 40


@pytest.mark.parametrize(("weight", "psi"), [(1e37, 0.7), (1.0, 1e39)])
def test_images_that_are_not_finite(weight: float, psi: float, tmp_path: Path) -> None:
    """Of too large weights of the network, or of latents that float32 cannot hold."""
    weights = random_generator("stylegan1", 16, seed=3, width=16, channel_base=256)
    drawing = [name for name in weights.tensors if "style" in name or "to_rgb" in name]
    huge = {name: weights.tensors[name] * weight for name in drawing}
    path = tmp_path / "large.safetensors"
    write_safetensors(replace(weights, tensors={**weights.tensors, **huge}), path)
    assert status_of("sample", path, tmp_path / "plain", "--seeds", "0-2", "--psi", psi) == 1
    assert sorted(files_of(tmp_path / "plain")) == ["contact-sheet.png"]
    assert sample(str(path), str(tmp_path / "run"), seeds="0-2", psi=psi, table=True).failed == 3
    assert verify(str(tmp_path / "run")).sound


def test_the_command(generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("sample", generator, tmp_path / "out", "--seeds", "1,4-5", "--psi", "1", "--table")
    assert status_of(*words) == 0
    said = capsys.readouterr().out
    assert "3 of 3 images" in said and "Report: " in said
    assert sorted(path.name for path in (tmp_path / "out/pictures").iterdir()) == [
        "seed0001.png",
        "seed0004.png",
        "seed0005.png",
    ]
    command = json.loads((tmp_path / "out/run.json").read_bytes())["command"]
    assert command[0] == "sample" and str(generator) in command
    assert status_of("status", tmp_path / "out") == 0 and status_of("report", tmp_path / "out") == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "sample seed0004" in page
    capsys.readouterr()
    assert status_of("sample", generator, tmp_path / "no", "--seeds", "5-2") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'5-2' is no range of seeds; write 2-5" in line.replace("'5-2' in ", "")


@pytest.mark.slow
def test_samples_in_s3(generator: Path, s3_bucket: str, tmp_path: Path) -> None:
    sample(str(generator), str(tmp_path / "here"), seeds="0-3")
    url = f"s3://{s3_bucket}/samples"
    for _ in range(2):
        assert sample(str(generator), url, seeds="0-3").contact_sheet == f"{url}/contact-sheet.png"
    (tmp_path / "there").mkdir()
    download(url, tmp_path / "there")
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
