"""Every block of the README, run as it stands there, in its order, from one folder."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from i2s_batch.storage import open_store
from tests.cluster.conftest import RayHead
from tests.material import DATA, scene, upload

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)

# What a block cannot have here, and what stands in for it: minutes instead of days, the network instead of weights.
SHORTER = ("--steps", "4", "--vgg", "random", "--device", "cpu", "--batch-size", "4")
FROM_HERE = {
    'device="cuda"': 'device="cpu"',
    "load_vgg(device": 'load_vgg("random", device',
    "steps=1000": "steps=2",
}
INSTALLS = ".venv/bin/pip install"  # the demo, and what .ci/run does: tests/cli/test_demo.py, tests/test_readme.py


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a reader of the README: pictures, and a generator under every name that is used."""
    root = tmp_path_factory.mktemp("reader")
    pictures = root / "path" / "to" / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "clip").mkdir()
    for number, name in enumerate(("ada", "ada-smiling", "ben", "clip/1", "clip/2")):
        scene(number, (64, 64)).save(pictures / f"{name}.png")
    for name in ("stylegan-ffhq.pkl", "ffhq.pkl"):
        shutil.copy(DATA / "sg1_r64.pkl", root / name)
    return root


def run(command: str, folder: Path, env: dict[str, str]) -> str:
    result = subprocess.run(
        ["bash", "-euc", command], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_every_block_runs(folder: Path, ray_head: RayHead, s3_bucket: str) -> None:
    env = ray_head.env
    done = []
    for language, block in BLOCKS:
        if language == "bash" and INSTALLS not in block:
            done.append(_shell(block, folder, env, ray_head, s3_bucket))
        elif language == "python":
            code = "import numpy as np\nimages = [('a', np.zeros((64, 64, 3), np.uint8))]\n" + block
            for there, here in FROM_HERE.items():
                code = code.replace(there, here)
            run(f"python -c {shlex.quote(code)}", folder, env)
            done.append("python")
        else:
            assert language in ("bash", "")  # installing; trees of files
    commands = {
        "embed",
        "study",
        "edit",
        "render",
        "status",
        "report",
        "query",
        "export",
        "neighbours",
        "verify",
        "merge",
    }
    assert commands | {"submit", "python"} <= set(done)
    assert (folder / "latents" / "report.html").is_file()
    edits = {"morphs": 90, "styles": 4, "smiles": 10, "film": 2, "reconstructions": 5}
    assert {name: len(list((folder / name / "pictures").rglob("*.png"))) for name in edits} == edits
    assert [len(list((folder / name / "animations").iterdir())) for name in ("morphs", "film")] == [10, 1]


def _shell(block: str, folder: Path, env: dict[str, str], ray_head: RayHead, bucket: str) -> str:
    """Run one command of the README; which one it was."""
    command = block.replace("s3://bucket", f"s3://{bucket}").replace("http://127.0.0.1:8265", ray_head.dashboard)
    if "ray job submit" in command:
        upload(folder / "path" / "to" / "pictures", f"s3://{bucket}/pictures")
        open_store(f"s3://{bucket}").put("ffhq.pkl", (folder / "ffhq.pkl").read_bytes())
        command = command.replace("--actors 8", f"--actors 1 {shlex.join(SHORTER)}")
        run(command.replace("--working-dir .", f"--working-dir {shlex.quote(str(ROOT))}"), folder, env)
        return "submit"
    command = command.replace("psnr > 20", "psnr > 0")  # four steps are no good reconstructions
    words = shlex.split(command, comments=True)
    if words[1] == "merge":  # a second run, of one more picture
        scene(9, (64, 64)).save(folder / "zoe.png")
        more = f"i2s-batch embed zoe.png more-latents --generator stylegan-ffhq.pkl {shlex.join(SHORTER)}"
        run(more, folder, env)
    if words[1] in ("embed", "study"):
        run(f"{command.rstrip()} {shlex.join(SHORTER)}", folder, env)
    else:
        run(command, folder, env)
    return words[1]
