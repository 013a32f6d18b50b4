"""Defines what the detector's process and the program send each other: pixels there, faces back."""

from __future__ import annotations

import json
import math
import socket
import struct
from dataclasses import dataclass

import numpy as np

_SIZE = struct.Struct("!II")
_LENGTH = struct.Struct("!I")
_MOST_BYTES = 1 << 26
_POINTS = 5


@dataclass(frozen=True)
class FoundFace:
    """Holds the five points of a face, each (x, y) in pixels of the image that was sent, and the score, 0 to 1."""

    points: list[list[float]]
    score: float


@dataclass(frozen=True)
class Reply:
    """Holds the faces of an image, the largest first, or why there is no answer."""

    faces: list[FoundFace]
    error: str = ""


class NonsenseError(ValueError):
    """Reports a message that is none."""


def send_image(channel: socket.socket, pixels: np.ndarray) -> None:
    """Send an image, uint8 [H, W, 3]."""
    channel.sendall(_SIZE.pack(*pixels.shape[:2]) + np.ascontiguousarray(pixels).tobytes())


def receive_image(channel: socket.socket) -> np.ndarray:
    """Return the next image; EOFError if none comes."""
    height, width = _SIZE.unpack(_exactly(channel, _SIZE.size))
    return np.frombuffer(_exactly(channel, height * width * 3), np.uint8).reshape(height, width, 3)


def send_reply(channel: socket.socket, reply: Reply) -> None:
    """Send what was found."""
    faces = [{"points": face.points, "score": face.score} for face in reply.faces]
    content = json.dumps({"faces": faces, "error": reply.error}).encode()
    channel.sendall(_LENGTH.pack(len(content)) + content)


def receive_reply(channel: socket.socket) -> Reply:
    """Return the next reply.

    Raises:
        EOFError: The other side has ended.
        NonsenseError: What came is no reply.
    """
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    if length > _MOST_BYTES:
        raise NonsenseError(f"a reply of {length} bytes")
    try:
        value = json.loads(_exactly(channel, length))
        faces = [FoundFace(_points(face["points"]), float(face["score"])) for face in value["faces"]]
        return Reply(faces, str(value["error"]))
    except (ValueError, KeyError, TypeError) as error:
        raise NonsenseError(f"a reply that cannot be read: {error!r}") from error


def _points(values: list[list[float]]) -> list[list[float]]:
    points = [[float(x), float(y)] for x, y in values]
    if len(points) != _POINTS or not all(math.isfinite(number) for point in points for number in point):
        raise ValueError(f"{len(points)} points, or one that is not finite")
    return points


def _exactly(channel: socket.socket, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        part = channel.recv(min(1 << 20, count - len(content)))
        if not part:
            raise EOFError("the other side has ended")
        content += part
    return bytes(content)
