"""What is done with a finished table: training data, files for other tools, neighbours, verification."""
