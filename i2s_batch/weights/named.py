"""Finds the file of published weights by their name: in a cache of this machine, else fetched into it once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from i2s_batch.errors import CheckpointError
from i2s_batch.storage.cache_folder import cache_folders, home
from i2s_batch.storage.downloads import OFFLINE, WebFetchError, cached_at, is_offline, keep, stage
from i2s_batch.storage.resumed_download import AS_USUAL, DownloadRules
from i2s_batch.weights.licences import is_accepted
from i2s_batch.weights.published import PublishedWeights

Check = Callable[[Path], object]


@dataclass(frozen=True)
class NamedFile:
    """Finds, fetches and keeps the file of one entry.

    Attributes:
        entry: The published weights.
        check: Reads a file before it is cached; raises CheckpointError for one that is not such weights.
        torch_hub: The folder of torch.hub, where weights of torchvision are kept; None for its default.
        rules: What a download may take.
    """

    entry: PublishedWeights
    check: Check
    torch_hub: Path | None = None
    rules: DownloadRules = AS_USUAL

    def present(self) -> Path | None:
        """Return the file if it is on this machine."""
        if self.entry.network == "vgg":
            of_torch = self._torch_folder() / self.entry.address.rpartition("/")[2]
            if of_torch.is_file():
                return of_torch
        return cached_at(self.entry.address, self.entry.sha256, self._folders())[0]

    def place(self) -> Path | None:
        """Return where the file would be cached; None on a machine without any folder for it."""
        return cached_at(self.entry.address, self.entry.sha256, self._folders())[1]

    def fetched(self) -> Path:
        """Return the file, fetched if it is not on this machine.

        Raises:
            CheckpointError: It may not, or cannot be fetched; the message says how to get it.
        """
        entry = self.entry
        if (found := self.present()) is not None:
            return found
        if entry.by_browser:
            raise CheckpointError(
                f"{entry.name}: the file is not here, and its server gives it to a browser only; open {entry.address} "
                f"({entry.page}), and then {self._by_hand()}"
            )
        if is_offline():
            raise CheckpointError(
                f"{entry.name}: the file is not here, and {OFFLINE} or --offline lets nothing be fetched; "
                f"{self._by_hand()}"
            )
        if not is_accepted(entry.licence):
            raise CheckpointError(
                f"{entry.name} is under the {entry.licence}; read it, and accept it once: "
                f"i2s-batch weights get {entry.name} --accept-licence"
            )
        try:
            return stage(entry.address, entry.sha256, self._folders(), check=self.check, rules=self.rules)
        except WebFetchError as error:
            raise CheckpointError(
                f"{entry.name}: {error}. If the address has moved, {entry.page} has the new one; {self._by_hand()}"
            ) from error

    def kept(self, file: Path) -> Path:
        """Return the cached file, a copy of a local one that was downloaded by other means.

        Raises:
            CheckpointError: It is not these weights.
        """
        return keep(file, self.entry.address, self.entry.sha256, self._folders(), check=self.check)

    def _by_hand(self) -> str:
        return f"keep a downloaded file with: i2s-batch weights get {self.entry.name} --from FILE"

    def _folders(self) -> list[Path]:
        of_torch = [self._torch_folder()] if self.entry.network == "vgg" else []
        return [*of_torch, *cache_folders()]

    def _torch_folder(self) -> Path:
        """Return the folder in which torchvision keeps its weights."""
        if self.torch_hub is not None:
            return self.torch_hub / "checkpoints"
        general = os.environ.get("XDG_CACHE_HOME") or (home() or Path("/nowhere")) / ".cache"
        return Path(os.environ.get("TORCH_HOME") or Path(general) / "torch") / "hub" / "checkpoints"
