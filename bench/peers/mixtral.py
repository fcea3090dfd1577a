"""transformers' Mixtral at a mixture's sizes: all experts routed, `active` of them per token, eager or grouped_mm.

It is not XFT's mixture (no shared expert, other gates), so its loss is its own; its products are as many.
"""

import sys
from typing import Any

import torch
import transformers
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.optimization import Adafactor

import formula
from worker import Run, serve

WARM_UP = 2


def prepare(work: dict[str, Any]) -> tuple[dict[str, Any], Run]:
    c = work["config"]
    torch.manual_seed(0)
    model = MixtralForCausalLM(MixtralConfig(
        vocab_size=c["vocabSize"], hidden_size=c["hiddenSize"], intermediate_size=c["ffnSize"],
        num_hidden_layers=c["layers"], num_attention_heads=c["heads"], num_key_value_heads=c["kvHeads"],
        head_dim=c["headDim"], num_local_experts=c["experts"], num_experts_per_tok=c["active"],
        tie_word_embeddings=c["tied"], output_router_logits=True, use_cache=False,
        experts_implementation=sys.argv[1],
    ))
    model.train()
    optimizer = Adafactor(model.parameters(), lr=1e-3, relative_step=False, scale_parameter=False, warmup_init=False)
    tokens, _ = formula.batch(c["vocabSize"], work["batch"], work["seq"])
    ids = torch.from_numpy(tokens)

    def step() -> float:
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    losses = [step() for _ in range(WARM_UP)]

    def run() -> None:
        step()

    return {"losses": losses, "about": f"transformers {transformers.__version__}, {sys.argv[1]}"}, run


serve(prepare)
