"""Writes the file that a bug report needs: the error, the command, and the versions. No secret enters it."""

from __future__ import annotations

import os
import platform
import re
import shlex
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime

from i2s_batch.diagnosis.versions import PACKAGES, installed
from i2s_batch.storage.urls import hide_secrets

# Names of environment variables whose values are secrets, and the shortest value that is worth hiding.
_SECRET_NAME = re.compile("KEY|SECRET|TOKEN|PASS|CREDENTIAL|SIGNATURE", re.IGNORECASE)
_LEAST_CHARACTERS = 6
_HIDDEN = "***"
# Secrets by their form: a value in a query, a value that is named as one, an access key of AWS.
_FORMS = (
    re.compile(r"([?&][\w.%-]+=)[^\s&'\"<>)]+"),
    re.compile(
        r"((?:authorization|password|passwd|secret|token|api[_-]?key|access[_-]?key)\w*['\"]?\s*[:=]\s*['\"]?)"
        r"(?:(?:basic|bearer)\s+)?[^\s'\",)}]+",
        re.IGNORECASE,
    ),
    re.compile(r"(\b)(?:AKIA|ASIA)[A-Z0-9]{12,}\b"),
)


def without_any_secret(text: str) -> str:
    """Return `text` without secrets: parts of URLs, keys, tokens, and passwords of the environment."""
    secrets = {value for name, value in os.environ.items() if _SECRET_NAME.search(name)}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _LEAST_CHARACTERS:
            text = text.replace(secret, _HIDDEN)
    text = hide_secrets(text)
    for form in _FORMS:
        text = form.sub(rf"\g<1>{_HIDDEN}", text)
    return text


def write_bug_report(what: str, details: str, command: Sequence[str]) -> str:
    """Write a report into the folder for temporary files, readable by the user only, and return its path.

    Args:
        what: The error, in one line.
        details: The traceback.
        command: The words of the command line.

    Raises:
        OSError: The file cannot be written.
    """
    now = datetime.now(UTC)
    descriptor, path = tempfile.mkstemp(prefix=f"i2s-batch-bug-{now:%Y%m%d-%H%M%S}-", suffix=".txt")
    lines = [
        what,
        "",
        f"when      {now.isoformat(timespec='seconds')}",
        f"command   {shlex.join(['i2s-batch', *command])}",
        f"system    {platform.platform()}, Python {platform.python_version()}",
        *(f"{name:9} {installed(name)}" for name in PACKAGES),
        "",
        details,
    ]
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(without_any_secret("\n".join(lines)))
    return path
