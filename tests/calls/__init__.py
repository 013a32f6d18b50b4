"""What calls what in the package, read from its syntax trees; `tests.structure` counts with it."""
