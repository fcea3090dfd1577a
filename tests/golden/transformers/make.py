"""Makes small models as transformers writes them, their logits and greedy tokens (models.json), and rotary frequencies
of real models' settings (rope.json). Needs: pip install torch==2.15.0 transformers==5.23.0. Run in this folder."""
import json
import torch
from transformers import (AutoModelForCausalLM, LlamaConfig, MistralConfig, MixtralConfig, Qwen2Config,
                          Qwen2MoeConfig)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, max_position_embeddings=64, initializer_range=0.3, rms_norm_eps=1e-5,
             bos_token_id=1, eos_token_id=2, pad_token_id=0)


def rope(kind, theta=100.0, **more):
    return dict(rope_type=kind, rope_theta=theta, **more)


configs = {
    "llama": LlamaConfig(**sizes, rope_parameters=rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)),
    "tied": LlamaConfig(**{**sizes, "eos_token_id": [2, 3]}, tie_word_embeddings=True, head_dim=12,
                        rope_parameters=rope("default")),
    "biased": LlamaConfig(**sizes, attention_bias=True, rope_parameters=rope("linear", factor=4.0)),
    "qwen2": Qwen2Config(**sizes, rope_parameters=rope(
        "yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0)),
    "mistral": MistralConfig(**sizes, sliding_window=None, rope_parameters=rope("default", 1000.0)),
    "dynamic": LlamaConfig(**{**sizes, "max_position_embeddings": 8}, rope_parameters=rope("dynamic", factor=4.0)),
}
# Weights whose greedy texts are of many different tokens.
seeds = dict(llama=100, tied=401, biased=202, qwen2=203, mistral=404, dynamic=405)
dtypes = {"tied": torch.bfloat16, "qwen2": torch.float16}


def rounded(tensor):
    return [float(f"{x:.7g}") for x in tensor.flatten().tolist()]


def by_token(model, ids):
    """Logits of a text that grows token by token."""
    cache, logits = None, []
    for i in range(ids.shape[1]):
        out = model(ids[:, i:i + 1], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits.append(out.logits[0, 0])
    return torch.stack(logits)


models = {}
for name, config in configs.items():
    torch.manual_seed(seeds[name])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):
                parameter.normal_(0, 0.5)
            if "norm" in key:
                parameter.normal_(1, 0.2)
    model.to(dtypes.get(name, torch.float32)).save_pretrained(name, max_shard_size="12KB")
    # What is computed is computed in f32, of the weights as they are stored.
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
    ids = torch.randint(3, 32, (1, 20))
    with torch.no_grad():
        logits = by_token(model, ids) if name == "dynamic" else model(ids).logits[0]
        # One token at a time: dynamic frequencies of a whole prompt are another matter.
        prompt = ids[:, :1]
        greedy = model.generate(prompt, max_new_tokens=24, do_sample=False, eos_token_id=None)[0]
    models[name] = dict(ids=ids[0].tolist(), logits=rounded(logits), prompt=prompt[0].tolist(),
                        greedy=greedy[1:].tolist())
json.dump(models, open("models.json", "w"))



def dense_of(mixture, dense_config, shared=None, routed=1.0):
    """The dense model of a mixture whose routers cannot decide: experts are averaged, a shared one stands beside them."""
    weights = {}
    for key, value in mixture.state_dict().items():
        if ".mlp." not in key:
            weights[key] = value
    for i, layer in enumerate(mixture.model.layers):
        prefix = f"model.layers.{i}.mlp"
        gate, up = layer.mlp.experts.gate_up_proj.mean(0).chunk(2)
        parts = dict(gate_proj=gate, up_proj=up, down_proj=routed * layer.mlp.experts.down_proj.mean(0))
        for name, value in parts.items():
            if shared is not None:
                own = getattr(layer.mlp.shared_expert, name).weight
                value = torch.cat([shared * own, value], 1) if name == "down_proj" else torch.cat([own, value])
            weights[f"{prefix}.{name}.weight"] = value
    dense = AutoModelForCausalLM.from_config(dense_config, dtype=torch.float32).eval()
    dense.load_state_dict(weights)
    return dense


plain = {**sizes, "rope_parameters": rope("default")}
mixtures = {
    "mixtral": (MixtralConfig(**plain, num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
                LlamaConfig(**plain), {}),
    "qwen2_moe": (Qwen2MoeConfig(**plain, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=8,
                                 shared_expert_intermediate_size=20, decoder_sparse_step=1),
                  Qwen2Config(**{**plain, "intermediate_size": 28}), dict(shared=0.5, routed=2 / 6)),
}
merged = {}
for name, (config, dense_config, shares) in mixtures.items():
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    ids = torch.randint(3, 32, (1, 20))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):
                parameter.normal_(0, 0.5)
        model.save_pretrained(name, max_shard_size="20KB")
        merged[name] = dict(ids=ids[0].tolist(), logits=rounded(dense_of(model, dense_config, **shares)(ids).logits[0]))
        # Where all experts are alike and routers undecided, the dense model is the mixture.
        for layer in model.model.layers:
            for weight in (layer.mlp.experts.gate_up_proj, layer.mlp.experts.down_proj):
                weight.copy_(weight[:1].expand_as(weight))
            layer.mlp.gate.weight.zero_()
            if hasattr(layer.mlp, "shared_expert_gate"):
                layer.mlp.shared_expert_gate.weight.zero_()
        difference = (model(ids).logits - dense_of(model, dense_config, **shares)(ids).logits).abs().max()
        assert difference < 1e-4, (name, difference)
json.dump(merged, open("merged.json", "w"))

real = {
    "DeepSeek-Coder 1.3B": dict(head_dim=128, max_position_embeddings=16384, rope_theta=100000.0,
                                rope_scaling=dict(type="linear", factor=4.0)),
    "Llama 3.1 8B": dict(head_dim=128, max_position_embeddings=131072, rope_theta=500000.0, rope_scaling=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=8192)),
    "Llama 3.2 1B": dict(head_dim=64, max_position_embeddings=131072, rope_theta=500000.0, rope_scaling=dict(
        rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=8192)),
    "Qwen2.5-Coder, long": dict(head_dim=128, max_position_embeddings=32768, rope_theta=1000000.0, rope_scaling=dict(
        type="yarn", factor=4.0, original_max_position_embeddings=32768)),
    "DeepSeek-V2's scales": dict(head_dim=64, max_position_embeddings=163840, rope_theta=10000.0, rope_scaling=dict(
        type="yarn", factor=40, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=0.707,
        mscale_all_dim=1.0)),
    "YaRN, not truncated": dict(head_dim=96, max_position_embeddings=8192, rope_theta=10000.0, rope_scaling=dict(
        rope_type="yarn", factor=2.0, original_max_position_embeddings=4096, truncate=False, attention_factor=1.25)),
    "dynamic": dict(head_dim=64, max_position_embeddings=2048, rope_theta=10000.0, rope_scaling=dict(
        type="dynamic", factor=2.0)),
}
cases = []
for name, fields in real.items():
    config = LlamaConfig(hidden_size=4 * fields["head_dim"], num_attention_heads=4, **fields)
    for length in [1000, 3000, 8192] if name == "dynamic" else [None]:
        frequencies, factor = ROPE_INIT_FUNCTIONS[config.rope_parameters["rope_type"]](config, seq_len=length)
        cases.append(dict(name=name, config=fields, length=length or 0, factor=factor,
                          frequencies=rounded(frequencies)))
json.dump(cases, open("rope.json", "w"))
