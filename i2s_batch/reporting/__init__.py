"""Writes report.html: charts and figures of a table, on one page.

Comes in: a table, and the parts that its kind of run adds to the page. Goes out: one HTML file without scripts. It
never imports what the kinds of runs are.
"""
