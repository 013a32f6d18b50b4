"""What Arrow's threads hold when the process ends."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import i2s_batch

CODE = """
import atexit, io, threading, time
atexit.register(lambda: print("left:", arrow_files.count_lent()))  # runs last, as it is registered first
from i2s_batch.parquet import arrow_files

def hold(file):
    threading.main_thread().join()  # the file is held until the process begins to end
    time.sleep(0.3)

threading.Thread(target=hold, args=[arrow_files.lent_to_arrow(io.BytesIO())], daemon=True).start()
print("held:", arrow_files.count_lent())
"""


def test_a_process_ends_when_the_files_of_its_threads_are_free() -> None:
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n") == ["held: 1", "left: 0", ""]


def test_bytes_are_never_given_to_arrow_s_threads() -> None:
    """These read on threads of Arrow's own, which aborted one process of thirty that ended at once."""
    package = Path(i2s_batch.__file__).parent
    sources = {path.relative_to(package): path.read_text() for path in package.rglob("*.py")}
    assert len(sources) > 100
    assert [
        path for path, text in sources.items() if re.search(r"\b(pq\.read_table|csv\.(read|open)_csv)\(", text)
    ] == []
