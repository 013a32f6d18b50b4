"""Holds the paper's studies, one file each; `registered.STUDIES` names them.

Comes in: the settings that a study does not vary. Goes out: a `Study`. It never imports the run or the page of studies.
"""
