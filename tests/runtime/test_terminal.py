"""The live line through a real pseudo-terminal, seen as an eye would see it."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import termios
from collections.abc import Iterator

import numpy as np
import pytest

from i2s_batch.output.run_state import RunState
from i2s_batch.plurals import counted
from i2s_batch.run.progress import Progress
from i2s_batch.run.terminal import LiveLine, cut, duration, is_terminal, printable, show_stage


class Screen:
    """A terminal of a given width. Knows carriage return, new line and 'clear to the end', and no more."""

    def __init__(self, columns: int) -> None:
        self._master, self._slave = os.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = os.fdopen(self._slave, "w")
        self.columns = columns

    def lines(self) -> list[str]:
        """Everything written so far, as it stands on the screen; the last line holds the cursor."""
        os.set_blocking(self._master, False)
        text = b""
        while True:
            try:
                text += os.read(self._master, 65536)
            except BlockingIOError:
                break
        rows, column = [""], 0
        for part in re.findall(r"\r|\n|\x1b\[K|[^\r\n\x1b]+", text.decode()):
            if part == "\r":
                column = 0
            elif part == "\n":
                rows.append("")
            elif part == "\x1b[K":
                rows[-1] = rows[-1][:column]
            else:
                rows[-1] = rows[-1][:column] + part + rows[-1][column + len(part) :]
                column += len(part)
                assert column < self.columns, "the cursor never reaches the edge, where the line would wrap"
        return rows

    def hang_up(self) -> None:
        os.close(self._master)

    def close(self) -> None:
        self.stream.close()
        os.close(self._master)


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen(80)
    yield screen
    screen.close()


def test_one_line_is_redrawn_and_notes_scroll_above_it(screen: Screen) -> None:
    live = LiveLine(screen.stream)
    live("8 images")
    live.show("1/8 images done, 12.5 steps/s, 40 min left")
    live.show("2/8 images done")
    live("actor-0 died")
    live.show("3/8 images done")
    live.end()
    live.end()
    live("stopped")
    assert screen.lines() == ["8 images", "actor-0 died", "3/8 images done", "stopped", ""]


def test_the_line_is_cut_to_the_width(screen: Screen) -> None:
    long = "123456/1000000 images done (1234 failed), 1024 in flight, 7.5 h left, 51234.5 steps/s, 36888 images/h"
    live = LiveLine(screen.stream)
    live.show(long)
    assert screen.lines() == ["123456/1000000 images done (1234 failed), 1024 in flight, 7.5 h left"]
    fcntl.ioctl(screen.stream, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    screen.columns = 120
    live.show(long)
    assert screen.lines() == [long]
    assert (cut("a, b", 4), cut("a, b", 3), cut("abcdef", 3), cut("", 0)) == ("a, b", "a", "abc", "")


def test_a_terminal_that_does_not_know_its_width_is_80_wide() -> None:
    screen = Screen(0)
    screen.columns = 80
    LiveLine(screen.stream).show("x" * 200)
    assert screen.lines() == ["x" * 79]
    screen.close()


def test_a_terminal_that_has_gone_away_does_not_stop_the_run() -> None:
    screen = Screen(80)
    live = LiveLine(screen.stream)
    live.show("1/8")
    screen.hang_up()
    live.show("2/8")
    live("a note")
    live.end()
    with pytest.raises(OSError, match="Input/output"):
        screen.stream.close()


def test_progress_on_a_terminal_is_one_line_that_comes_to_rest(screen: Screen) -> None:
    state = RunState(
        done=np.zeros(8, bool), count_images=np.count_nonzero, logged={}, published=set(), checkpointed=set(), deaths={}
    )
    progress = Progress(state, steps=100, report=LiveLine(screen.stream))
    progress.phase("joining or starting the cluster")
    progress.started("actor-0")
    progress.phase("")
    progress.log("actor-0 died (out of memory); its 0 images resume elsewhere")
    before = screen.lines()
    assert before[0].startswith("actor-0 died") and before[1].endswith("0 in flight, loading the networks (0 s)")
    state.done[:] = True
    state.statuses.update(ok=7, unreadable=1)
    progress.end()
    assert screen.lines() == ["8/8 images done (1 failed), 0 s", ""]


def test_what_is_a_terminal(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert is_terminal(screen.stream) and not is_terminal(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not is_terminal(screen.stream)


def test_texts_of_strangers_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\u202eü 猫") == "a\\x1b[2Jb\\nc\\u202eü 猫"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h"), (200_000, "2.3 days")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_goes_before_the_first_image_is_wiped_away() -> None:
    screen = io.StringIO()
    live = LiveLine(screen)
    show_stage(live, "looking at SOURCE")
    live("a message")
    show_stage(live, "reading the networks")
    live.end()
    live.end()
    assert screen.getvalue() == (
        "\rlooking at SOURCE\x1b[K\r\x1b[Ka message\n\rlooking at SOURCE\x1b[K\rreading the networks\x1b[K\r\x1b[K"
    )
    live.show("3/3 images done")
    live.end()
    assert screen.getvalue().endswith("\r3/3 images done\x1b[K\n"), "what counts stays"
    said: list[str] = []
    show_stage(said.append, "looking at SOURCE")
    assert said == [], "a log gets no line"


def test_one_is_not_several() -> None:
    assert [counted(n, "worker") for n in (0, 1, 2)] == ["0 workers", "1 worker", "2 workers"]
    assert [counted(n, "image has", "images have") for n in (1, 3)] == ["1 image has", "3 images have"]
