"""Two thousand pictures over two actors: nothing grows with their number."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.output.layout import RunLayout
from tests.faults.drivers import Driver
from tests.faults.rays import OnRay, machines, updates
from tests.material import scene
from tests.runtime.checks import check_table

IMAGES, SHARD, SLOTS, ACTORS = 2000, 100, 4, 2
CONFIG = EmbedRunConfig(
    embed=EmbedConfig(steps=60),
    batch_size=SLOTS,
    shard_size=SHARD,
    checkpoint_every_s=5.0,
    actors=ACTORS,
    device="cpu",
)
EVERY_S = 1.0
WARM = 0.2  # of the updates: until then, what a process needs once is still coming in
GROWTH_LIMIT = 20e6  # bytes that a process may hold more at the end than after warming up


@dataclass
class Process:
    """What a process of the run held, at each look."""

    made: list[int] = field(default_factory=list)  # updates by all workers until then
    memory: list[int] = field(default_factory=list)  # bytes
    files: list[int] = field(default_factory=list)

    def look(self, pid: int, made: int) -> None:
        """Note what it holds now, unless it has ended."""
        try:
            memory = int((Path("/proc") / str(pid) / "statm").read_text().split()[1]) * 4096
            files = len(list((Path("/proc") / str(pid) / "fd").iterdir()))
        except OSError:
            return
        if memory:  # one that is ending holds none
            self.made.append(made)
            self.memory.append(memory)
            self.files.append(files)

    def slope(self) -> float:
        """Bytes more for each update, of the line through all looks after warming up."""
        warm = np.array(self.made) > WARM * IMAGES * CONFIG.embed.steps
        return float(np.polyfit(np.array(self.made)[warm], np.array(self.memory)[warm], 1)[0])

    def files_open(self) -> tuple[int, int]:
        """Fewest and most open files after warming up."""
        warm = [n for n, made in zip(self.files, self.made, strict=True) if made > WARM * IMAGES * CONFIG.embed.steps]
        return min(warm), max(warm)


@pytest.mark.timeout(3000)
def test_two_thousand_pictures_and_nothing_grows(tmp_path: Path, generator: Path, vgg: Path, long_faults: bool) -> None:
    if not long_faults:
        pytest.skip("with --faults long")
    source, counts = tmp_path / "in", tmp_path / "counts"
    source.mkdir()
    counts.mkdir()
    names = {f"{number:04d}.png" for number in range(IMAGES)}
    for name in names:
        scene(int(name[:4]), (40, 40)).save(source / name)
    job = EmbedRunRequest(str(source), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)
    seen: dict[int, Process] = {}
    logged, times = [], []
    with machines(tmp_path, nodes=ACTORS) as cluster:
        driver = Driver(job, on=OnRay(cluster.env | {"RAY_ADDRESS": cluster.address}, str(counts)))
        while driver.process.is_alive():
            driver.process.join(EVERY_S)
            made = updates(counts)
            times.append((time.monotonic(), made))
            logged.append(sum(1 for _ in Path(job.out, RunLayout.all_rows_prefix).rglob("*.arrow")))
            for pid in [driver.process.pid, *cluster.actors()]:
                seen.setdefault(pid, Process()).look(pid, made)
    assert driver.error == "" and driver.process.exitcode == 0
    check_table(job.out, names, generator, bad=set())
    assert len(seen) == 1 + ACTORS, "no actor died"
    total = IMAGES * CONFIG.embed.steps
    assert updates(counts) == total
    for process in seen.values():
        grown = process.slope() * (1 - WARM) * total
        first, last = process.memory[0], process.memory[-1]
        print(
            f"{first / 1e6:.0f} to {last / 1e6:.0f} MB, {grown / 1e6:+.1f} MB by the line, files", process.files_open()
        )
        assert grown < GROWTH_LIMIT
        fewest, most = process.files_open()
        assert most - fewest <= 2 * SLOTS
    rates = [rate(times, share * total, (share + 0.2) * total) for share in (0.2, 0.4, 0.6, 0.8)]
    print("steps/s by fifths, from the second:", [round(each, 1) for each in rates], "rows in the log:", max(logged))
    assert max(logged) <= 2 * SHARD + ACTORS * SLOTS


def rate(times: list[tuple[float, int]], start: float, stop: float) -> float:
    """Updates a second between `start` and `stop` updates."""
    within = [(at, made) for at, made in times if start <= made < stop]
    (began, first), (ended, last) = within[0], within[-1]
    return (last - first) / (ended - began)
