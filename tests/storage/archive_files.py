"""Archives and tables of images for tests, made by the programs that people use."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.options import AS_USUAL, SourceOptions
from i2s_batch.sources.source import list_images


def png(number: int, side: int = 8) -> bytes:
    """The bytes of an image of one colour, another for each number."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (number % 256, 40, 90)).save(file, "png")
    return file.getvalue()


def write_samples(folder: Path, count: int = 4) -> dict[str, bytes]:
    """Write x/000.png, x/000.json, x/000.txt, ... as img2dataset does; the images by their names."""
    (folder / "x").mkdir(parents=True)
    images = {f"x/{number:03d}.png": png(number) for number in range(count)}
    for number, (name, data) in enumerate(images.items()):
        path = folder / name
        path.write_bytes(data)
        values = {"caption": f"no {number}", "width": 8, "score": number / 4 if number else None}
        path.with_suffix(".json").write_text(json.dumps(values))
        path.with_suffix(".txt").write_text(f"no {number}\n")
    return images


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a program."""
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)


def tar_of(
    path: Path, members: Mapping[str, bytes] | Sequence[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT
) -> Path:
    """Write a tar with Python's tarfile, which allows names that programs refuse."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def listed(
    source: Path | str, options: SourceOptions = AS_USUAL, report: list[str] | None = None
) -> dict[str, dict[str, object]]:
    """The rows of SOURCE by their ids; of what is reported the lines go into `report`."""
    said: list[str] = [] if report is None else report
    rows = list_images(str(source), None, options, said.append).read().to_pylist()
    return {str(row.pop("image_id")): row for row in rows}


def contents(rows: Mapping[str, Mapping[str, object]]) -> dict[str, bytes]:
    """The bytes of every image."""
    return {image_id: read_bytes(str(row["uri"])) for image_id, row in rows.items()}
