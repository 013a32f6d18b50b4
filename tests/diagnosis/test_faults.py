"""What the doctor says of a machine with a fault: each is planted, and one line names it and what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2s_batch.config import EmbedRunConfig
from i2s_batch.diagnosis.apart import ApartError, call_apart
from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.device_probe import Device, Devices
from i2s_batch.diagnosis.devices import cards, findings
from i2s_batch.diagnosis.examination import examine, what_is_wrong
from i2s_batch.diagnosis.findings import FAIL, OK, Finding
from i2s_batch.diagnosis.limits import read_limits
from i2s_batch.diagnosis.probing import missing_features
from i2s_batch.errors import I2SError
from i2s_batch.storage import open_store
from tests.conftest import S3Server
from tests.diagnosis.servers import worse_store
from tests.material import draw_pictures, open_to_others, without_power

GIB = 1 << 30


def found(group: str, known: Known | None = None, **asked: object) -> list[Finding]:
    """Return the findings of one group of checks."""
    config = asked.pop("config", EmbedRunConfig())
    what = Asked(config, **asked)  # type: ignore[arg-type]
    (section,) = examine(what, known or Known(), lambda check: check.name == group)
    return list(section.findings)


def wrong(group: str, known: Known | None = None, **asked: object) -> Finding:
    """Return the only finding of a group that something is wrong."""
    (one,) = [each for each in found(group, known, **asked) if each.state != OK]
    return one


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def written(root: Path, **files: str) -> Path:
    """Write files below `root`; in their names `__` stands for a slash and `_dot_` for a dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


# Cores and memory


