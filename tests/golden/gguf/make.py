"""Makes blocks.gguf and blocks.safetensors: random blocks of every type we read, and their values by the `gguf`
package (0.19, an implementation of ggml's formulas in numpy). Needs: pip install gguf safetensors numpy."""
import gguf, numpy as np
from gguf.quants import dequantize
from safetensors.numpy import save_file

random = np.random.default_rng(20240415)
Q = gguf.GGMLQuantizationType
# Byte offsets of the f16 scales in a block: random bytes there would be infinities and NaN.
scales = {Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2],
          Q.Q6_K: [208]}
writer = gguf.GGUFWriter("blocks.gguf", "llama")
writer.add_uint8("test.u8", 255)
writer.add_int16("test.i16", -300)
writer.add_uint64("test.u64", 2**40)
writer.add_float32("test.f32", 1e-5)
writer.add_float64("test.f64", 0.1)
writer.add_bool("test.bool", True)
writer.add_string("test.text", "é日")
writer.add_array("test.texts", ["a", "", "Ġb"])
writer.add_array("test.nested", [[1, 2], [3]])
expected = {}
for kind, offsets in scales.items():
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (2, 2, size), dtype=np.uint8)  # [2, 2 × block] elements
    for offset in offsets:
        halves = random.normal(0, 0.1, (2, 2, 1)).astype(np.float16)
        blocks[..., offset:offset + 2] = halves.view(np.uint8)
    raw = blocks.reshape(2, 2 * size)
    writer.add_tensor(kind.name, raw, raw_dtype=kind)
    expected[kind.name] = dequantize(raw, kind)
for kind, array in {Q.F32: np.float32, Q.F16: np.float16}.items():
    values = random.normal(0, 1, (3, 5)).astype(array)
    writer.add_tensor(kind.name, values)
    expected[kind.name] = values.astype(np.float32)
bits = (random.normal(0, 1, (3, 5)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
writer.add_tensor("BF16", bits.view(np.uint8), raw_dtype=Q.BF16)
expected["BF16"] = (bits.astype(np.uint32) << 16).view(np.float32)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
save_file(expected, "blocks.safetensors")

# The other way round: numbers, and what the package rounds them to.
import json
from gguf.quants import quantize
values = random.normal(0, 1, (6, 64)).astype(np.float32)
values[0, :32] = 0
values[1, :32] = np.arange(32) - 15.5  # halves between two steps …
values[1, 0] = 63.5  # … of exactly 1/2
values[2] *= 1e-6
values[3] *= 1000
bits = values[4].view(np.uint32)
bits[:8] = (bits[:8] & 0xffff0000) | 0x8000  # halfway between two numbers of bf16
json.dump({"values": values.view(np.uint32).flatten().tolist(),
           **{kind.name: bytes(quantize(values, kind).tobytes()).hex() for kind in (Q.F16, Q.BF16, Q.Q8_0)}},
          open("encoded.json", "w"))
