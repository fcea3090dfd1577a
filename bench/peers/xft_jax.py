"""XFT in JAX, compact: one jitted training step with Adafactor. `--ragged` groups the experts' rows (ragged_dot)
instead of running every expert on every row."""

import os
import sys
from functools import partial
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
from jax import Array, lax

import formula
from worker import Run, serve

RATE = 1e-3
LAMBDA = 0.75
WARM_UP = 2
Tree = Any


def parameters(c: dict[str, Any], kind: str) -> Tree:
    layers, width, inner, dim = c["layers"], c["hiddenSize"], c["ffnSize"], c["headDim"]

    def make(name: str, *shape: int) -> Array:
        return jnp.asarray(formula.weight(name, shape, layers))

    def ffn(prefix: str) -> Tree:
        return {
            "gate": make(f"{prefix}.gate_proj.weight", inner, width),
            "up": make(f"{prefix}.up_proj.weight", inner, width),
            "down": make(f"{prefix}.down_proj.weight", width, inner),
        }

    def block(prefix: str) -> Tree:
        if kind == "dense":
            return ffn(prefix)
        experts = [ffn(f"{prefix}.experts.{i}") for i in range(c["experts"] - 1)]
        return {
            "shared": ffn(f"{prefix}.shared"),
            "router": make(f"{prefix}.router.weight", c["experts"] - 1, width),
            "experts": jax.tree.map(lambda *each: jnp.stack(each), *experts),
        }

    def layer(i: int) -> Tree:
        prefix = f"model.layers.{i}"
        sizes = {"q": c["heads"], "k": c["kvHeads"], "v": c["kvHeads"]}
        return {
            "norm1": make(f"{prefix}.input_layernorm.weight", width),
            "norm2": make(f"{prefix}.post_attention_layernorm.weight", width),
            **{n: make(f"{prefix}.self_attn.{n}_proj.weight", h * dim, width) for n, h in sizes.items()},
            "o": make(f"{prefix}.self_attn.o_proj.weight", width, c["heads"] * dim),
            "mlp": block(f"{prefix}.mlp"),
        }

    tree = {
        "embedding": make("model.embed_tokens.weight", c["vocabSize"], width),
        "layers": [layer(i) for i in range(layers)],
        "norm": make("model.norm.weight", width),
    }
    return tree if c["tied"] else {**tree, "head": make("lm_head.weight", c["vocabSize"], width)}


def norm(x: Array, weight: Array, epsilon: float) -> Array:
    return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + epsilon) * weight


def turn(x: Array, theta: float) -> Array:
    """Rotary positions of x [batch, seq, head, dim]."""
    length, dim = x.shape[1], x.shape[3]
    angles = jnp.outer(jnp.arange(length), theta ** (-jnp.arange(0, dim, 2) / dim))
    cos, sin = (jnp.concatenate([f(angles)] * 2, -1)[None, :, None] for f in (jnp.cos, jnp.sin))
    first, second = jnp.split(x, 2, -1)
    return x * cos + jnp.concatenate([-second, first], -1) * sin


def attention(x: Array, w: Tree, c: dict[str, Any]) -> Array:
    def heads(name: str) -> Array:
        return (x @ w[name].T).reshape(*x.shape[:2], -1, c["headDim"])

    q, k, v = turn(heads("q"), c["ropeTheta"]), turn(heads("k"), c["ropeTheta"]), heads("v")
    return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(*x.shape[:2], -1) @ w["o"].T


def swiglu(x: Array, w: Tree) -> Array:
    return (jax.nn.silu(x @ w["gate"].T) * (x @ w["up"].T)) @ w["down"].T


def mixture(x: Array, w: Tree, c: dict[str, Any], ragged: bool) -> tuple[Array, Array]:
    rows, routed = x.reshape(-1, x.shape[-1]), c["experts"] - 1
    p = jax.nn.softmax(rows @ w["router"].T, -1)
    top, index = lax.top_k(p, c["active"] - 1)
    largest = p.max(-1, keepdims=True)
    gates = jax.nn.softmax(top, -1) * largest
    if ragged:
        order = jnp.argsort(index.reshape(-1), stable=True)
        sizes = jnp.bincount(index.reshape(-1), length=routed)
        tokens = order // index.shape[1]
        dot = partial(lax.ragged_dot, group_sizes=sizes)
        gathered, e = rows[tokens], {name: each.swapaxes(1, 2) for name, each in w["experts"].items()}
        out = dot(jax.nn.silu(dot(gathered, e["gate"])) * dot(gathered, e["up"]), e["down"])
        mixed = jnp.zeros_like(rows).at[tokens].add(out * gates.reshape(-1)[order][:, None])
    else:
        share = jnp.zeros_like(p).at[jnp.arange(len(rows))[:, None], index].set(gates)
        mixed = jnp.einsum("eth,te->th", lax.map(lambda e: swiglu(rows, e), w["experts"]), share)
    chosen = jnp.zeros_like(p).at[jnp.arange(len(rows))[:, None], index].set(1.0)

    def cv2(each: Array) -> Array:
        return each.var(ddof=1) / (each.mean() ** 2 + 1e-10)

    balance = c["balanceWeight"] * (cv2((p * chosen).sum(0)) + cv2(chosen.sum(0)))
    return (mixed + swiglu(rows, w["shared"]) * (1 - largest)).reshape(x.shape), balance


