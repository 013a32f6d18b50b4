"""Defines every column of every kind of run, and how rows become bytes.

Comes in: rows of a run, or the bytes of rows. Goes out: Arrow schemas, Arrow tables, Parquet files in memory. It
imports the standard library, numpy and pyarrow only: never a store, a network or a run.
"""
