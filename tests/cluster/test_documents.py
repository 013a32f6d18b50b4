"""Every block of README and docs that can run here, as it stands there: each page in its order, in its own folder.

All pages share one Ray and one output of the demo. README runs to the letter. On the other pages commands that embed
with the reader's own checkpoint are shortened (`SHORTER`), since `ffhq.pkl` is a small network here; and those that
would use Ray work in their own process, which saves ten seconds each: README and the tutorial's job go through Ray.
Single commands of those pages run in the process of the tests: a new one takes two seconds to import PyTorch.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from i2s_batch.storage import open_store
from tests.cluster.conftest import RayHead
from tests.conftest import DemoRun
from tests.documents.commands import lines_of, ours
from tests.documents.pages import PAGES, README, ROOT, Block, blocks, name_of
from tests.material import DATA, scene, upload
from tests.program import status_of

SHORTER = ("--steps", "4", "--vgg", "random", "--device", "cpu", "--batch-size", "4")
NETWORKS = {"ffhq.pkl": "sg1_r64.pkl", "stylegan2-ffhq-config-f.pkl": "sg2tf_r64.pkl"}
SHELL = frozenset("|&;<>$`*?")  # what a shell takes for its own, or may
ON_RAY = ("embed", "study", "edit", "render")

RUN = [page for page in PAGES if any(block.is_run for block in blocks(page))]
# What is there when the blocks of a page have run: how many files match a pattern in the page's folder.
RESULTS = {
    "README.md": {
        "latents/report.html": 1,
        "near.png": 1,
        "latents.npz": 1,
        "morphs/pictures/**/*.png": 6 * 8 + 1,
        "morphs/animations/*.webp": 1,
        "smiles/pictures/**/*.png": 2 * 7,
        "latents-from-python/latents/*.parquet": 1,
    },
    "docs/tutorial/demo.md": {"one-face/latents/*.parquet": 1},
    "docs/tutorial/own-images.md": {"latents/report.html": 1},
    "docs/guides/edit.md": {
        "morphs/pictures/**/*.png": 15 * 9,
        "morphs/animations/*.webp": 15,
        "animated/pictures/**/*.png": 2,
        "animated/animations/*": 1,
        "smiles/pictures/**/*.png": 2 * 7,
        "reconstructions/pictures/**/*.png": 7,
        "styles/contact-sheet.png": 1,
    },
    "docs/guides/embed.md": {"from-archive/latents/*.parquet": 1},
    "docs/guides/query.md": {"near.png": 1, "latents.npz": 1},
    "docs/guides/studies.md": {"study-transforms/study.md": 1, "study-transforms/figures/pictures.png": 1},
    "docs/guides/verify.md": {"both/latents/*.parquet": 1},
    "docs/reference/checkpoints.md": {"ffhq.safetensors": 1},
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, demo_run: DemoRun) -> Path:
    """The folder of a reader: a clone of the repository, the demo's output, images and checkpoints of their own."""
    root = tmp_path_factory.mktemp("clone")
    shutil.copytree(demo_run.folder, root / "i2s-demo")
    for number, name in enumerate(("photos/ada.png", "photos/ben.png", "photos/trip/sea.png", "more-photos/zoe.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        scene(number, (64, 64)).save(root / name)
    for name, network in NETWORKS.items():
        shutil.copy(DATA / network, root / name)
    shutil.copy(ROOT / "tests" / "extension" / "blend.py", root)
    (root / "i2s_batch").symlink_to(ROOT / "i2s_batch")
    return root


@pytest.fixture
def folder(tmp_path: Path, clone: Path) -> Path:
    """A copy of the reader's folder for one page."""
    shutil.copytree(clone, tmp_path / "clone", symlinks=True)
    return tmp_path / "clone"


@pytest.mark.parametrize("page", RUN, ids=name_of)
@pytest.mark.filterwarnings("ignore")
def test_every_block_runs(
    page: Path, folder: Path, ray_head: RayHead, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Threads that wait for each other cost more than they bring.
    env = ray_head.env | {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    monkeypatch.chdir(folder)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    for block in blocks(page):
        if block.is_run and block.language == "python":
            run(["python", "-c", block.text], folder, env)
        elif block.is_run:
            for line in lines_of(block.text):
                adapted = _adapted(line, block, folder, ray_head, s3_bucket)
                words = shlex.split(adapted, comments=True)
                if block.page != README and words[0] == "i2s-batch" and not SHELL.intersection(adapted):
                    assert status_of(*words[1:]) == 0, adapted
                else:
                    run(["bash", "-euc", adapted], folder, env)
    for pattern, count in RESULTS.get(name_of(page), {}).items():
        assert len(list(folder.glob(pattern))) == count, pattern


def test_every_page_whose_results_are_checked_is_run() -> None:
    assert RESULTS.keys() <= {name_of(page) for page in RUN}


def run(command: list[str], folder: Path, env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


def _adapted(line: str, block: Block, folder: Path, ray_head: RayHead, bucket: str) -> str:
    """Return a command as it can be carried out here."""
    if "s3://bucket" in line:
        upload(folder / "photos", f"s3://{bucket}/photos")
        open_store(f"s3://{bucket}").put("ffhq.pkl", (folder / "ffhq.pkl").read_bytes())
    line = line.replace("s3://bucket", f"s3://{bucket}").replace("http://127.0.0.1:8265", ray_head.dashboard)
    line = line.replace("--working-dir .", f"--working-dir {shlex.quote(str(ROOT))}")
    words = ours(shlex.split(line, comments=True))
    if words is None or block.page == README:
        return line
    short = list(SHORTER) if any(name in line for name in NETWORKS) and words[0] in ("embed", "study") else []
    if words[0] in ON_RAY and "ray job submit" not in line:
        short.append("--in-process")
    return f"{line.rstrip()} {shlex.join(short)}".replace("--actors 8", "--actors 1")
