"""Films from single pictures; one frame at a time is in memory."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from i2s_batch.errors import ConfigError, StorageError

_QUALITY = 90
_MP4_CRF = "18"  # visually lossless

# The picture of a place in the film: uint8 [H, W, 3].
Frames = Callable[[int], np.ndarray]


class _Film(Image.Image):
    """What Pillow's encoders take for an opened file of many frames."""

    def __init__(self, frames: Frames, count: int) -> None:
        super().__init__()
        self._frames, self.n_frames, self.is_animated = frames, count, count > 1
        self._place = -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        if not 0 <= frame < self.n_frames:
            raise EOFError
        if frame != self._place:
            self._place = frame
            picture = Image.fromarray(self._frames(frame))
            self._im, self._mode, self._size = picture.im, picture.mode, picture.size

    def tell(self) -> int:
        return self._place


def check_animation(animation: str | None) -> None:
    """Raise ConfigError if films of this kind cannot be made on this machine."""
    if animation == "mp4" and shutil.which("ffmpeg") is None:
        raise ConfigError(
            "an MP4 is made by the program ffmpeg, which is not installed; install it, or choose webp or gif"
        )


def encode_animation(frames: Frames, count: int, animation: str, frames_per_second: float) -> bytes:
    """A film of `count` frames as a file of the kind `animation`, of `config.ANIMATIONS`; it is repeated for ever.

    Raises StorageError if ffmpeg fails.
    """
    if animation == "mp4":
        return _mp4(frames, count, frames_per_second)
    stream = io.BytesIO()
    duration = round(1000 / frames_per_second)
    options = {"quality": _QUALITY} if animation == "webp" else {}
    _Film(frames, count).save(stream, animation.upper(), save_all=True, duration=duration, loop=0, **options)
    return stream.getvalue()


def _mp4(frames: Frames, count: int, frames_per_second: float) -> bytes:
    height, width = frames(0).shape[:2]
    read = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(frames_per_second), "-i", "-"]
    # yuv420p is what every player shows; it needs even sides
    write = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-crf", _MP4_CRF, "-movflags", "+faststart"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "film.mp4")
        command = ["ffmpeg", "-loglevel", "error", "-y", *read, *write, str(file)]
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors) as process,
        ):
            assert process.stdin is not None
            try:
                for place in range(count):
                    process.stdin.write(frames(place).tobytes())
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended; why follows
            if process.wait():
                errors.seek(0)
                reason = " ".join(errors.read().decode(errors="replace").split())[-300:]
                raise StorageError(f"ffmpeg could not make the film: {reason}")
        return file.read_bytes()
