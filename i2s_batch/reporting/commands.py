"""Lists what can be done with a run next: commands of this program that work when they are pasted."""

from __future__ import annotations

import shlex

from i2s_batch.reporting.facts import Facts
from i2s_batch.schema.columns import NOT_FAILED
from i2s_batch.schema.settings import EMBED


def next_commands(url: str, facts: Facts, resume: str | None) -> list[tuple[str, str]]:
    """Return titles and commands, quoted for a shell.

    Args:
        url: The path or url of the output.
        facts: The figures of its table.
        resume: The command that resumes the run; None where it is not known.
    """
    commands = []
    failed = facts.rows - sum(facts.statuses.get(status, 0) for status in NOT_FAILED)
    if failed and resume is not None:
        commands.append(("Try the failed images again", f"{resume} --retry-failed"))
    if failed:
        why = "SELECT status, image_id, error FROM latents WHERE error IS NOT NULL ORDER BY status, image_id"
        commands.append(("All images without a latent, with the reasons", _command("query", url, why)))
    if facts.is_edit:
        columns = "SELECT image_id, parents, strength, sequence, frame FROM latents ORDER BY image_id"
        commands.append(("The table", _command("query", url, columns)))
    else:
        worst = "SELECT image_id, psnr, loss, w_distance FROM latents WHERE psnr IS NOT NULL ORDER BY psnr LIMIT 20"
        commands.append(("The table, the worst images first", _command("query", url, worst)))
    done = next((ids[0] for ids in facts.picks.values()), None)
    if facts.settings.run.kind == EMBED and done is not None:
        commands.append(("The images whose latents are nearest to one", _command("neighbours", url, "--", done)))
        commands.append(("Every reconstruction as an image file", _command("render", url, f"{url}-rendered")))
    commands.append(("The latents as arrays of NumPy", _command("export", url, "latents.npz")))
    commands.append(("Check every row and file", _command("verify", url)))
    return [*commands, ("Write this report again", _command("report", url))]


def _command(*words: str) -> str:
    return shlex.join(["i2s-batch", *words])
