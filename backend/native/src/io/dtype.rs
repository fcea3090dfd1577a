//! How elements lie in files: plain numbers, and ggml's blocks.

/// Storage of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

use Dtype::{BF16, Bool, F16, F32, F64, I8, I16, I32, I64, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, U8};

impl Dtype {
    /// Every dtype that we read.
    pub const ALL: [Self; 18] =
        [F64, F32, F16, BF16, I64, I32, I16, I8, U8, Bool, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K];

    /// Its name in safetensors' headers and in ggml.
    pub const fn name(self) -> &'static str {
        match self {
            F64 => "F64",
            F32 => "F32",
            F16 => "F16",
            BF16 => "BF16",
            I64 => "I64",
            I32 => "I32",
            I16 => "I16",
            I8 => "I8",
            U8 => "U8",
            Bool => "BOOL",
            Q4_0 => "Q4_0",
            Q4_1 => "Q4_1",
            Q5_0 => "Q5_0",
            Q5_1 => "Q5_1",
            Q8_0 => "Q8_0",
            Q4K => "Q4_K",
            Q5K => "Q5_K",
            Q6K => "Q6_K",
        }
    }

    /// The dtype of a safetensors header.
    pub fn from_safetensors(name: &str) -> Option<Self> {
        Self::ALL[..10].iter().copied().find(|dtype| dtype.name() == name)
    }

    /// The dtype of a number in a GGUF file (`ggml_type`).
    pub const fn from_ggml(number: u32) -> Option<Self> {
        Some(match number {
            0 => F32,
            1 => F16,
            2 => Q4_0,
            3 => Q4_1,
            6 => Q5_0,
            7 => Q5_1,
            8 => Q8_0,
            12 => Q4K,
            13 => Q5K,
            14 => Q6K,
            24 => I8,
            25 => I16,
            26 => I32,
            27 => I64,
            28 => F64,
            30 => BF16,
            _ => return None,
        })
    }

    /// Elements that are stored together. A power of two, so that pieces of a tensor are whole blocks.
    pub const fn block(self) -> usize {
        match self {
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 => 32,
            Q4K | Q5K | Q6K => 256,
            _ => 1,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            F64 | I64 => 8,
            F32 | I32 => 4,
            F16 | BF16 | I16 => 2,
            I8 | U8 | Bool => 1,
            Q4_0 => 2 + 16,
            Q4_1 => 2 + 2 + 16,
            Q5_0 => 2 + 4 + 16,
            Q5_1 => 2 + 2 + 4 + 16,
            Q8_0 => 2 + 32,
            Q4K => 2 + 2 + 12 + 128,
            Q5K => 2 + 2 + 12 + 32 + 128,
            Q6K => 128 + 64 + 16 + 2,
        }
    }

    /// Bytes of a tensor; none if they overflow or a row is no multiple of a block. The elements as f32 fit as well.
    pub fn bytes(self, shape: &[usize]) -> Option<usize> {
        let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(self.block()) || elements.checked_mul(4)? > isize::MAX as usize {
            return None;
        }
        (elements / self.block()).checked_mul(self.block_bytes())
    }
}
