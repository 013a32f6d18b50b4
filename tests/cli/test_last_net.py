"""What nobody foresaw: one line, status 70, a file for a report without a secret in it, and nothing lost."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from i2s_batch.api import verification
from i2s_batch.cli import bug_report, main
from i2s_batch.cli.bug_report import without_any_secret
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.errors import InternalError, RunFailedError
from i2s_batch.inversion.slots import Slots
from i2s_batch.table.shards import read_table
from tests.program import PROGRAM, changed, i2s_batch, refusal
from tests.runs import embed, job_over

PACKAGE = Path(__file__).parents[2] / "i2s_batch"
IMAGES = [f"{number:02d}.png" for number in range(5)]
SECRETS = {"AWS_SECRET_ACCESS_KEY": "s3cret/key+of-the-tests", "AWS_SESSION_TOKEN": "t0ken-of-the-session"}
URL = "https://user:pa55word@host/g.pkl?X-Amz-Signature=5ignature"

# A step of the worker, and what the driver does with a row, is a fault of ours.
_WORKER_BUG = f"""
import os
from i2s_batch.inversion.slots import Slots
advance, calls = Slots.advance, iter(range(int(os.environ["STEPS"])))
def broken(slots, full):
    if next(calls, None) is None:
        raise AttributeError("no attribute 'x' of {URL} with " + os.environ["AWS_SECRET_ACCESS_KEY"])
    advance(slots, full)
Slots.advance = broken
"""
_DRIVER_BUG = """
import os
from i2s_batch.run.assembly import Publisher
logged, calls = Publisher.logged, iter(range(int(os.environ["ROWS"])))
def broken(publisher, index):
    if next(calls, None) is None:
        raise ZeroDivisionError("division by zero")
    logged(publisher, index)
