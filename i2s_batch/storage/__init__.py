"""Local and S3 objects, the list of pictures, decoding, and the Parquet table. Imports nothing heavy."""
