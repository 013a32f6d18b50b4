"""A fixed set of results, computed in float64, and the program that compares them with those in this folder.

    python -m tests.hashes           compares; exit status 1 and one line for each difference
    python -m tests.hashes --write   computes the results again and writes `reference.npz` and `hashes.json`

It is for whoever moves code: a result stays the same. `hashes.json` names each result with the sha256 of its values, so
that a change of results can be read in the diff of a commit.

Hashes alone would not do. The last bits of a float64 result differ between CPUs, numbers of threads and versions of
PyTorch, and rounding before hashing only makes that rarer: a value on the boundary of two roundings still flips. So the
values are stored too (`reference.npz`), and where a hash differs the values decide (`comparison.py`):

- float64: equal within 1e-9 of the largest value of a latent, and of each figure;
- float32, which is what tables hold: equal within one unit in the last place beside that;
- uint8: one value of an image may differ by one level, since a pixel on a boundary may be rounded either way.

Measured with other kernels (ATEN_CPU_CAPABILITY=default in place of AVX-512, oneDNN off) and two threads in place of
one: seven of ten results were the same to the last bit, the latents of Adam were within 3e-15, those of L-BFGS within
5e-13, and no float32 value and no pixel differed. An error of 1e-13 flips one pixel in 1e10: one for an image is much.

Nothing else that may differ between machines takes part: networks and source images are files. Images are resized,
turned and damaged by Pillow, which has kept these operations the same to the bit so far.
"""
