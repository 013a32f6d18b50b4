"""Is the process that finds faces: `python -m i2s_batch.images.align.detector_process DESCRIPTOR MODEL`.

It reads images from the socket of that descriptor and answers each, until the other side has ended.
"""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from i2s_batch.images.align.center_face import find_faces, open_model
from i2s_batch.images.align.messages import FoundFace, Reply, receive_image, send_reply


def main(descriptor: int, model: str) -> None:
    """Answer until the other side has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then ends this process
    with socket.socket(fileno=descriptor) as channel:
        session = open_model(Path(model).read_bytes())
        send_reply(channel, Reply([]))
        while True:
            try:
                pixels = receive_image(channel)
            except (EOFError, ConnectionError):
                return
            faces = find_faces(session, pixels)
            send_reply(channel, Reply([FoundFace(face.points.tolist(), face.score) for face in faces]))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
