"""The paper's experiments as values: which variants of pictures, and what their rows say. No files, no networks."""
