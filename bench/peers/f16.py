"""A GGUF file of any numbers as one of f16: `f16.py IN OUT`. llama.cpp is measured with 16 bits a weight, too."""

import sys

import gguf
import numpy as np

source, target = sys.argv[1:]
reader = gguf.GGUFReader(source)
architecture = reader.fields["general.architecture"].contents()
writer = gguf.GGUFWriter(target, architecture)
for name, field in reader.fields.items():
    if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
        continue
    inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
    writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
for tensor in reader.tensors:
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape([int(n) for n in reversed(tensor.shape)])
    # Vectors stay f32: llama.cpp's norms want them so.
    writer.add_tensor(tensor.name, values.astype(np.float32 if values.ndim == 1 else np.float16))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