Publisher.logged = broken
"""


@pytest.fixture
def job(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRunRequest:
    return job_over(tmp_path, IMAGES, generator, vgg, EmbedRunConfig(embed=EmbedConfig(steps=8), batch_size=2))


def command(job: EmbedRunRequest) -> list[str]:
    words = ["embed", job.source, job.out, "--generator", job.generator, "--vgg", job.vgg, "--steps", "8"]
    return [*words, "--batch-size", "2", "--in-process"]


def reports(folder: Path) -> list[Path]:
    return list(folder.glob("i2s-batch-bug-*.txt"))


@pytest.mark.parametrize(
    ("code", "named", "error"),
    [
        (_WORKER_BUG, "worker local-0 failed with AttributeError: no attribute 'x' of https://host/g.pkl", "Attribute"),
        (_DRIVER_BUG, "ZeroDivisionError: division by zero, while carrying out i2s-batch embed", "ZeroDivision"),
    ],
)
def test_a_bug_is_one_line_and_a_file_and_loses_nothing(
    job: EmbedRunRequest, tmp_path: Path, code: str, named: str, error: str
) -> None:
    (folder := tmp_path / "tmp").mkdir()
    env = changed(tmp_path / "site", code) | SECRETS | {"TMPDIR": str(folder)}
    env |= {"STEPS": "12", "ROWS": "0"}  # an image, at the least, is done before it
    result = i2s_batch(*command(job), env=env)
    assert result.returncode == 70, result.stderr
    *_, line = result.stderr.splitlines()
    (report,) = reports(folder)
    assert line.startswith("i2s-batch: ") and named in line and str(report) in line and "Traceback" not in result.stderr
    text = report.read_text()
    assert f"{error}Error" in text and "Traceback (most recent call last)" in text and "torch     2" in text
    assert "sitecustomize.py" in text and f"embed {job.source}" in text and report.stat().st_mode & 0o077 == 0
    for secret in (*SECRETS.values(), "pa55word", "5ignature"):
        assert secret not in text and secret not in result.stderr
    if code is _WORKER_BUG:
        assert re.search(r"images that it held: '0\d\.png'", line)  # as many as were loaded by then
    done = len(list(Path(job.out).glob("work/rows/*/*.arrow")))
    assert 1 <= done < len(IMAGES) and not (Path(job.out) / "work/lease.json").exists()

    shown = i2s_batch(*command(job), "--debug", env=env | {"STEPS": "1", "ROWS": "0"})
    assert shown.returncode == 70 and "Traceback" in shown.stderr and len(reports(folder)) == 2
    assert not any(secret in shown.stderr for secret in (*SECRETS.values(), "pa55word", "5ignature"))
    embed(job)
    assert read_table(job.out)["status"].to_pylist() == ["ok"] * len(IMAGES)


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


def test_any_command_has_the_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(error: BaseException) -> tuple[int, str]:
        def broken(*_: object) -> None:
            raise error

        monkeypatch.setattr(verification, "verify", broken)
        status = leave("verify", str(tmp_path))
        return status, capsys.readouterr().err

    monkeypatch.setattr(bug_report.tempfile, "tempdir", str(tmp_path))
    for bug in (KeyError("x"), EOFError("x"), OSError(32, "Broken pipe"), RecursionError("x")):
        status, said = fails(bug)
        assert status == 70 and type(bug).__name__ in said and len(said.splitlines()) == 1, said
    assert len(reports(tmp_path)) == 4
    status, said = fails(InternalError("worker actor-3 failed", "Traceback of another machine"))
    assert status == 70 and any("of another machine" in path.read_text() for path in reports(tmp_path))

    assert fails(KeyboardInterrupt()) == (130, "i2s-batch: stopped\n")
    status, said = fails(MemoryError("cannot allocate 7 TiB"))
    assert status == 2 and "too little memory (cannot allocate 7 TiB)" in said
    assert len(reports(tmp_path)) == 5, "neither is a bug"

    monkeypatch.setenv("I2S_DEBUG", "1")
    assert "Traceback" in fails(KeyError("x"))[1]
    monkeypatch.setattr(bug_report.tempfile, "tempdir", str(tmp_path / "gone"))
    status, said = fails(KeyError("x"))
    assert status == 70 and "no file for a report could be written" in said


def test_a_reader_that_has_gone_is_no_bug(job: EmbedRunRequest, tmp_path: Path) -> None:
    """As of `| head`: the status is that of a program that SIGPIPE ended, and nothing is said."""
    embed(job)
    (folder := tmp_path / "tmp").mkdir()
    query = "SELECT a.range FROM range(1000000) a"
    words = [str(PROGRAM), "query", job.out, query, "--format", "csv"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"TMPDIR": str(folder)}
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141 and reports(folder) == []


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")]
)
def test_too_little_memory_is_no_bug(job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(slots: Slots, full: bool) -> None:
        raise error

    monkeypatch.setattr(Slots, "advance", broken)
    with pytest.raises(RunFailedError, match="too little memory for one image; run the same command again on a larger"):
        embed(job)


def test_bad_usage_and_debug(tmp_path: Path) -> None:
    line = refusal(i2s_batch("verify", tmp_path / "nowhere", "--debug"))
    assert "holds no output of i2s-batch" in line
    assert "--debug" in i2s_batch("edit", "morph", "--help").stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /x?token=abcdef failed", "GET /x?token=*** failed"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': '***'}"),
        ("aws_secret_access_key = abc/def", "aws_secret_access_key = ***"),
        ("key AKIAABCDEFGHIJKLMNOP used", "key *** used"),
        ("File '/a/tokens.py', line 3, in work", "File '/a/tokens.py', line 3, in work"),
    ],
)
def test_secrets_by_their_form(text: str, expected: str) -> None:
    assert without_any_secret(text) == expected


def test_there_are_two_broad_excepts_in_the_package() -> None:
    broad = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = {name.id for name in ast.walk(node.type or ast.Name("Exception")) if isinstance(name, ast.Name)}
                broad += [path.relative_to(PACKAGE).as_posix()] * bool(names & {"Exception", "BaseException"})
    assert broad == ["cli/__init__.py", "run/pools.py"]


def test_too_little_memory_in_a_worker_is_no_fault_of_ours(
    job: EmbedRunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Slots, full: bool) -> None:
        raise MemoryError("8 TiB")

    monkeypatch.setattr(Slots, "advance", full)
    with pytest.raises(RunFailedError, match=r"too little memory .*\(8 TiB\)"):
        embed(job)


def test_a_closed_standard_output_is_no_fault(tmp_path: Path) -> None:
    done = subprocess.run([f"{PROGRAM} --version >&-"], shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_output_without_room_is_one_line() -> None:
    done = subprocess.run([f"{PROGRAM} --help > /dev/full"], shell=True, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert "there is no room left to write to (OSError: [Errno 28] No space left on device); make some" in line


def test_a_folder_that_was_deleted_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        [f"rmdir ../gone; exec {PROGRAM} status out"],
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "gone",
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and "the current folder has been deleted; change to another one" in line
