//! exp, log, sin, cos, tanh as straight-line code that LLVM turns into vectors. Each is right at ±∞, NaN, on overflow
//! and underflow, and within 2 ulp (tested against f64).
//!
//! `FMA`: does the processor multiply and add in one instruction? Without one, `mul_add` is a slow function.
#![allow(clippy::excessive_precision, reason = "the digits are the sources'")]

/// 1.5 · 2²³: adding it rounds to an integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;
const LN2_HIGH: f32 = 0.693_359_375;
const LN2_LOW: f32 = -2.121_944_4e-4;

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// 2ⁿ for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// e to the power of x.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    // Not `min` and `max`: they swallow NaN.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.5 { -104.5 } else { x };
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let whole = shifted - ROUND;
    let r = fma::<FMA>(whole, -LN2_HIGH, x);
    let r = fma::<FMA>(whole, -LN2_LOW, r);
    let p = fma::<FMA>(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = fma::<FMA>(p, r, 8.333_452e-3);
    let p = fma::<FMA>(p, r, 4.166_579_6e-2);
    let p = fma::<FMA>(p, r, 1.666_666_6e-1);
    let p = fma::<FMA>(p, r, 5e-1);
    let p = fma::<FMA>(p, r * r, r) + 1.0;
    // In two steps, so that results below the normal range come out. (−151 ≤ n ≤ 129, or p is NaN.)
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// The natural logarithm (the method of FreeBSD's e_logf.c).
#[inline(always)]
pub fn log<const FMA: bool>(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 33_554_432.0 } else { x };
    let bits = scaled.to_bits().wrapping_add(0x3f80_0000 - 0x3f35_04f3);
    let exponent = ((bits >> 23) as i32).wrapping_sub(if subnormal { 127 + 25 } else { 127 });
    let mantissa = f32::from_bits((bits & 0x007f_ffff) + 0x3f35_04f3);
    let k = exponent as f32;
    let f = mantissa - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let t1 = w * fma::<FMA>(w, 0.242_790_79, 0.400_009_72);
    let t2 = z * fma::<FMA>(w, 0.284_987_87, 0.666_666_63);
    let half_square = 0.5 * f * f;
    let low = fma::<FMA>(k, 9.058_000_6e-6, s * (half_square + (t1 + t2)));
    let value = fma::<FMA>(k, 6.931_381_2e-1, low - half_square + f);
    let value = if x == f32::INFINITY { x } else { value };
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    // Negative numbers and NaN.
    if x >= 0.0 { value } else { f32::NAN }
}

/// Arguments beyond this go to [`sin_cos_far`]: n·π/2 must be exact enough in f64.
pub const FAR: f32 = 1.0e8;

/// sin(x), or cos(x) with `quarter` 1; |x| ≤ [`FAR`]. Range reduction and polynomials in f64.
#[inline(always)]
fn sin_shifted(x: f32, quarter: i64) -> f32 {
    const ROUND64: f64 = 6_755_399_441_055_744.0;
    let x = f64::from(x);
    let shifted = x * std::f64::consts::FRAC_2_PI + ROUND64;
    let n = (shifted.to_bits() as i64).wrapping_sub(ROUND64.to_bits() as i64);
    let whole = shifted - ROUND64;
    let r = x - whole * 1.570_796_310_901_641_8;
    let r = r - whole * 1.589_325_477_352_819_6e-8;
    let n = n.wrapping_add(quarter);
    let z = r * r;
    let w = z * z;
    let sine = (r + z * r * (-0.166_666_666_416_265_236 + z * 0.008_333_329_385_889_463))
        + z * r * w * (-0.000_198_393_348_360_966_32 + z * 0.000_002_718_311_493_989_822_2);
    let cosine = ((1.0 + z * -0.499_999_997_251_031_0) + w * 0.041_666_623_323_739_06)
        + w * z * (-0.001_388_676_377_460_993 + z * 0.000_024_390_448_796_277_41);
    let value = if n & 1 == 0 { sine } else { cosine };
    (if n & 2 == 0 { value } else { -value }) as f32
}

