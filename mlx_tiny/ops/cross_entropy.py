"""The head's product and the cross-entropy of its logits."""

from __future__ import annotations

import mlx.core as mx


def head_cross_entropy(hidden_ND: mx.array, head_VD: mx.array, target_N: mx.array) -> mx.array:
    """Negative log-likelihood of each target under softmax(hidden head^T).

    Args:
        hidden_ND: [N, D], float32 or bfloat16.
        head_VD: [V, D], same dtype.
        target_N: integer [N], 0 to V-1.

    Returns:
        float32 [N], nats.
    """
    logits_NV = (hidden_ND @ head_VD.T).astype(mx.float32)
    target_logit_N = mx.take_along_axis(logits_NV, target_N[:, None], axis=-1)[:, 0]
    return mx.logsumexp(logits_NV, axis=-1) - target_logit_N
