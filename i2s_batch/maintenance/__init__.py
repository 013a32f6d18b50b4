"""Works on a finished table as a whole: verification and merging.

Comes in: the OUT of finished runs. Goes out: findings, or a new table. It never imports how a run is carried out on a
cluster.
"""