def test_cores_that_a_cgroup_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    memory = f"MemTotal: {64 << 20} kB\nMemAvailable: {32 << 20} kB\n"
    root = written(tmp_path, proc__self__cgroup="0::/pod/box\n", proc__meminfo=memory)
    written(root, sys__fs__cgroup__pod__cpu_dot_max="250000 100000\n", sys__fs__cgroup__pod__box__cpu_dot_max="max 1\n")
    one = wrong("machine", root=str(root))
    assert one.line == (
        "cores: 2.5 of 64 cores, limited by a cgroup, and PyTorch starts a thread for each of 16; "
        "set OMP_NUM_THREADS=2 and give --actors 2, or raise the limit (docker run --cpus)"
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [each.state for each in found("machine", root=str(root))] == [OK, OK]


def test_limits_of_the_first_version_of_cgroups_and_of_nested_ones(tmp_path: Path) -> None:
    lines = "4:memory:/a/b\n3:cpu,cpuacct:/a\n1:name=systemd:/\n"
    root = written(tmp_path, proc__self__cgroup=lines, proc__meminfo=f"MemTotal: {16 << 20} kB\n")
    folder = root / "sys/fs/cgroup"
    for path, limit in (("memory/a/b", 8 * GIB), ("memory/a", 4 * GIB), ("memory", 1 << 62)):
        (folder / path).mkdir(parents=True, exist_ok=True)
        (folder / path / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (folder / path / "memory.usage_in_bytes").write_text(f"{3 * GIB}\n")
    (folder / "memory/a/memory.stat").write_text(f"cache 1\ntotal_inactive_file {GIB}\n")
    (folder / "cpu,cpuacct/a").mkdir(parents=True)
    (folder / "cpu,cpuacct/a/cpu.cfs_quota_us").write_text("50000\n")
    (folder / "cpu,cpuacct/a/cpu.cfs_period_us").write_text("100000\n")
    limits = read_limits(root)
    assert (limits.quota_cores, limits.cores) == (0.5, 0.5)
    assert (limits.memory_bytes, limits.free_bytes, limits.is_limited) == (4 * GIB, 2 * GIB, True)


def test_memory_that_is_not_enough_for_a_worker(tmp_path: Path) -> None:
    memory = f"MemTotal: {64 << 20} kB\nMemAvailable: {32 << 20} kB\n"
    root = written(tmp_path, proc__self__cgroup="0::/\n", proc__meminfo=memory)
    written(root, sys__fs__cgroup__memory_dot_max=str(GIB), sys__fs__cgroup__memory_dot_current=str(GIB // 2))
    one = wrong("machine", root=str(root))
    assert one.state == FAIL and "512.0 MiB free of 1.0 GiB, limited by a cgroup" in one.line


def test_this_machine_has_cores_and_memory() -> None:
    limits = read_limits()
    assert 0 < limits.cores <= limits.machine_cores
    assert limits.memory_bytes and limits.free_bytes and 0 < limits.free_bytes <= limits.memory_bytes


# Software


def test_a_machine_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    one = wrong("compiler")
    assert one.line.startswith(
        "C++ compiler: none was found (CXX, g++, c++, clang++); install one, such as the package"
    )


@pytest.mark.parametrize(("needs", "state"), [("torch==1.13.1", FAIL), ("torch (>=99.0)", FAIL), ("torch>=2", OK)])
def test_a_torchvision_of_another_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs: str, state: str
) -> None:
    folder = tmp_path / "torchvision-0.14.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Name: torchvision\nVersion: 0.14.1\nRequires-Dist: numpy\nRequires-Dist: {needs}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (one,) = [each for each in found("versions") if each.name == "torchvision"]
    assert one.state == state
    if state == FAIL:
        assert "0.14.1 is for torch" in one.line and "pip install --upgrade torch torchvision" in one.line


NO_GPU = Devices("13.0", "", "RuntimeError: Found no NVIDIA driver on your system", (), "", "")
SOUND = Device("some GPU", 80 * GIB, 79 * GIB, "")


def test_gpus_that_are_there_and_cannot_be_used(tmp_path: Path) -> None:
    """One line each: where Ray counts a GPU, where one is asked for, where a card is in the machine, where none is."""
    config = EmbedRunConfig()
    cases = [
        (Asked(config, gpus=1), 0, FAIL, "Ray counts 1 GPU here, PyTorch can use none"),
        (Asked(EmbedRunConfig(device="cuda")), 0, FAIL, "--device cuda, and none can be used"),
        (Asked(config), 1, "warn", "1 NVIDIA card on the bus"),
        (Asked(config), 0, OK, "none; PyTorch is built for CUDA 13.0"),
    ]
    for asked, present, state, text in cases:
        gpu, cpu = findings(NO_GPU, asked, present)
        assert (gpu.state, cpu.state) == (state, OK) and text in gpu.line
        assert state == OK or ("Found no NVIDIA driver" in gpu.line and "install NVIDIA's driver" in gpu.line)
    for number, (vendor, kind) in enumerate((("0x10de", "0x030200"), ("0x10de", "0x040300"), ("0x8086", "0x030000"))):
        folder = tmp_path / "sys/bus/pci/devices" / str(number)
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")
    assert cards(tmp_path) == 1


def test_a_gpu_without_kernels_one_that_is_full_and_a_torchvision_that_breaks() -> None:
    broken = Device("old GPU", 8 * GIB, 8 * GIB, "RuntimeError: no kernel image is available")
    full = Device("busy GPU", 80 * GIB, 2 * GIB, "")
    seen = Devices(
        "13.0", "590.1", "", (SOUND, broken, full), "", "RuntimeError: operator torchvision::nms does not exist"
    )
    lines = {each.name: each for each in findings(seen, Asked(EmbedRunConfig(), gpus=4), 3)}
    assert [lines[name].state for name in ("GPU 0", "GPU 1", "GPU 2")] == [OK, FAIL, "warn"]
    assert "no kernel image" in lines["GPU 1"].line and "driver 590.1" in lines["GPU 0"].line
    assert lines["GPUs"].line.startswith("GPUs: Ray counts 4 GPUs here, PyTorch sees 3")
    assert lines["torchvision"].state == FAIL and "nms" in lines["torchvision"].line


def test_a_process_that_dies_is_a_finding() -> None:
    with pytest.raises(ApartError, match=r"died \(signal 9\)"):
        call_apart(signal.raise_signal, signal.SIGKILL, limit_s=60)


# Folders


@pytest.fixture
def full_folder(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory without any room."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here ({mounted.stderr})")
    try:
        (folder / "rest").write_bytes(bytes(64 << 10))
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_tmpdir(full_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(full_folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    one = wrong("folders")
    assert one.line == (
        f"TMPDIR: {full_folder}: No space left on device; make room there, or set TMPDIR to another folder; until then "
        "/tmp is used"
    )
    assert what_is_wrong(Asked(EmbedRunConfig())) == [one], "each run begins with it"
    assert names_in(full_folder) == ["rest"]


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    one = wrong("folders", generator="https://host/g.pkl")
    assert one.line.startswith("HOME: /nonexistent: it does not exist; set HOME or I2S_CACHE; until then weights are")
    (home,) = [each for each in found("folders") if each.name == "HOME"]
    assert home.state == OK, "nothing is fetched"


# OUT


def test_an_out_that_cannot_be_written(tmp_path: Path) -> None:
    open_to_others(tmp_path)
    tmp_path.chmod(0o555)
    with without_power():
        one = wrong("output", out=str(tmp_path / "out"))
    assert one.state == FAIL and "permission denied; change its permissions or choose another path" in one.line
    assert names_in(tmp_path) == []


def test_an_out_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    states = {each.name: each.state for each in found("output", out=str(tmp_path / "some" / "where"))}
    assert states == dict.fromkeys(("writing", "room", "locks and links", "content"), OK)
    assert names_in(tmp_path) == [] and missing_features(tmp_path) == []


@pytest.mark.slow
def test_a_store_that_is_sound_is_left_as_it_was(s3_bucket: str) -> None:
    out = f"s3://{s3_bucket}/some/where"
    open_store(out).put("before", b"1")
    seen = found("output", out=out)
    assert [(each.name, each.state) for each in seen] == [
        (name, OK) for name in ("clock", "writing", "reading", "content")
    ]
    assert [info.key for info in open_store(f"s3://{s3_bucket}").list()] == ["some/where/before"]
    assert "AWS_MAX_ATTEMPTS" not in os.environ


@pytest.mark.slow
def test_a_wrong_key(s3_with_auth: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3_with_auth.new_bucket()
    for name, value in (s3_with_auth.env | {"AWS_SECRET_ACCESS_KEY": "another-secret-key"}).items():
        monkeypatch.setenv(name, value)
    one = wrong("output", out=f"s3://{bucket}/out")
    assert one.state == FAIL and "the secret key is wrong; check AWS_ACCESS_KEY_ID" in one.line
    assert "another-secret-key" not in one.line


@pytest.mark.slow
def test_a_store_without_conditional_writes(s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with worse_store(s3.endpoint, has_conditions=False) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        one = wrong("output", out=f"s3://{s3_bucket}/out")
        assert one.state == FAIL and "ignores conditional writes" in one.line and "If-None-Match" in one.line
        assert list(open_store(f"s3://{s3_bucket}").list()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift_s", "state", "text"),
    [(-7200, FAIL, "2.0 h ahead of"), (400, "warn", "7 min behind"), (20, OK, "s behind")],
)
def test_a_clock_that_is_off(
    s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, shift_s: float, state: str, text: str
) -> None:
    with worse_store(s3.endpoint, shift_s=shift_s) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        (clock,) = [each for each in found("output", out=f"s3://{s3_bucket}/out") if each.name == "clock"]
    assert clock.state == state and text in clock.line
    assert state == OK or "set it" in clock.line


# SOURCE and networks


def test_a_folder_of_texts(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text("a caption")
    one = wrong("source", source=str(tmp_path))
    assert one.state == FAIL
    assert one.line.startswith("decoding: none of 20 sampled files is an image (00.txt: ")
    assert one.line.endswith(
        "; and 17 more); give the folder that holds the images, or choose them with --include '*.jpg'"
    )


def test_a_folder_with_some_bad_files_and_one_that_does_not_exist(tmp_path: Path) -> None:
    draw_pictures(tmp_path)
    known = Known()
    one = wrong("source", known, source=str(tmp_path))
    assert one.state == "warn" and "of 20 sampled files decoded" in one.line and "bad/" in one.line
    assert known.images is not None and known.images.num_rows == 26
    assert wrong("source", source=str(tmp_path / "gone")).state == FAIL


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", None])
def test_a_broken_checkpoint(tmp_path: Path, generator: Path, vgg: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(generator.read_bytes()[:5000] if content is None else content)
    known = Known()
    sections = {
        each.name: each
        for each in examine(
            Asked(EmbedRunConfig(), generator=str(path), vgg=str(vgg)),
            known,
            lambda check: check.name in ("networks", "speed"),
        )
    }
    (one,) = [each for each in sections["networks"].findings if each.state == FAIL]
    assert one.name == "generator" and str(path) in one.line
    (speed,) = sections["speed"].findings
    assert speed.state == "warn" and "it needs what failed above (Networks)" in speed.line
    assert known.failed == {"networks"} and known.vgg is not None


def test_a_check_that_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(asked: Asked, known: Known) -> Iterator[Finding]:
        raise I2SError("the disk has melted; buy another")

    monkeypatch.setattr("i2s_batch.diagnosis.machine.check", refuse)
    assert wrong("machine").line == "machine: the disk has melted; buy another"
