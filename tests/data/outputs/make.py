"""Write the outputs of this version: `python -m tests.data.outputs.make` in a checkout, on Linux.

The outputs go to `schema-N` beside this file, N being the version's SCHEMA_VERSION; an existing folder is not
touched. Two runs are ended by SIGKILL and five by SIGTERM, each after as many steps as is written below.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from i2s_batch.inversion.slots import Slots
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.execution import RunInterruptedError
from i2s_batch.schema.columns import SCHEMA_VERSION
from tests.conftest import S3Server, moto_server, s3_environment
from tests.data.outputs import jobs
from tests.material import download, scene, upload, write_small_generator, write_small_vgg

AT_FIRST = 4  # lines of the list when the finished run was started; the others were added to it later

# After so many steps of a batch of slots, or units of an edit.
STOPPED_ON_S3_AFTER = 110
STOPPED_CLASHING_AFTER = 60
STOPPED_AFTER = {
    "killed": 110,
    "killed-edit": 6,
    "stopped-lbfgs": 115,
    "stopped-steps": 25,
    "stopped-iterate": 82,
    "stopped-transforms": 59,
}


@contextmanager
def signalled(number: signal.Signals, after: int) -> Iterator[None]:
    """Send this process a signal before it makes the step after `after` steps, or writes the unit after `after`."""
    counted = {Slots: "advance", WorkLog: "write_rows"}
    originals = {owner: getattr(owner, name) for owner, name in counted.items()}

    def wrapped(owner: type) -> Callable[..., object]:
        calls = iter(range(1, 1_000_000))

        def call(*arguments: object, **named: object) -> object:
            if next(calls) == after + 1:
                os.kill(os.getpid(), number)
            return originals[owner](*arguments, **named)

        return call

    for owner, name in counted.items():
        setattr(owner, name, wrapped(owner))
    try:
        yield
    finally:
        for owner, name in counted.items():
            setattr(owner, name, originals[owner])


def stop(job: jobs.AnyJob, after: int) -> None:
    """Start a run and end it by SIGTERM, which leaves checkpoints of the images in flight."""
    try:
        with signalled(signal.SIGTERM, after):
            jobs.carry_out(job)
    except RunInterruptedError:
        return
    raise RuntimeError(f"{job.out} was finished before it could be stopped; stop it earlier")


def kill(name: str) -> None:
    """Start a run in another process and end that by SIGKILL, which leaves its lease too."""
    result = subprocess.run([sys.executable, "-m", __spec__.name, "--killed", name, str(Path.cwd())], check=False)
    if result.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the run {name} ended with {result.returncode} before it was killed; kill it earlier")


def finish() -> None:
    """Embed a list, add images to it, update the run with them, and edit its latents."""
    Path("list.csv").write_text("".join(jobs.LIST.splitlines(keepends=True)[: 1 + AT_FIRST]))
    jobs.carry_out(jobs.FINISHED)
    Path("list.csv").write_text(jobs.LIST)
    jobs.carry_out(replace(jobs.FINISHED, config=replace(jobs.FINISHED.config, grow=True)))
    jobs.carry_out(jobs.MORPH)
    jobs.carry_out(jobs.RENDER)


def stop_on_s3() -> None:
    """Stop a run from and to a local S3 server, and save the server's objects as files."""
    with moto_server(Path()) as endpoint:
        server = S3Server(endpoint, s3_environment(endpoint, "test-key", "test-secret"))
        os.environ.update(server.env)
        server.client().create_bucket(Bucket=jobs.BUCKET)
        upload(Path("in"), f"s3://{jobs.BUCKET}/in")
        stop(jobs.ON_S3, STOPPED_ON_S3_AFTER)
        download(f"s3://{jobs.BUCKET}/out", Path("s3"))
    Path("moto.log").unlink()


def draw() -> None:
    """Draw the images that are embedded; the last one is cut off."""
    for number, name in enumerate(jobs.IMAGES):
        path = Path("in", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(number, (24, 24)).save(path)
    damaged = Path("in", jobs.IMAGES[-1])
    damaged.write_bytes(damaged.read_bytes()[:60])


def main() -> None:
    """Make all outputs in a temporary folder and move them beside this file."""
    if sys.argv[1:2] == ["--killed"]:
        name, folder = sys.argv[2:]
        os.chdir(folder)
        with signalled(signal.SIGKILL, STOPPED_AFTER[name]):
            jobs.carry_out(jobs.STOPPED[name])
        return
    target = Path(__file__).with_name(f"schema-{SCHEMA_VERSION}")
    if target.exists():
        sys.exit(f"{target} exists; outputs of a version are written once, delete it first if that is meant")
    checkout = Path.cwd()
    os.environ["PYTHONPATH"] = str(checkout)
    with tempfile.TemporaryDirectory(prefix="outputs-") as folder:
        os.chdir(folder)
        draw()
        write_small_generator(Path("generator.safetensors"))
        write_small_vgg(Path("vgg.pth"))
        finish()
        Path("folders.csv").write_text("".join(jobs.FOLDERS.splitlines(keepends=True)[:-1]))
        stop(jobs.CLASHING, STOPPED_CLASHING_AFTER)
        for name, after in STOPPED_AFTER.items():
            if name.startswith("killed"):
                kill(name)
            else:
                stop(jobs.STOPPED[name], after)
        stop_on_s3()
        os.chdir(checkout)
        shutil.copytree(folder, target, ignore=shutil.ignore_patterns("vgg.pth"))


if __name__ == "__main__":
    main()
