//! 16-bit reals, branchless so that loops over them become vector code.

/// An IEEE half's value.
#[inline(always)]
pub fn from_f16(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // Exponent bias 15 → 127. Halfs below the normal range are normal here: the multiplication does it.
    let value = f32::from_bits(magnitude) * f32::from_bits(0x7780_0000);
    let special = f32::from_bits(magnitude | 0x7f80_0000);
    let value = if bits & 0x7c00 == 0x7c00 { special } else { value };
    f32::from_bits(value.to_bits() | u32::from(bits & 0x8000) << 16)
}

/// The nearest half (ties to even).
#[inline(always)]
pub fn to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Below 2⁻¹⁴: adding 0.5 leaves the value, rounded to multiples of 2⁻²⁴, in the low bits.
    let small = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    let finite = if magnitude < 113 << 23 { small } else { normal };
    let infinite_or_nan = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    let half = if magnitude >= 143 << 23 { infinite_or_nan } else { finite };
    (half | sign) as u16
}

/// A bfloat16's value.
#[inline(always)]
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bfloat16 (ties to even).
#[inline(always)]
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halfs_are_those_of_the_half_crate() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (from_f16(bits), half::f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:x}");
            let (ours, theirs) = (from_bf16(bits), half::bf16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:x}");
        }
        for bits in (0..=u32::MAX)
            .step_by(4099)
            .chain((0..=0xffff).flat_map(|high| [0x8000, 0x7fff, 0x8001].map(|low| high << 16 | low)))
        {
            let value = f32::from_bits(bits);
            let half = half::f16::from_f32(value);
            assert!(to_f16(value) == half.to_bits() || value.is_nan() && from_f16(to_f16(value)).is_nan(), "{value:e}");
            let half = half::bf16::from_f32(value);
            assert!(
                to_bf16(value) == half.to_bits() || value.is_nan() && from_bf16(to_bf16(value)).is_nan(),
                "{value:e}"
            );
        }
        for low in (0x1000..0x4000).step_by(0x1000) {
            for high in 0..0x1_0000_u32 {
                let value = f32::from_bits(high << 14 | low);
                if !value.is_nan() {
                    assert_eq!(to_f16(value), half::f16::from_f32(value).to_bits(), "{value:e}");
                }
            }
        }
    }
}
