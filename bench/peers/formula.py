"""Weights and tokens by formula: the twin of `bench/weights.ts`, so that all start from the same model."""

import math

import numpy as np


def seed_of(name: str) -> int:
    """A 32-bit FNV-1a hash."""
    state = 0x811C9DC5
    for letter in name:
        state = (state ^ ord(letter)) * 0x01000193 & 0xFFFFFFFF
    return state


def mixed(count: int, seed: int) -> np.ndarray:
    """The first numbers of a seed, 32 bits each."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(seed)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    return x ^ (x >> np.uint32(16))


def uniform(name: str, shape: tuple[int, ...], size: float) -> np.ndarray:
    """Numbers between −size and size."""
    values = mixed(math.prod(shape), seed_of(name)).astype(np.float64)
    values /= 2.0**31
    values -= 1.0
    values *= size
    return values.astype(np.float32).reshape(shape)


def weight(name: str, shape: tuple[int, ...], layers: int) -> np.ndarray:
    """A tensor of a model by its name: norms are 1, all others uniform with deviation 0.02 (less into the residual)."""
    if len(shape) == 1:
        return np.ones(shape, dtype=np.float32)
    into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
    return uniform(name, shape, 0.02 * math.sqrt(3) / (math.sqrt(2 * layers) if into_residual else 1))


def batch(vocabulary: int, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, and for each the one that should follow; −100 (none) at the end of a row."""
    tokens = (mixed(rows * length, seed_of("tokens")) % np.uint32(vocabulary)).astype(np.int64).reshape(rows, length)
    labels = np.concatenate([tokens[:, 1:], np.full((rows, 1), -100)], axis=1)
    return tokens, labels
