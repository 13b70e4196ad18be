"""ArmoRM: 19 reward heads, weighted by a gate that reads the prompt.

The layout is that of RLHFlow/ArmoRM-Llama3-8B-v0.1, whose own code needs an older transformers. With h the hidden
states, t the token that ends the user's turn and e the last token (Wang et al. 2024, "Interpretable Preferences via
Multi-Objective Reward Modeling and Mixture-of-Experts"):
    r = W h_e          heads, `regression_layer`, no bias
    g = scale * softmax(MLP(h_t) / temperature)          `gating`, ReLU between its layers
    reward = g . (r T)          T is `reward_transform_matrix`, which removes the influence of length
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from transformers import LlamaModel, LlamaPreTrainedModel


class GatingNetwork(nn.Module):
    """Computes the weights of the heads, [batch, heads], from hidden states, [batch, hidden]."""

    def __init__(self, hidden: int, heads: int, *, temperature: float, width: int, depth: int) -> None:
        super().__init__()
        widths = [hidden, *[width] * depth, heads]
        self.layers = nn.ModuleList(nn.Linear(one, other) for one, other in pairwise(widths))
        self.logit_scale = nn.Parameter(torch.ones(1))
        self.temperature = temperature

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            hidden = layer(hidden).relu()
        return self.logit_scale * (self.layers[-1](hidden) / self.temperature).softmax(-1)


class ArmoRM(LlamaPreTrainedModel):
    """The network, with the parameter names of the published checkpoint."""

    # In bfloat16 a difference between responses would keep only two or three digits.
    _keep_in_fp32_modules_strict = ["regression_layer", "gating", "reward_transform_matrix"]  # noqa: RUF012, as transformers declares it

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        heads = getattr(config, "num_objectives", 19)
        self.model = LlamaModel(config)
        self.regression_layer = nn.Linear(config.hidden_size, heads, bias=False)
        self.reward_transform_matrix = nn.Parameter(torch.eye(heads), requires_grad=False)
        self.gating = GatingNetwork(
            config.hidden_size,
            heads,
            temperature=getattr(config, "gating_temperature", 10),
            width=getattr(config, "gating_hidden_dim", 1024),
            depth=getattr(config, "gating_n_hidden", 3),
        )
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
        """Returns rewards, [batch], of texts padded on the right. `turns`, [batch]: starts of the assistant's turns."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        rows, ends = torch.arange(len(input_ids), device=hidden.device), attention_mask.sum(-1) - 1
        heads = self.regression_layer(hidden[rows, ends]) @ self.reward_transform_matrix
        return (self.gating(hidden[rows, turns]) * heads).sum(-1)
