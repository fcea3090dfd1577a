"""Parquet files as Arrow writes them: `pip install pyarrow==26.0.1 && python make.py` in this folder."""

import pyarrow as pa
import pyarrow.parquet as pq

texts = pa.table({
    "instruction": ["Add two numbers.", "Say “häh”.", "Add two numbers."],
    "response": ["def add(a, b):\n    return a + b", "print('häh')", "lambda a, b: a + b"],
    "source": pa.array(["a", None, "b"]),
})
turn = pa.struct([("role", pa.string()), ("content", pa.string())])
chats = pa.table({
    "messages": pa.array(
        [
            [{"role": "user", "content": "q"}, {"role": "assistant", "content": "Q"}],
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "r"},
                {"role": "assistant", "content": "R"},
            ],
        ],
        pa.list_(turn),
    ),
    "id": pa.array([1, 2], pa.int64()),
})

for codec in ["none", "snappy", "gzip", "zstd", "brotli", "lz4"]:
    pq.write_table(texts, f"texts-{codec}.parquet", compression=codec, row_group_size=2)
pq.write_table(texts, "texts-pages-of-2.parquet", data_page_version="2.0", use_dictionary=False, version="2.6")
pq.write_table(chats, "chats.parquet", compression="snappy")
