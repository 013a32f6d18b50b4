"""Weights by name: everywhere, under a licence that is accepted once, with a message that says how to get the file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models import VGG16_Weights

import i2s_batch
from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.models.loading import generator_weights, vgg_weights
from i2s_batch.weights.licences import RECORD, accept, is_accepted
from i2s_batch.weights.published import PUBLISHED, PublishedWeights
from tests.program import here, refusal
from tests.weights.conftest import LICENCE, Web

ROOT = Path(__file__).parents[2]


def moved(entry: PublishedWeights, **changes: str | bool) -> None:
    """Change an entry of the list in its place."""
    PUBLISHED.remove(entry.name)
    PUBLISHED.add(replace(entry, **changes))  # type: ignore[arg-type]


@pytest.fixture
def offline_after() -> Iterator[None]:
    """Undo what `--offline` sets in this process."""
    before = os.environ.get("I2S_OFFLINE")
    yield
    os.environ.pop("I2S_OFFLINE", None)
    if before is not None:
        os.environ["I2S_OFFLINE"] = before


def test_the_list_is_sound() -> None:
    assert len({each.address for each in PUBLISHED}) == len(list(PUBLISHED)) > 25
    for each in PUBLISHED:
        assert re.fullmatch(r"[a-z0-9-]+", each.name) and each.family in (
            "stylegan1",
            "stylegan2",
            "stylegan3",
            "vgg16",
        )
        assert all(url.startswith("https://") for url in (each.address, each.page, each.licence.address))
        assert re.fullmatch("[0-9a-f]*", each.sha256) and each.summary.endswith(".")
        assert each.by_browser == ("drive.google" in each.address)
    page = (ROOT / "docs/guides/weights.md").read_text()
    shown = here("weights", "list").stdout
    for each in PUBLISHED:
        assert f"`{each.name}`" in page or each.family == "stylegan3"
        assert f"\n{each.name} " in shown and each.licence.name in page
    imagenet = PUBLISHED.get("imagenet")
    assert imagenet.address == VGG16_Weights.IMAGENET1K_V1.url and imagenet.sha256 in imagenet.address


@pytest.mark.usefixtures("cache")
def test_a_licence_is_accepted_once(published: PublishedWeights, web: Web, generator: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"tiny16 is under the Licence of Tests \(https://example.com/licence\); read"
    ):
        i2s_batch.load_generator("tiny16")
    file = i2s_batch.get_weights("tiny16", accept_licence=True)
    assert file.read_bytes() == web.content
    record = json.loads((file.parent / RECORD).read_text())
    assert record[LICENCE.address].startswith("Licence of Tests, 20")
    mine = generator_weights("tiny16")
    assert mine.fingerprint == generator_weights(generator).fingerprint
    assert i2s_batch.get_weights("tiny16") == file, "it is not fetched again"
    file.unlink()
    assert i2s_batch.get_weights("tiny16") == file, "nor is it asked for again"


def test_a_licence_that_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("I2S_CACHE", "/dev/null/cache")
    with pytest.raises(
        ConfigError, match=r"that Licence of Tests is accepted cannot be recorded .* set I2S_CACHE to a fold"
    ):
        accept(LICENCE)
    assert not is_accepted(LICENCE)


def test_a_damaged_record_accepts_nothing(cache: Path) -> None:
    accept(LICENCE)
    assert is_accepted(LICENCE)
    for text in ("[]", "{", "\xff"):
        (cache / RECORD).write_text(text)
        assert not is_accepted(LICENCE)


def test_the_command_line(published: PublishedWeights, web: Web, cache: Path, offline_after: None) -> None:
    where = here("weights", "where", "tiny16")
    assert where.returncode == 1 and where.stdout == ""
    for part in ("is not on this machine", published.address, published.page, "Licence of Tests", str(cache)):
        assert part in where.stderr
    line = refusal(here("weights", "get", "tiny16"))
    assert "accept it once: i2s-batch weights get tiny16 --accept-licence" in line
    got = here("weights", "get", "tiny16", "--accept-licence")
    assert got.returncode == 0, got.stderr
    file = Path(got.stdout.strip())
    assert file.read_bytes() == web.content and file.parent == cache
    assert "tiny16 is under the Licence of Tests" in got.stderr and f"fetching {published.address} (0." in got.stderr
    assert here("weights", "where", "tiny16").stdout.strip() == str(file)
    listed = {each["name"]: each for each in json.loads(here("weights", "list", "--json").stdout)}
    assert listed["tiny16"]["file"] == str(file) and listed["tiny16"]["licence_accepted"] is True
    assert listed["ffhq1024"]["file"] is None and listed["ffhq1024"]["licence_accepted"] is False
    row = next(row for row in here("weights", "list").stdout.splitlines() if row.startswith("tiny16"))
    assert row.split() == ["tiny16", "yes", "stylegan1", "Licence", "of", "Tests", "Nothing."]
    assert here("weights", "get", "tiny16", "--offline").stdout == got.stdout


@pytest.mark.usefixtures("cache", "published")
def test_every_command_that_takes_a_generator_takes_a_name(tmp_path: Path, generator: Path) -> None:
    assert "accept it once" in refusal(here("convert", "tiny16", tmp_path / "a.safetensors"))
    converted = here("convert", "tiny16", tmp_path / "a.safetensors", "--accept-licence")
    assert converted.returncode == 0 and generator_weights(generator).fingerprint in converted.stdout
    assert "stylegan1" in here("inspect", "tiny16").stdout
    assert here("sample", "tiny16", tmp_path / "samples", "--seeds", "0", "--table").returncode == 0
    given = json.loads((tmp_path / "samples" / "run.json").read_text())["given"]
    assert given["generator"] == "tiny16", "the run can be resumed in any folder, on any machine"
    helps = {
        words: here(*words.split(), "--help").stdout for words in ("embed", "study", "edit morph", "learn", "verify")
    }
    assert all("--accept-licence" in text and "--offline" in text for text in helps.values())


@pytest.mark.usefixtures("published")
def test_nothing_is_fetched_offline(web: Web, cache: Path, tmp_path: Path, offline_after: None) -> None:
    before = len(web.requests("/good/tiny16.safetensors"))
    accept(LICENCE)
    line = refusal(here("convert", "tiny16", tmp_path / "a.safetensors", "--offline"))
    assert (
        "I2S_OFFLINE or --offline lets nothing be fetched; keep a downloaded file with: i2s-batch weights get" in line
    )
    assert len(web.requests("/good/tiny16.safetensors")) == before and not list(cache.glob("*tiny*"))


@pytest.mark.usefixtures("cache")
def test_an_address_that_has_moved(published: PublishedWeights, web: Web, generator: Path, tmp_path: Path) -> None:
    accept(LICENCE)
    moved(published, address=f"{web.url}/gone/tiny16.safetensors?key=secret")
    with pytest.raises(
        CheckpointError, match=r"404 Not Found.*If the address has moved, https://example.com/tiny has"
    ) as no:
        generator_weights("tiny16")
    assert "keep a downloaded file with: i2s-batch weights get tiny16 --from FILE" in str(no.value)
    assert "secret" not in str(no.value)
    (tmp_path / "page.html").write_text("<html>Sign in</html>")
    line = refusal(here("weights", "get", "tiny16", "--from", tmp_path / "page.html"))
    assert "page.html' is not cached: " in line and "HTML page" in line and "give the right file" in line
    kept = here("weights", "get", "tiny16", "--from", generator)
    assert kept.returncode == 0 and Path(kept.stdout.strip()).read_bytes() == web.content
    assert generator_weights("tiny16").family == "stylegan1"


@pytest.mark.usefixtures("cache")
def test_a_file_for_a_browser_only(published: PublishedWeights, web: Web) -> None:
    moved(published, by_browser=True)
    with pytest.raises(CheckpointError, match=rf"gives it to a browser only; open {published.address} .* --from FILE"):
        generator_weights("tiny16")
    assert "for a browser" in here("weights", "where", "tiny16").stderr


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("digits", [8, 64])  # of the hash: the first ones by us, all of them by pooch
def test_a_published_hash_is_checked(published: PublishedWeights, digits: int) -> None:
    accept(LICENCE)
    moved(published, sha256="0" * digits)
    with pytest.raises(CheckpointError, match=r"SHA-256.*0{8}.*give the right file"):
        generator_weights("tiny16")
    assert here("weights", "where", "tiny16").returncode == 1


@pytest.mark.usefixtures("cache")
def test_names_that_mean_something_else(
    published: PublishedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"'ffhq1025' is neither a file nor the name of .*; did you mean 'ffhq1024'"
    ):
        generator_weights("ffhq1025")
    with pytest.raises(CheckpointError, match="'imagenet' is the name of a vgg, not of a generator"):
        generator_weights("imagenet")
    with pytest.raises(CheckpointError, match="'tiny16' is the name of a generator, not of a vgg"):
        vgg_weights("tiny16")
    (tmp_path / "tiny16").write_bytes(generator.read_bytes())
    with pytest.raises(
        CheckpointError, match="is the name of published weights and of a file in this folder; give the"
    ):
        generator_weights("tiny16")
    assert generator_weights(tmp_path / "tiny16").family == "stylegan1"
    with pytest.raises(ConfigError, match="'nothing' names no published weights; `i2s-batch weights list` shows"):
        i2s_batch.get_weights("nothing")
    with pytest.raises(ConfigError, match=r"name is 5 \(int\); it must be a text"):
        i2s_batch.get_weights(5)  # type: ignore[arg-type]


@pytest.mark.usefixtures("cache")
def test_an_imagenet_vgg_is_where_torchvision_keeps_it(vgg: Path) -> None:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    assert here("weights", "where", "imagenet").stderr.rstrip().rpartition("cache")[2].strip().startswith(str(folder))
    folder.mkdir(parents=True)
    file = folder / "vgg16-397923af.pth"
    file.write_bytes(vgg.read_bytes())
    assert here("weights", "where", "imagenet").stdout.strip() == str(file)
    assert vgg_weights("imagenet").fingerprint == vgg_weights(vgg).fingerprint
