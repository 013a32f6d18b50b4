"""What a study found, in two or three sentences with their numbers."""

from __future__ import annotations

from i2s_batch.studies.study import Results


def findings(results: Results) -> list[str]:
    """Return the sentences; what cannot be said, because too many rows failed, is left out."""
    sentences = [sentence for sentence in results.study.findings(results) if sentence]
    if results.failed:
        sentences.append(f"{results.failed} rows are not ok and are left out; the table says why.")
    return sentences or ["Nothing can be said: no variant has a picture in common with the one it is compared with."]
