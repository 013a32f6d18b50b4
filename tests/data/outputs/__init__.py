"""Small outputs of earlier versions, and the runs that they are outputs of."""
