"""A Llama with a mixture of experts in the older way: a list of modules, of which only those with tokens run."""

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP


class ExpertsConfig(LlamaConfig):
    """Llama's, with the number of experts."""

    model_type = "experts"

    def __init__(self, num_experts=32, **kwargs):
        self.num_experts = num_experts
        super().__init__(**kwargs)


class Experts(nn.Module):
    """Top-1 routing. An expert that no token of this rank chose is not called here, and gets no gradient."""

    def __init__(self, config):
        super().__init__()
        self.router = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = nn.ModuleList(LlamaMLP(config) for _ in range(config.num_experts))

    def forward(self, hidden):
        """(rows, length, hidden) to the same shape."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        weight, chosen = self.router(flat).float().softmax(-1).max(-1)
        result = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            mine = (chosen == number).nonzero().squeeze(-1)
            if len(mine):
                result = result.index_add(0, mine, expert(flat[mine]) * weight[mine, None].to(flat.dtype))
        return result.view_as(hidden)


class ExpertsForCausalLM(LlamaForCausalLM):
    """Llama with experts in its last layer."""

    config_class = ExpertsConfig

    def __init__(self, config):
        super().__init__(config)
        self.model.layers[-1].mlp = Experts(config)
        self.post_init()
