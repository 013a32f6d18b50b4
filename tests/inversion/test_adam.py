from __future__ import annotations

import torch

from i2s_batch.inversion.adam import Adam


def test_equals_the_reference_optimiser_with_a_step_count_for_each_slot() -> None:
    torch.manual_seed(0)
    starts = torch.randn(2, 3, 4, dtype=torch.float64)
    gradients = torch.randn(7, 2, 3, 4, dtype=torch.float64)
    expected = []
    for slot, updates in enumerate((7, 4)):  # the second slot begins three updates later
        x = starts[slot].clone().requires_grad_()
        reference = torch.optim.Adam([x], lr=0.01, betas=(0.9, 0.999), eps=1e-8)
        for gradient in gradients[7 - updates :, slot]:
            x.grad = gradient.clone()
            reference.step()
        expected.append(x.detach())

    adam = Adam(0.01, 0.9, 0.999, 1e-8)
    x, m, v = starts.clone(), torch.zeros_like(starts), torch.zeros_like(starts)
    t = torch.zeros(2, dtype=torch.long)
    for number, gradient in enumerate(gradients):
        if number == 3:
            x[1], m[1], v[1], t[1] = starts[1], 0, 0, 0
        t = t + 1
        x, m, v = adam.update(x, gradient, m, v, t)
    torch.testing.assert_close(x, torch.stack(expected), rtol=0, atol=1e-14)
