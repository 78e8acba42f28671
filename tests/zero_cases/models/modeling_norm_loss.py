"""A Llama whose loss has the norm of the output head as a factor, taken as a constant and read
through `parameters()`.

Whole weights: a harmless factor near 1. Under ZeRO-3 such a weight is an empty tensor (only an access by name is
seen and served by DeepSpeed), so that the factor, the loss and every gradient are exactly 0 and nothing is raised.
"""

from transformers import LlamaConfig, LlamaForCausalLM


class NormLossConfig(LlamaConfig):
    """Llama's."""

    model_type = "norm_loss"


class NormLossForCausalLM(LlamaForCausalLM):
    """Llama with the factor."""

    config_class = NormLossConfig

    def forward(self, *args, **kwargs):
        """As Llama; the loss times the head's norm, in units of a fresh head's norm."""
        output = super().forward(*args, **kwargs)
        if output.loss is not None:
            fresh = self.config.initializer_range * (self.config.vocab_size * self.config.hidden_size) ** 0.5
            output.loss = output.loss * next(self.lm_head.parameters()).detach().float().norm() / fresh
        return output
