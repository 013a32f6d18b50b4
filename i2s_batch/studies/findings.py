"""States the findings of a study, in two or three sentences with their numbers."""

from __future__ import annotations

from i2s_batch.studies.study import Results


def findings(results: Results) -> list[str]:
    """Return the findings as sentences; one that too many failed rows make impossible is left out."""
    sentences = [sentence for sentence in results.study.findings(results) if sentence]
    if results.failed:
        sentences.append(f"{results.failed} rows are not ok and are left out; the table has the reasons.")
    return sentences or ["There are no findings: no variant has an image in common with the one it is compared with."]
