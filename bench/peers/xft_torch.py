"""XFT in plain PyTorch, in the manner of transformers: modules, a loop over experts, Adafactor as xft sets it.

`--bf16` stores and computes in bf16, `--compile` runs the model through torch.compile, `--checkpoint` keeps only each
layer's input for the backward pass.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers.optimization import Adafactor

import formula
from worker import Run, serve

RATE = 1e-3
LAMBDA = 0.75
WARM_UP = 2


class Norm(nn.Module):
    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(size)), epsilon

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)).to(x.dtype)


def rotations(length: int, dim: int, theta: float) -> tuple[Tensor, Tensor]:
    angles = torch.outer(torch.arange(length).double(), theta ** (-torch.arange(0, dim, 2).double() / dim))
    both = torch.cat([angles, angles], -1)
    return both.cos().float(), both.sin().float()


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos.to(x.dtype) + torch.cat([-second, first], -1) * sin.to(x.dtype)


class Attention(nn.Module):
    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__()
        width, self.dim = c["hiddenSize"], c["headDim"]
        self.q_proj = nn.Linear(width, c["heads"] * self.dim, bias=False)
        self.k_proj = nn.Linear(width, c["kvHeads"] * self.dim, bias=False)
        self.v_proj = nn.Linear(width, c["kvHeads"] * self.dim, bias=False)
        self.o_proj = nn.Linear(c["heads"] * self.dim, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        def heads(y: Tensor) -> Tensor:
            return y.view(*x.shape[:2], -1, self.dim).transpose(1, 2)

        q, k = turn(heads(self.q_proj(x)), cos, sin), turn(heads(self.k_proj(x)), cos, sin)
        grouped = q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(q, k, heads(self.v_proj(x)), is_causal=True, enable_gqa=grouped)
        return self.o_proj(out.transpose(1, 2).reshape(*x.shape[:2], -1))


class Ffn(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Mixture(nn.Module):
    """One shared expert and the likeliest of the routed ones; the gates sum to one."""

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__()
        self.chosen, self.weight_of_balance = c["active"] - 1, c["balanceWeight"]
        self.router = nn.Linear(c["hiddenSize"], c["experts"] - 1, bias=False)
        self.shared = Ffn(c["hiddenSize"], c["ffnSize"])
        self.experts = nn.ModuleList(Ffn(c["hiddenSize"], c["ffnSize"]) for _ in range(c["experts"] - 1))
        self.balance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        p = self.router(rows).float().softmax(-1)
        top, index = p.topk(self.chosen, -1)
        largest = p.max(-1, keepdim=True).values
        gates = (top.softmax(-1) * largest).to(x.dtype)
        self.balance = self.balance_loss(p, index)
        out = self.shared(rows) * (1 - largest).to(x.dtype)
        for number, expert in enumerate(self.experts):
            token, slot = (index == number).nonzero(as_tuple=True)
            out = out.index_add(0, token, expert(rows[token]) * gates[token, slot, None])
        return out.view_as(x)

    def balance_loss(self, p: Tensor, index: Tensor) -> Tensor:
        chosen = torch.zeros_like(p).scatter(1, index, 1.0)

        def cv2(each: Tensor) -> Tensor:
            return each.var() / (each.mean() ** 2 + 1e-10)

        return self.weight_of_balance * (cv2((p * chosen).sum(0)) + cv2(chosen.sum(0)))


class MergedFfn(nn.Module):
    """λ·shared + (1 − λ)·Σ softmax(α)·experts, all frozen but α."""

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__()
        self.shared = Ffn(c["hiddenSize"], c["ffnSize"])
        self.experts = nn.ModuleList(Ffn(c["hiddenSize"], c["ffnSize"]) for _ in range(c["experts"] - 1))
        self.alpha = nn.Parameter(torch.zeros(c["experts"] - 1))

    def merged(self, name: str) -> Tensor:
        share = self.alpha.softmax(0)
        routed = sum(share[i] * getattr(expert, name).weight for i, expert in enumerate(self.experts))
        return LAMBDA * getattr(self.shared, name).weight + (1 - LAMBDA) * routed

    def forward(self, x: Tensor) -> Tensor:
        gate, up = F.linear(x, self.merged("gate_proj")), F.linear(x, self.merged("up_proj"))
        return F.linear(F.silu(gate) * up, self.merged("down_proj"))


class Layer(nn.Module):
    def __init__(self, c: dict[str, Any], ffn: nn.Module) -> None:
        super().__init__()
        self.input_layernorm = Norm(c["hiddenSize"], c["normEps"])
        self.self_attn, self.mlp = Attention(c), ffn
        self.post_attention_layernorm = Norm(c["hiddenSize"], c["normEps"])

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, c: dict[str, Any], ffn: Any, length: int, keep_inputs_only: bool) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocabSize"], c["hiddenSize"])
        self.layers = nn.ModuleList(Layer(c, ffn()) for _ in range(c["layers"]))
        self.norm = Norm(c["hiddenSize"], c["normEps"])
        self.head = None if c["tied"] else nn.Linear(c["hiddenSize"], c["vocabSize"], bias=False)
        self.keep_inputs_only = keep_inputs_only
        cos, sin = rotations(length, c["headDim"], c["ropeTheta"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = checkpoint(layer, x, self.cos, self.sin, use_reentrant=False) if self.keep_inputs_only else layer(
                x, self.cos, self.sin)
        weight = self.embed_tokens.weight if self.head is None else self.head.weight
        logits = F.linear(self.norm(x), weight).float()
        nll = F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1), ignore_index=-100)
        balance = sum(layer.mlp.balance for layer in self.layers if isinstance(layer.mlp, Mixture))
        return nll, nll + balance


def hugging_face(name: str) -> str:
    """The name by which the formula knows a parameter."""
    return "lm_head.weight" if name == "head.weight" else f"model.{name}"


def load(model: nn.Module, layers: int) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("alpha"):
            continue
        values = formula.weight(hugging_face(name), tuple(parameter.shape), layers)
        parameter.data = torch.from_numpy(values).to(parameter.dtype)


def prepare(work: dict[str, Any]) -> tuple[dict[str, Any], Run]:
    c, flags = work["config"], set(sys.argv[1:])
    kinds = {
        "dense": lambda: Ffn(c["hiddenSize"], c["ffnSize"]),
        "moe": lambda: Mixture(c),
        "coefficients": lambda: MergedFfn(c),
    }
    torch.set_default_dtype(torch.bfloat16 if "--bf16" in flags else torch.float32)
    with torch.device("meta"):
        model = Llama(c, kinds[work["step"]], work["seq"], "--checkpoint" in flags)
    model.to_empty(device="cpu")
    model.cos, model.sin = rotations(work["seq"], c["headDim"], c["ropeTheta"])
    load(model, c["layers"])
    if work["step"] == "coefficients":
        for name, parameter in model.named_parameters():
            if name.endswith("alpha"):
                parameter.data.zero_()
            parameter.requires_grad_(name.endswith("alpha"))
        optimizer: Any = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=RATE)
    else:
        optimizer = Adafactor(model.parameters(), lr=RATE, relative_step=False, scale_parameter=False, warmup_init=False)
    tokens, labels = (torch.from_numpy(each) for each in formula.batch(c["vocabSize"], work["batch"], work["seq"]))
    forward = torch.compile(model) if "--compile" in flags else model

    def step() -> float:
        nll, loss = forward(tokens, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return nll.item()

    losses = [step() for _ in range(WARM_UP)]
    about = f"torch {torch.__version__}, {torch.get_num_threads()} threads"

    def run() -> None:
        step()

    return {"losses": losses, "about": about}, run


serve(prepare)
