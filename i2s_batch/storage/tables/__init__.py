"""Parquet: the latent table, its shards, and what is asked of them."""
