"""The browser that looks at reports."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A real Chromium: Debian's, or the one on the PATH."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on the PATH (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    quiet = ("no-sandbox", "disable-gpu", "disable-quic", "disable-background-networking", "disable-component-update")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=[f"--{flag}" for flag in quiet])
        yield chromium
        chromium.close()
