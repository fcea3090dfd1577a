//! From a file's numbers to f32, by the same operations in the same order as ggml's `dequantize_row_*` (without fused
//! multiply-add), so that results are equal bit for bit.

use half::{bf16, f16};

use super::Dtype;
use crate::error::Result;
use crate::{ensure, fail};

/// Integers up to here are exact in f32.
const EXACT: u64 = 1 << 24;

/// Converts whole blocks. `raw` holds exactly the elements of `out`.
pub fn to_f32(dtype: Dtype, raw: &[u8], out: &mut [f32]) -> Result<()> {
    ensure!(
        out.len().is_multiple_of(dtype.block()) && raw.len() == out.len() / dtype.block() * dtype.block_bytes(),
        "{} bytes are not {} elements of {}",
        raw.len(),
        out.len(),
        dtype.name()
    );
    match dtype {
        Dtype::F32 => each(raw, out, |bytes: [u8; 4]| f32::from_le_bytes(bytes)),
        Dtype::F16 => each(raw, out, |bytes: [u8; 2]| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => each(raw, out, |bytes: [u8; 2]| bf16::from_le_bytes(bytes).to_f32()),
        // Rounded to nearest, as any cast to f32.
        Dtype::F64 => each(raw, out, |bytes: [u8; 8]| f64::from_le_bytes(bytes) as f32),
        Dtype::I8 => each(raw, out, |[byte]: [u8; 1]| f32::from(byte.cast_signed())),
        Dtype::U8 | Dtype::Bool => each(raw, out, |[byte]: [u8; 1]| f32::from(byte)),
        Dtype::I16 => each(raw, out, |bytes: [u8; 2]| f32::from(i16::from_le_bytes(bytes))),
        Dtype::I32 => return integers(raw, out, |bytes: [u8; 4]| i64::from(i32::from_le_bytes(bytes))),
        Dtype::I64 => return integers(raw, out, i64::from_le_bytes),
        Dtype::Q4_0 => blocks::<18, 32>(raw, out, q4_0),
        Dtype::Q4_1 => blocks::<20, 32>(raw, out, q4_1),
        Dtype::Q5_0 => blocks::<22, 32>(raw, out, q5_0),
        Dtype::Q5_1 => blocks::<24, 32>(raw, out, q5_1),
        Dtype::Q8_0 => blocks::<34, 32>(raw, out, q8_0),
        Dtype::Q4K => blocks::<144, 256>(raw, out, q4_k),
        Dtype::Q5K => blocks::<176, 256>(raw, out, q5_k),
        Dtype::Q6K => blocks::<210, 256>(raw, out, q6_k),
    }
    Ok(())
}

fn each<const BYTES: usize>(raw: &[u8], out: &mut [f32], convert: impl Fn([u8; BYTES]) -> f32) {
    let (elements, _) = raw.as_chunks::<BYTES>();
    for (value, &bytes) in out.iter_mut().zip(elements) {
        *value = convert(bytes);
    }
}

fn integers<const BYTES: usize>(raw: &[u8], out: &mut [f32], convert: impl Fn([u8; BYTES]) -> i64) -> Result<()> {
    let (elements, _) = raw.as_chunks::<BYTES>();
    for (value, &bytes) in out.iter_mut().zip(elements) {
        let integer = convert(bytes);
        if integer.unsigned_abs() > EXACT {
            fail!("the integer {integer} is not exact as f32");
        }
        *value = integer as f32;
    }
    Ok(())
}

fn blocks<const BYTES: usize, const ELEMENTS: usize>(
    raw: &[u8],
    out: &mut [f32],
    convert: impl Fn(&[u8; BYTES], &mut [f32; ELEMENTS]),
) {
    let (blocks, _) = raw.as_chunks::<BYTES>();
    let (outs, _) = out.as_chunks_mut::<ELEMENTS>();
    for (out, block) in outs.iter_mut().zip(blocks) {
        convert(block, out);
    }
}

/// The f16 at a byte offset.
fn half_at(block: &[u8], offset: usize) -> f32 {
    f16::from_le_bytes([block[offset], block[offset + 1]]).to_f32()
}

/// 32 × 4 bits: low halves first, then high halves.
fn nibbles(quants: &[u8], out: &mut [f32], convert: impl Fn(usize, u8) -> f32) {
    for (index, &byte) in quants.iter().enumerate() {
        out[index] = convert(index, byte & 15);
        out[index + 16] = convert(index + 16, byte >> 4);
    }
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    nibbles(&block[2..], out, |_, quant| f32::from(i16::from(quant) - 8) * scale);
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    nibbles(&block[4..], out, |_, quant| f32::from(quant) * scale + minimum);
}

/// The fifth bit of element `index`.
fn fifth(block: &[u8], offset: usize, index: usize) -> u8 {
    (block[offset + index / 8] >> (index % 8) & 1) << 4
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    nibbles(&block[6..], out, |index, quant| f32::from(i16::from(quant | fifth(block, 2, index)) - 16) * scale);
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    nibbles(&block[8..], out, |index, quant| f32::from(quant | fifth(block, 4, index)) * scale + minimum);
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for (value, &quant) in out.iter_mut().zip(&block[2..]) {
        *value = f32::from(quant.cast_signed()) * scale;
    }
}

/// Scale and minimum (6 bits each) of one of a K-block's eight groups of 32.
fn scale_minimum(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, minimum) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        (packed[group + 4] & 15 | packed[group - 4] >> 6 << 4, packed[group + 4] >> 4 | packed[group] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (group, values) in out.chunks_exact_mut(32).enumerate() {
        let (group_scale, group_minimum) = scale_minimum(&block[4..16], group);
        let (scale, minimum) = (scale * group_scale, minimum * group_minimum);
        let quants = &block[16 + group / 2 * 32..][..32];
        for (value, &byte) in values.iter_mut().zip(quants) {
            let quant = if group % 2 == 0 { byte & 15 } else { byte >> 4 };
            *value = scale * f32::from(quant) - minimum;
        }
    }
}

fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let high = &block[16..48];
    for (group, values) in out.chunks_exact_mut(32).enumerate() {
        let (group_scale, group_minimum) = scale_minimum(&block[4..16], group);
        let (scale, minimum) = (scale * group_scale, minimum * group_minimum);
        let quants = &block[48 + group / 2 * 32..][..32];
        for ((value, &byte), &high) in values.iter_mut().zip(quants).zip(high) {
            let quant = if group % 2 == 0 { byte & 15 } else { byte >> 4 } | (high >> group & 1) << 4;
            *value = scale * f32::from(quant) - minimum;
        }
    }
}

fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let scale = half_at(block, 208);
    for (index, value) in out.iter_mut().enumerate() {
        let (half, lane, part) = (index / 128, index % 32, index % 128 / 32);
        let low = block[half * 64 + (part % 2) * 32 + lane] >> (part / 2 * 4) & 15;
        let high = block[128 + half * 32 + lane] >> (part * 2) & 3;
        let group_scale = f32::from(block[192 + index / 16].cast_signed());
        *value = scale * group_scale * f32::from(i16::from(low | high << 4) - 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        let mut out = [0.0; 32];
        assert!(to_f32(Dtype::Q4_0, &[0; 17], &mut out).is_err());
        assert!(to_f32(Dtype::Q4_0, &[0; 18], &mut out[..31]).is_err());
        assert!(to_f32(Dtype::Q4_0, &[0; 18], &mut out).is_ok());
    }

    #[test]
    fn integers_must_be_exact() {
        let mut out = [0.0];
        assert!(to_f32(Dtype::I64, &16_777_216i64.to_le_bytes(), &mut out).is_ok());
        assert_eq!(out, [16_777_216.0]);
        assert!(to_f32(Dtype::I64, &(-16_777_217i64).to_le_bytes(), &mut out).is_err());
    }
}