def merged(w: Tree, alpha: Array) -> Tree:
    share = jax.nn.softmax(alpha)
    return jax.tree.map(
        lambda own, routed: LAMBDA * own + (1 - LAMBDA) * jnp.einsum("e,eij->ij", share, routed), w["shared"], w["experts"]
    )


def losses_of(
    w: Tree, alpha: Tree, tokens: Array, labels: Array, c: dict[str, Any], kind: str, ragged: bool
) -> tuple[Array, Array]:
    x, balance = w["embedding"][tokens], jnp.zeros(())
    for i, layer in enumerate(w["layers"]):
        x = x + attention(norm(x, layer["norm1"], c["normEps"]), layer, c)
        seen = norm(x, layer["norm2"], c["normEps"])
        if kind == "moe":
            out, more = mixture(seen, layer["mlp"], c, ragged)
            x, balance = x + out, balance + more
        else:
            x = x + swiglu(seen, layer["mlp"] if kind == "dense" else merged(layer["mlp"], alpha[i]))
    logits = norm(x, w["norm"], c["normEps"]) @ w.get("head", w["embedding"]).T
    real = labels >= 0
    each = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, jnp.maximum(labels, 0)[..., None], -1)[..., 0]
    nll = jnp.where(real, each, 0).sum() / real.sum()
    return nll + balance, nll


def adafactor(w: Array, g: Array, state: Tree, count: Array) -> tuple[Array, Tree]:
    past, square = 1 - count**-0.8, g * g + 1e-30
    if w.ndim == 1:
        v = past * state + (1 - past) * square
        update, state = g * lax.rsqrt(v), v
    else:
        rows, columns = (past * s + (1 - past) * square.mean(a) for s, a in zip(state, (-1, -2)))
        scale = lax.rsqrt(rows / rows.mean(-1, keepdims=True))[..., :, None] * lax.rsqrt(columns)[..., None, :]
        update, state = g * scale, (rows, columns)
    # Each matrix, an expert's too, is clipped by its own root mean square.
    size = jnp.sqrt((update * update).mean(tuple(range(max(0, w.ndim - 2), w.ndim)), keepdims=True))
    return w - RATE * update / jnp.maximum(1.0, size), state


def prepare(work: dict[str, Any]) -> tuple[dict[str, Any], Run]:
    c, kind, ragged = work["config"], work["step"], "--ragged" in sys.argv
    w = parameters(c, kind)
    tokens, labels = (jnp.asarray(each, jnp.int32) for each in formula.batch(c["vocabSize"], work["batch"], work["seq"]))
    alpha = [jnp.zeros(c["experts"] - 1) for _ in w["layers"]] if kind == "coefficients" else []
    loss = partial(losses_of, tokens=tokens, labels=labels, c=c, kind=kind, ragged=ragged)

    def start(each: Array) -> Tree:
        return jnp.zeros(each.shape) if each.ndim == 1 else (jnp.zeros(each.shape[:-1]), jnp.zeros(each[..., 0, :].shape))

    @partial(jax.jit, donate_argnums=(0, 1))
    def train(w: Tree, state: Tree, count: Array) -> tuple[Tree, Tree, Array]:
        (_, nll), g = jax.value_and_grad(lambda p: loss(p, alpha), has_aux=True)(w)
        leaves, shape = jax.tree.flatten(w)
        made = [adafactor(*each, count) for each in zip(leaves, jax.tree.leaves(g), state)]
        return shape.unflatten([each for each, _ in made]), [each for _, each in made], nll

    @jax.jit
    def learn(w: Tree, alpha: Tree, state: Tree, count: Array) -> tuple[Tree, Tree, Array]:
        (_, nll), g = jax.value_and_grad(lambda a: loss(w, a), has_aux=True)(alpha)
        m = jax.tree.map(lambda old, each: 0.9 * old + 0.1 * each, state[0], g)
        v = jax.tree.map(lambda old, each: 0.999 * old + 0.001 * each * each, state[1], g)
        moved = jax.tree.map(
            lambda a, x, y: a - RATE * (x / (1 - 0.9**count)) / (jnp.sqrt(y / (1 - 0.999**count)) + 1e-8), alpha, m, v
        )
        return moved, (m, v), nll

    state = [start(each) for each in jax.tree.leaves(w)] if kind != "coefficients" else (alpha, alpha)
    count = 0

    def step() -> float:
        nonlocal w, alpha, state, count
        count += 1
        if kind == "coefficients":
            alpha, state, nll = learn(w, alpha, state, jnp.float32(count))
        else:
            w, state, nll = train(w, state, jnp.float32(count))
        return float(nll)

    losses = [step() for _ in range(WARM_UP)]

    def run() -> None:
        step()

    return {"losses": losses, "about": f"jax {jax.__version__}"}, run


serve(prepare)
