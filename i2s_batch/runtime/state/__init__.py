"""What a run keeps under OUT: what it is, its plan, who may write, what is done, and the way into the table."""
