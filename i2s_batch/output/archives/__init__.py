"""Writes and reads archives of rendered images: one for each shard of the table, with the images of its rows.

    pictures/shard-00000.tar       a WebDataset: key.png and key.json of each image
    pictures/shard-00000.parquet   a row for each image, with a column `image` that Hugging Face datasets show

`registered.ARCHIVES` names the formats. While a run is under way, the images of finished units wait in the work log
(`image_log`), as their rows do; `writing` puts those of a whole shard into its archive, which then appears whole,
before the shard of the table that lists them. `reading` returns an image by its key, wherever a run keeps it.
"""
