"""Bad usage and bad input: status 2 and one line on standard error. And what needs no run at all.

Most commands run in the process of the tests: what is refused is the same, and a new process imports PyTorch first.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from i2s_batch.storage import s3_client
from tests.conftest import S3Server
from tests.material import draw_pictures, scene
from tests.program import here, i2s_batch, refusal

SECURITY = Path(__file__).parents[1] / "data" / "security"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    scene(0, (40, 40)).save(folder / "a.png")
    return folder


def embed(source: object, out: object, generator: object, *options: object, env: dict[str, str] | None = None) -> str:
    return refusal(here("embed", source, out, "--generator", generator, "--vgg", "random", *options, env=env))


def test_unknown_option_and_missing_argument(tmp_path: Path) -> None:
    assert "--bogus" in refusal(i2s_batch("embed", "--bogus"))
    assert "i2s-batch embed --help" in refusal(i2s_batch("embed", "--bogus"))
    assert "SOURCE" in refusal(i2s_batch("embed"))
    assert "--generator" in refusal(i2s_batch("embed", "a", "b"))
    alone = i2s_batch()
    assert (alone.returncode, alone.stdout) == (0, i2s_batch("--help").stdout) and "embed" in alone.stdout
    assert "nonsense" in refusal(i2s_batch("nonsense"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "steps is 0; it must be between 1 and"),
        (["--steps", "many"], "'many' is not a valid integer"),
        (["--batch-size", "0"], "neither 'auto' nor a whole number"),
        (["--space", "x"], "'x' is not one of 'w+', 'w', 'z'"),
        (["--max-failed-fraction", "2"], "max failed fraction is 2.0; it must be between 0 and 1"),
        (["--checkpoint-every", "-1"], "checkpoint interval is -1.0"),
    ],
)
def test_settings_outside_their_limits(source: Path, tmp_path: Path, options: list[str], message: str) -> None:
    assert message in embed(source, tmp_path / "out", "nowhere.pkl", *options)


def test_a_source_that_is_missing_or_empty(tmp_path: Path, generator: Path) -> None:
    assert "missing" in embed(tmp_path / "missing", tmp_path / "out", generator)
    (tmp_path / "empty").mkdir()
    assert "empty' holds no files" in embed(tmp_path / "empty", tmp_path / "out", generator)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["empty.pkl", "text.pkl", "png_renamed.pkl", "sg1_truncated_half.pkl"])
def test_a_checkpoint_that_cannot_be_read(source: Path, tmp_path: Path, name: str) -> None:
    assert name in embed(source, tmp_path / "out", SECURITY / name)


def test_a_checkpoint_that_would_run_code(source: Path, tmp_path: Path) -> None:
    words = ("embed", source, tmp_path / "out", "--generator", SECURITY / "sg1_reduce_os_system.pkl", "--vgg", "random")
    line = refusal(i2s_batch(*words, cwd=tmp_path))
    assert "system" in line and not (tmp_path / "PWNED").exists()


def test_a_missing_checkpoint_and_a_page_in_its_place(source: Path, tmp_path: Path) -> None:
    assert "nowhere.pkl" in embed(source, tmp_path / "out", tmp_path / "nowhere.pkl")
    (tmp_path / "g.pkl").write_text("<!DOCTYPE html><html><title>Quota exceeded</title></html>")
    assert "HTML page" in embed(source, tmp_path / "out", tmp_path / "g.pkl")


def test_no_vgg_weights_and_no_network(source: Path, tmp_path: Path, generator: Path) -> None:
    away = {
        "TORCH_HOME": str(tmp_path / "torch"),
        "https_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    result = here("embed", source, tmp_path / "out", "--generator", generator, env=away)
    line = refusal(result)
    assert "VGG-16" in line and "--vgg FILE" in line and "--vgg random" in line


def test_an_output_that_cannot_be_written(source: Path, tmp_path: Path, generator: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "file" in embed(source, tmp_path / "file" / "out", generator)


def test_a_bucket_that_does_not_exist(source: Path, tmp_path: Path, generator: Path, s3_env: dict[str, str]) -> None:
    assert "no-such-bucket" in embed("s3://no-such-bucket/pictures", tmp_path / "out", generator)
    assert "no-such-bucket" in embed(source, "s3://no-such-bucket/out", generator)


def test_wrong_credentials(source: Path, tmp_path: Path, generator: Path, s3_with_auth: S3Server) -> None:
    bucket = s3_with_auth.new_bucket()
    wrong = s3_with_auth.env | {"AWS_SECRET_ACCESS_KEY": "not-the-secret"}
    for line in (
        embed(f"s3://{bucket}/pictures", tmp_path / "out", generator, env=wrong),
        embed(source, f"s3://{bucket}/out", generator, env=wrong),
    ):
        assert bucket in line and "the secret key is wrong" in line and "not-the-secret" not in line


def test_an_endpoint_that_does_not_answer(
    source: Path, generator: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "PAUSE_S", 0.001)  # before each of ten attempts, doubled each time
    away = s3.env | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    assert "127.0.0.1:9" in embed(source, "s3://bucket/out", generator, env=away)


def test_dry_run_prints_the_plan_as_json(tmp_path: Path, generator: Path, vgg: Path) -> None:
    ids = draw_pictures(tmp_path / "in")
    result = here("embed", tmp_path / "in", tmp_path / "out", "--generator", generator, "--vgg", vgg, "--dry-run")
    assert result.returncode == 0, result.stderr
    what = json.loads(result.stdout)
    assert (what["images"], what["images_to_do"], what["resumed"]) == (len(ids), len(ids), False)
    assert what["settings"]["steps"] == 5000 and what["generator"]["latent_shape"] == [6, 16]
    assert not (tmp_path / "out").exists()


def test_convert_keeps_the_fingerprint(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "data" / "sg1_r64.pkl"
    for made_from, target in ((source, "one.safetensors"), (tmp_path / "one.safetensors", "two.safetensors")):
        result = here("convert", made_from, tmp_path / target)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    assert ".safetensors" in refusal(here("convert", source, tmp_path / "x.pkl"))


def test_inspect_says_what_a_checkpoint_is(tmp_path: Path, generator: Path) -> None:
    result = here("inspect", generator)
    assert result.returncode == 0, result.stderr
    shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (shown["family"], shown["resolution"], shown["classes"]) == ("stylegan1", "16 x 16", "none")
    assert "inspect" in here("--help").stdout
    line = refusal(i2s_batch("inspect", SECURITY / "sg1_reduce_os_system.pkl", cwd=tmp_path))
    assert "nothing was run" in line and not (tmp_path / "PWNED").exists()
    assert "nowhere.pkl" in refusal(here("inspect", tmp_path / "nowhere.pkl"))
    (tmp_path / "g.pkl").write_bytes(gzip.compress(generator.read_bytes()))
    line = refusal(here("inspect", tmp_path / "g.pkl"))
    assert "this is a gzip archive, not a StyleGAN checkpoint" in line and line.endswith("; unpack it first")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("faces", [], "'faces' is not one of 'transforms', 'init'"),
        ("init", ["--sample", "0"], "sample is 0; it must be between 1 and"),
        ("init", ["--class-column", "kind"], "has no column 'kind' for --class-column; its extra columns: none"),
        ("steps", ["--steps", "3"], "steps is 3; the steps study needs at least 10"),
    ],
)
def test_a_study_that_cannot_be(
    source: Path, tmp_path: Path, generator: Path, name: str, options: list[str], message: str
) -> None:
    command = ("study", name, source, tmp_path / "out", "--generator", generator, "--vgg", "random", *options)
    assert message in refusal(here(*command))
    assert not (tmp_path / "out").exists()


def test_what_a_study_would_do(source: Path, tmp_path: Path, generator: Path) -> None:
    options = ("--generator", generator, "--vgg", "random", "--dry-run")
    result = here("study", "space", source, tmp_path / "out", *options)
    assert json.loads(result.stdout)["images"] == 4 and "1 of 1 image in 4 variants" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [("embed",), ("study", "init")])
def test_the_images_of_a_source_are_chosen(tmp_path: Path, generator: Path, command: tuple[str, ...]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "b.PNG", "c.jpg", "d.txt"):
        scene(0, (40, 40)).save(folder / name, "PNG")
    (tmp_path / "l.csv").write_text("path,photo\nx,in/a.png\ny,in/c.jpg\n")

    def images(source: Path, *options: object) -> int:
        networks = ("--generator", generator, "--vgg", "random", "--steps", 1, "--dry-run")
        result = here(*command, source, tmp_path / "out", *networks, *options)
        return json.loads(result.stdout)["images"]

    variants = 2 if command[0] == "study" else 1
    assert images(folder, "--include", "*.{png,jpg}", "--exclude", "c*", "--limit", 5) == 2 * variants
    assert images(tmp_path / "l.csv", "--path-column", "photo", "--limit", 1) == variants
    none = here(*command, folder, tmp_path / "out", "--generator", generator, "--vgg", "random", "--include", "*.gif")
    assert "none is left; give other --include, --exclude or --where" in refusal(none)
