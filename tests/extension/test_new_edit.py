"""An edit that another program adds: one file (blend.py) and one declaration; runs and commands then know it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from i2s_batch import load_generator, read_latents
from i2s_batch.api.verification import verify
from i2s_batch.cli import main
from i2s_batch.config import EditConfig
from i2s_batch.editing import EDITS, Edit, Recipe, apply_recipe
from i2s_batch.editing.edit_options import EditOptions, image_id_option
from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.editing.edit_worker import EditSpec
from i2s_batch.errors import ConfigError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.inversion.synthesis import image_of
from i2s_batch.models.loading import generator_weights
from i2s_batch.registry import Declaration
from i2s_batch.run.pools import InProcessCluster
from i2s_batch.table.shards import read_table
from tests.extension.blend import Blend, latent
from tests.hashes.materials import TABLE, network

FIRST, SECOND, OTHER = "in/cats/0.png", "in/cats/1.png", "in/dogs/2.png"
GENERATOR = str(network("stylegan1"))


@pytest.fixture
def blend() -> Iterator[None]:
    """Register the edit for the length of a test."""
    declaration = Declaration("blend", "Move latents towards another, in some layers.", "tests.extension.blend:BLEND")
    with EDITS.added(declaration):
        yield


def check_rows(out: Path, expected: dict[tuple[str, float], tuple[int, ...]]) -> None:
    """Check the rows, by content and strength, against the formula by hand in `layers`, and the images against the
    rows."""
    table = read_latents(str(TABLE))
    parents = dict(zip(table.ids, table.latents.astype(np.float64), strict=True))
    rows = {(row["parents"][0], row["strength"]): row for row in read_table(str(out)).to_pylist()}
    assert rows.keys() == expected.keys()
    generator = load_generator(GENERATOR)
    for (content, strength), layers in expected.items():
        row = rows[content, strength]
        assert (row["status"], row["operation"], row["parents"]) == ("ok", "blend", [content, OTHER])
        assert tuple(row["layers"]) == layers
        by_hand = parents[content].copy()
        for layer in layers:
            by_hand[layer] = strength * parents[OTHER][layer] + (1 - strength) * parents[content][layer]
        stored = np.float32(row["latent"])
        np.testing.assert_array_equal(stored.reshape(by_hand.shape), by_hand.astype(np.float32))
        image = decode_image(Path(row["uri"]).read_bytes()).astype(int)
        assert np.abs(image - image_of(stored, generator)).max() <= 1, "another batch may round to the next level"


def test_an_edit_from_outside_the_package_is_a_run_like_any_other(blend: None, tmp_path: Path) -> None:
    out = tmp_path / "out"
    edit = Blend(OTHER, (0.25, 1.5), (0, 3))
    request = EditRunRequest((str(TABLE),), str(out), GENERATOR, edit, EditConfig(), ids=(FIRST, SECOND))
    outcome = EditRun(request, generator_weights(GENERATOR), [].append).execute(InProcessCluster(1))
    assert outcome.summary.statuses == {"ok": 4}
    check_rows(out, {(content, strength): (0, 3) for content in (FIRST, SECOND) for strength in (0.25, 1.5)})
    settings = json.loads((out / "run.json").read_text())["settings"]
    recorded = {name: settings[name] for name in ("operation", "other", "strengths", "layers")}
    assert recorded == {"operation": "blend", "other": OTHER, "strengths": [0.25, 1.5], "layers": [0, 3]}
    assert verify(str(out)).sound


def test_the_command_line_offers_it_with_its_options(
    blend: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def carried_out(*words: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["edit", *map(str, words)])
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    assert "blend       Move latents towards another, in some layers." in carried_out("--help")[1]
    text = " ".join(carried_out("blend", "--help")[1].split())
    for words in (
        "--to ID The image that all others come nearer to. [required]",
        "[default: 1; 1<=x<=3]",
        "1 is the other image. [default: 0.5,1]",
        "--edit-list FILE CSV",
        "[default: gif]",
    ):
        assert words in text
    options = ("--in-process", "--generator", GENERATOR, "--to", OTHER)
    common = (TABLE, tmp_path / "prefix", *options)
    own = ("--layers", "1-2,4", "--strengths", "0.5,1", "--factor", 0.5, "--back", "--folder", "in/cats/")
    status, said, trouble = carried_out("blend", *common, *own)
    assert status == 0 and "4 images: 4 ok" in said, trouble
    check_rows(tmp_path / "prefix", {(id_, a): (1, 2, 4) for id_ in (FIRST, SECOND) for a in (-0.25, -0.5)})
    assert len(list((tmp_path / "prefix" / "animations").rglob("*.gif"))) == 2
    (tmp_path / "edits.csv").write_text(f"content,other,strengths\n{FIRST},{OTHER},0.75\n")
    for number, option in enumerate(("--edit-list", "--jobs")):  # the old name of the option works
        out = tmp_path / f"listed{number}"
        status, _, trouble = carried_out("blend", TABLE, out, *options, option, tmp_path / "edits.csv")
        assert status == 0, trouble
        check_rows(out, {(FIRST, 0.75): (0,)})
    status, _, trouble = carried_out("blend", *common, "--where", "true", "--folder", "in/")
    assert status == 2 and "--folder, --where and --ids are three ways to choose the folder; give one" in trouble


def test_a_worker_in_another_process_knows_it_too(blend: None, tmp_path: Path) -> None:
    """As a Ray actor builds one, where nobody has registered the edit."""
    where = (str(tmp_path / "out"), EditConfig(), generator_weights(GENERATOR), (str(TABLE),))
    (tmp_path / "spec").write_bytes(pickle.dumps(EditSpec(*where, EDITS.get("blend"), "cpu", 1)))
    code = (
        "import pickle, sys\n"
        "from i2s_batch.editing import EDITS, Recipe, apply_recipe\n"
        "import numpy as np\n"
        "assert 'blend' not in EDITS\n"
        "pickle.load(open(sys.argv[1], 'rb')).build('worker').close()\n"
        "recipe = Recipe('blend', ('a', 'b'), 0.5, (1,))\n"
        "print(apply_recipe(recipe, [np.zeros((2, 1)), np.ones((2, 1))]).tolist())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "spec")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert result.stdout == "[[0.0], [0.5]]\n"


def test_without_its_registration_nobody_knows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "blend" not in EDITS
    with pytest.raises(ConfigError, match="edit is 'blend'"):
        apply_recipe(Recipe("blend", ("a", "b"), 0.5, (0,)), [])
    with pytest.raises(SystemExit) as left:
        main(["edit", "blend", str(TABLE), str(tmp_path / "out")])
    assert left.value.code == 2 and "No such command 'blend'" in capsys.readouterr().err


@dataclass(frozen=True)
class _OptionsThatAreTaken(EditOptions):
    ids: str | None = image_id_option("An option that every edit has.")

    def request(self) -> Blend:
        raise NotImplementedError


TAKEN = Edit(("content",), latent, _OptionsThatAreTaken)


def test_an_option_that_all_edits_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    declaration = Declaration("taken", "An edit whose option is taken.", f"{__name__}:TAKEN")
    with EDITS.added(declaration), pytest.raises(SystemExit) as left:
        main(["edit", "taken", "--help"])
    assert left.value.code == 2
    assert "edit 'taken' has an option 'ids', as all edits have; rename its own" in capsys.readouterr().err
