"""Learns once, for a generator, what makes its embeddings need fewer steps: curvature of the loss, start and prior.

Comes in: a generator, the perceptual network, and perhaps latents that are known already. Goes out: `Learned`
(`inversion.learned`). It needs torch and numpy alone, and never imports tables, runs or Ray.
"""
