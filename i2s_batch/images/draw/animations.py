"""Encodes animations and videos from single images, with one frame in memory at a time."""

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

# Returns the frame at an index: uint8 [H, W, 3].
Frames = Callable[[int], np.ndarray]


class _Animation(Image.Image):
    """Stands for an opened file of many frames, as Pillow's encoders expect it."""

    def __init__(self, frames: Frames, count: int) -> None:
        super().__init__()
        self._frames, self.n_frames, self.is_animated = frames, count, count > 1
        self._index = -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        if not 0 <= frame < self.n_frames:
            raise EOFError
        if frame != self._index:
            self._index = frame
            image = Image.fromarray(self._frames(frame))
            self._im, self._mode, self._size = image.im, image.mode, image.size

    def tell(self) -> int:
        return self._index


def check_animation(animation: str | None) -> None:
    """Raise ConfigError if this machine lacks the program that encodes `animation`."""
    if animation == "mp4" and shutil.which("ffmpeg") is None:
        raise ConfigError(
            "an MP4 is made by the program ffmpeg, which is not installed; install it, or choose webp or gif"
        )


def encode_animation(frames: Frames, count: int, animation: str, frames_per_second: float) -> bytes:
    """Return `count` frames as a file of the format `animation`, one of `config.ANIMATIONS`, that repeats for ever.

    Raises StorageError if ffmpeg fails.
    """
    if animation == "mp4":
        return _mp4(frames, count, frames_per_second)
    stream = io.BytesIO()
    duration = round(1000 / frames_per_second)
    options = {"quality": _QUALITY} if animation == "webp" else {}
    _Animation(frames, count).save(stream, animation.upper(), save_all=True, duration=duration, loop=0, **options)
    return stream.getvalue()


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory()
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"no video can be made without a temporary folder ({reason}); set TMPDIR to one") from error


def _mp4(frames: Frames, count: int, frames_per_second: float) -> bytes:
    height, width = frames(0).shape[:2]
    read = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(frames_per_second), "-i", "-"]
    # yuv420p is what every player shows; it needs even sides
    write = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-crf", _MP4_CRF, "-movflags", "+faststart"]
    with _temporary_folder() as folder:
        file = Path(folder, "video.mp4")
        command = ["ffmpeg", "-loglevel", "error", "-y", *read, *write, str(file)]
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors) as process,
        ):
            assert process.stdin is not None
            try:
                for index in range(count):
                    process.stdin.write(frames(index).tobytes())
                process.stdin.close()
            except BrokenPipeError:
                pass  # ffmpeg has ended; its reason is read below
            if process.wait():
                errors.seek(0)
                reason = " ".join(errors.read().decode(errors="replace").split())[-300:]
                raise StorageError(f"ffmpeg could not encode the video: {reason}")
        return file.read_bytes()
