"""Muon (momentum orthogonalised by Newton-Schulz) in float32, matrices of one shape at a time.

torch.optim.Muon runs the same iteration in bfloat16, matrix by matrix: on CPUs without bfloat16 arithmetic that takes
longer than the model itself (0.9 s against 0.04 s a step for the tiny model, on two AVX2 cores).
"""

from __future__ import annotations

import torch


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.1):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape: dict[torch.Size, list] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for shape, same in by_shape.items():
                updates = []
                for p in same:
                    state = self.state[p]
                    momentum = state.setdefault("momentum", torch.zeros_like(p))
                    momentum.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(momentum, group["momentum"]))  # Nesterov
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for p, update in zip(same, orthogonalise(torch.stack(updates))):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def orthogonalise(g: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """Push the singular values of each matrix of `g` [n, rows, cols] towards one."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[1] > g.shape[2]
    x = g.mT if tall else g
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
