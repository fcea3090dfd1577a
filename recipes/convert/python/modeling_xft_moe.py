"""XFT's mixture of experts (arXiv 2404.15247) on transformers' Llama: AutoModelForCausalLM.from_pretrained(folder,
trust_remote_code=True).

With p = softmax(z(x)) over the routed experts and s = max p, a layer's output is

    (1 - s) * shared(x) + sum over the likeliest: s * softmax(p of the likeliest)[i] * expert[i](x)

so that all gates sum to 1, and equal experts are the dense network.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaForCausalLM, LlamaMLP, LlamaModel

from .configuration_xft_moe import XftMoeConfig


class XftMoeRouter(nn.Module):
    """One logit for each routed expert; in training also what noise makes of it, and the noise's deviation."""

    def __init__(self, config: XftMoeConfig):
        super().__init__()
        routed, hidden = config.num_experts - 1, config.hidden_size
        if config.router == "linear":
            self.weight = nn.Parameter(torch.empty(routed, hidden))
            nn.init.normal_(self.weight, std=config.initializer_range)
        else:
            # The names that a Sequential of Linear, Tanh and Linear would give.
            self.add_module("0", nn.Linear(hidden, routed, bias=False))
            self.add_module("2", nn.Linear(routed, routed, bias=False))
        if config.router_noise:
            self.noise = nn.Linear(hidden, routed, bias=False)
            self.noise_epsilon = config.router_noise_epsilon

    def forward(self, x):
        if hasattr(self, "weight"):
            clean = F.linear(x, self.weight)
        else:
            clean = self.get_submodule("2")(torch.tanh(self.get_submodule("0")(x)))
        clean = clean.float()
        if not (self.training and hasattr(self, "noise")):
            return clean, clean, None
        deviation = F.softplus(self.noise(x).float()) + self.noise_epsilon
        return clean, clean + torch.randn_like(clean) * deviation, deviation


class XftMoeMLP(nn.Module):
    """The mixture in place of a feed-forward network."""

    def __init__(self, config: XftMoeConfig):
        super().__init__()
        self.chosen = config.num_selects - 1
        self.normalised = config.normalised_gates
        self.shared = LlamaMLP(config)
        self.experts = nn.ModuleList(LlamaMLP(config) for _ in range(config.num_experts - 1))
        self.router = XftMoeRouter(config)
        self.routing = None

    def forward(self, hidden_states):
        x = hidden_states.reshape(-1, hidden_states.shape[-1])
        clean, noisy, deviation = self.router(x)
        p = noisy.softmax(-1)
        top, index = p.topk(self.chosen, dim=-1)
        likeliest = top[:, :1]
        gates = (top.softmax(-1) * likeliest if self.normalised else top).to(x.dtype)
        out = self.shared(x) * (1 - likeliest).to(x.dtype)
        for number, expert in enumerate(self.experts):
            token, slot = torch.where(index == number)
            if token.numel() > 0:
                out = out.index_add(0, token, expert(x[token]) * gates[token, slot, None])
        # The balance loss is computed by the model, which knows what is padding.
        self.routing = (p, index, clean, noisy, deviation) if self.training else None
        return out.view_as(hidden_states)


def squared_variation(x):
    """Unbiased variance / mean²: 0 when all are alike."""
    return x.var() / (x.mean() ** 2 + 1e-10) if x.numel() > 1 else x.sum() * 0


def balance_loss(routing, chosen: int, real):
    """cv²(importance) + cv²(load) of one layer; `real` is 1 for tokens that are no padding."""
    p, index, clean, noisy, deviation = routing
    is_chosen = torch.zeros_like(p).scatter(1, index, 1.0)
    if deviation is None or chosen >= p.shape[1]:
        stays = is_chosen
    else:
        # P(an expert stays among the likeliest under fresh noise): it must beat the best of the others (arXiv 1701.06538).
        largest = noisy.topk(chosen + 1, dim=-1).values
        if_in, if_out = largest[:, chosen, None], largest[:, chosen - 1, None]
        margin = torch.where(noisy > if_in, clean - if_in, clean - if_out) / deviation
        stays = 0.5 * (1 + torch.erf(margin * 0.5**0.5))
    importance, load = (p * is_chosen * real).sum(0), (stays * real).sum(0)
    return squared_variation(importance) + squared_variation(load)


class WithLoss(torch.autograd.Function):
    """The hidden states as they are; their gradient brings a loss's with it."""

    @staticmethod
    def forward(context, hidden, loss):
        context.ones = torch.ones_like(loss)
        return hidden.view_as(hidden)

    @staticmethod
    def backward(context, gradient):
        return gradient, context.ones


class XftMoeModel(LlamaModel):
    """A Llama without a head whose feed-forward networks are mixtures."""

    config_class = XftMoeConfig

    def __init__(self, config: XftMoeConfig):
        super().__init__(config)
        self.balance = None
        for layer in self.layers:
            layer.mlp = XftMoeMLP(config)
            if config.qkv_bias:
                for name in ("q_proj", "k_proj", "v_proj"):
                    plain = getattr(layer.self_attn, name)
                    setattr(layer.self_attn, name, nn.Linear(plain.in_features, plain.out_features, bias=True))
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, loss_has_balance=False, **kwargs):
        """Trainers that make their loss of the hidden states (TRL's) know nothing of the balance loss: its gradient
        comes with theirs, unless `loss_has_balance` says that the caller adds `self.balance` to the loss."""
        out = super().forward(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        mixtures = [layer.mlp for layer in self.layers]
        weight, self.balance = self.config.balance_loss_weight, None
        if self.training and weight > 0:
            tokens = mixtures[0].routing[0].shape[0]
            whole = attention_mask is not None and attention_mask.dim() == 2 and attention_mask.numel() == tokens
            real = attention_mask.reshape(-1, 1).float() if whole else out[0].new_ones(tokens, 1, dtype=torch.float32)
            self.balance = weight * sum(balance_loss(m.routing, m.chosen, real) for m in mixtures)
            if not loss_has_balance:
                out.last_hidden_state = WithLoss.apply(out.last_hidden_state, self.balance)
        for mixture in mixtures:
            mixture.routing = None
        return out


class XftMoeForCausalLM(LlamaForCausalLM):
    """A Llama whose feed-forward networks are mixtures. In training its loss includes the balance loss."""

    config_class = XftMoeConfig

    def __init__(self, config: XftMoeConfig):
        super().__init__(config)
        self.model = XftMoeModel(config)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels, **kwargs}
        if labels is None or not self.training:
            return super().forward(**given)
        out = super().forward(**given, loss_has_balance=True)
        if self.model.balance is not None:
            out.loss = out.loss + self.model.balance
        return out
