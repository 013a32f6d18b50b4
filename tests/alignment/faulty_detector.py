"""A detector's process that does what the first pixel of an image tells: find a face, none, crash, hang, fail."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from i2s_batch.images.align.messages import FoundFace, Reply, receive_image, send_reply

FACE, TWO_FACES, NO_FACE, CRASH, HANG, NONSENSE, FAIL = 10, 20, 30, 40, 50, 60, 70
# The points of the first face in every image, of the second beside it.
POINTS = [[20.0, 20.0], [36.0, 20.0], [28.0, 28.0], [22.0, 36.0], [34.0, 36.0]]


def answer(channel: socket.socket, told: int) -> None:
    if told == CRASH:
        os.kill(os.getpid(), signal.SIGSEGV)
    if told == HANG:
        time.sleep(60)
    if told == NONSENSE:
        channel.sendall(b"\0\0\0\2{]")
        return
    if told == FAIL:
        raise ValueError("a fault")
    faces = [FoundFace(POINTS, 0.9)] if told in (FACE, TWO_FACES) else []
    if told == TWO_FACES:
        faces.append(FoundFace([[x + 20, y] for x, y in POINTS], 0.8))
    send_reply(channel, Reply(faces))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as other:
        send_reply(other, Reply([]))
        while True:
            try:
                image = receive_image(other)
            except EOFError:
                break
            answer(other, int(image[0, 0, 0]))
