"""Reads and sorts Parquet files larger than memory: opening, row groups, external sort.

Comes in: keys of a store, streams of Arrow tables. Goes out: Arrow tables, some rows at a time. It never imports what
the columns mean (`schema`) or where files lie under OUT (`output`).
"""