#[inline(always)]
pub fn sin(x: f32) -> f32 {
    // The sum would make −0 of it.
    let value = sin_shifted(x, 0);
    if x == 0.0 { x } else { value }
}

#[inline(always)]
pub fn cos(x: f32) -> f32 {
    sin_shifted(x, 1)
}

/// (sin x, cos x) for any x: slow, for arguments beyond [`FAR`].
pub fn sin_cos_far(x: f32) -> (f32, f32) {
    let (sine, cosine) = f64::from(x).sin_cos();
    (sine as f32, cosine as f32)
}

/// The hyperbolic tangent.
#[inline(always)]
pub fn tanh<const FMA: bool>(x: f32) -> f32 {
    let magnitude = x.abs();
    let z = x * x;
    let p = fma::<FMA>(-5.704_988_73e-3, z, 2.063_908_88e-2);
    let p = fma::<FMA>(p, z, -5.373_971_54e-2);
    let p = fma::<FMA>(p, z, 1.333_144_22e-1);
    let p = fma::<FMA>(p, z, -3.333_328_20e-1);
    let small = fma::<FMA>(p * z, x, x);
    let large = 1.0 - 2.0 / (exp::<FMA>(2.0 * magnitude) + 1.0);
    (if magnitude < 0.625 { small } else { large }).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of the nearest f32.
    fn ulps(ours: f32, exact: f64) -> f64 {
        let nearest = exact as f32;
        if ours.to_bits() == nearest.to_bits() || ours.is_nan() && exact.is_nan() {
            return 0.0;
        }
        if !ours.is_finite() || !nearest.is_finite() {
            return if ours == nearest { 0.0 } else { f64::INFINITY };
        }
        let exponent = nearest.abs().max(f32::MIN_POSITIVE).to_bits() >> 23;
        let unit = 2_f64.powi(exponent as i32 - 127 - 23);
        (f64::from(ours) - exact).abs() / unit
    }

    /// Numbers of every magnitude, both signs, and a dense stretch around 1.
    fn samples() -> impl Iterator<Item = f32> {
        let coarse = (0..=u32::MAX).step_by(7919).map(f32::from_bits);
        let dense = (-400_000..400_000).map(|i| i as f32 * 2.5e-4);
        let near = (0..200_000).map(|i| 0.5 + i as f32 * 1e-5);
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, f32::MAX, 1e-45];
        coarse.chain(dense).chain(near).chain(special).chain(special.map(|x| -x))
    }

    fn worst(name: &str, ours: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, range: f32) -> f64 {
        let mut worst = (0.0, 0.0);
        for x in samples().filter(|x| x.is_nan() || x.is_infinite() || x.abs() <= range) {
            let error = ulps(ours(x), exact(f64::from(x)));
            if error > worst.0 {
                worst = (error, x);
            }
        }
        println!("{name}: {:.3} ulp at {:e}", worst.0, worst.1);
        worst.0
    }

    #[test]
    fn errors_are_within_two_ulp() {
        assert!(worst("exp", exp::<true>, f64::exp, f32::MAX) < 2.0);
        assert!(worst("exp, no fma", exp::<false>, f64::exp, f32::MAX) < 2.0);
        assert!(worst("log", log::<true>, f64::ln, f32::MAX) < 2.0);
        assert!(worst("log, no fma", log::<false>, f64::ln, f32::MAX) < 2.0);
        assert!(worst("sin", sin, f64::sin, FAR) < 1.0);
        assert!(worst("cos", cos, f64::cos, FAR) < 1.0);
        assert!(worst("tanh", tanh::<true>, f64::tanh, f32::MAX) < 2.0);
        assert!(worst("tanh, no fma", tanh::<false>, f64::tanh, f32::MAX) < 2.0);
    }

    #[test]
    fn zeros_keep_their_sign() {
        for zero in [0.0_f32, -0.0] {
            assert_eq!(sin(zero).to_bits(), zero.to_bits());
            assert_eq!(tanh::<true>(zero).to_bits(), zero.to_bits());
        }
    }
}
