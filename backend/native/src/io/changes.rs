//! Models' changes to a base model, thinned out and added to it: what merges by TIES and DARE are made of.
//!
//! Nothing of a tensor is kept in memory but blocks: files are gone through again for every pass. All passes share a
//! tensor's chunks out to threads, and count whole numbers or go element by element, so that results do not depend on
//! how many threads there are.

use rayon::prelude::*;
use serde::Deserialize;

use super::combine::{BLOCK, Computed, Term, check_shapes};
use super::{CHUNK, Checkpoint, PIECE};
use crate::ensure;
use crate::error::Result;

/// Which of a model's changes are kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Keep {
    /// Every one.
    All,
    /// This many of the largest magnitudes after the `without` very largest, and all that are as large as the smallest or
    /// the largest of those.
    Largest { count: usize, without: usize },
    /// Each with probability `below` / 2²⁴, divided by it: element i where the upper 24 bits of the words of Threefry's
    /// block (0, i) under the key, one xor the other, are less. This is `bernoulli` of the language.
    Random { below: u32, key: [u32; 2] },
}

/// What is done with the changes of all models, from the caller.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outline {
    /// The tensor's name in the base, then in each model.
    pub names: Vec<String>,
    /// Of each model.
    pub keep: Vec<Keep>,
    /// Only those changes of an element count whose sign is that of the sum of all of them; + where it is 0.
    pub elect: bool,
    /// The sum is divided by the weights' sum, of those models whose change counts.
    pub normalize: bool,
}

/// Which changes of a model are kept, the smallest and the largest magnitude found.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Between { smallest: f32, largest: f32 },
    Random { below: u32, key: [u32; 2], factor: f32 },
}

struct Model<'a> {
    term: Term<'a>,
    kept: Kept,
}

/// base + scale · Σ weight · kept(model − base), over Σ weight where asked for. Differences are rounded to f32, sums are
/// made in f64, in the order of the models, and rounded once.
pub struct Changes<'a> {
    base: Term<'a>,
    models: Vec<Model<'a>>,
    elect: bool,
    normalize: bool,
    scale: f64,
}

/// Sums of weights that are smaller are taken for 0, by which nothing is divided.
const NO_WEIGHT: f64 = 1e-8;

impl<'a> Changes<'a> {
    /// Of the tensors that `outline` names, the base's first; goes through the files to find the smallest changes kept.
    pub fn new(checkpoints: &'a [&'a Checkpoint], weights: &[f64], scale: f64, outline: &'a Outline) -> Result<Self> {
        let Outline { names, keep, elect, normalize } = outline;
        ensure!(
            checkpoints.len() == weights.len() + 1 && names.len() == checkpoints.len() && keep.len() == weights.len(),
            "{} checkpoints, {} names, {} weights and {} ways to keep changes are no base and its models",
            checkpoints.len(),
            names.len(),
            weights.len(),
            keep.len()
        );
        let term = |index: usize, weight: f64| Term::new(checkpoints[index], &names[index], weight);
        let base = term(0, 1.0)?;
        let terms = (0..keep.len()).map(|model| term(model + 1, weights[model])).collect::<Result<Vec<_>>>()?;
        for each in &terms {
            check_shapes(&base, each)?;
        }
        let bounds = bounds_of_kept(&base, &terms, keep)?;
        let models = terms.into_iter().zip(keep).zip(bounds).map(|((term, &keep), [smallest, largest])| {
            let kept = match keep {
                Keep::All | Keep::Largest { .. } => Kept::Between { smallest, largest },
                Keep::Random { below, key } => {
                    Kept::Random { below, key, factor: (f64::from(1 << 24) / f64::from(below)) as f32 }
                }
            };
            Model { term, kept }
        });
        Ok(Self { base, models: models.collect(), elect: *elect, normalize: *normalize, scale })
    }

    /// Adds a block's kept changes, a row of [`BLOCK`] for each model, to the base's elements.
    fn add(&self, base: &[f32], changes: &[f32], scratch: &mut Sums, out: &mut [f32]) {
        let Sums { sums, weights, signs } = scratch;
        let length = out.len();
        let (sums, weights, signs) = (&mut sums[..length], &mut weights[..length], &mut signs[..length]);
        let rows = || self.models.iter().map(|model| model.term.weight).zip(changes.chunks_exact(BLOCK));
        sums.fill(0.0);
        for (weight, changes) in rows() {
            for (sum, &change) in sums.iter_mut().zip(changes) {
                *sum += weight * f64::from(change);
            }
        }
        if self.elect {
            for (sign, sum) in signs.iter_mut().zip(&*sums) {
                *sign = if *sum >= 0.0 { 1.0 } else { -1.0 };
            }
            sums.fill(0.0);
            weights.fill(0.0);
            for (weight, changes) in rows() {
                for (((sum, weights), sign), &change) in sums.iter_mut().zip(&mut *weights).zip(&*signs).zip(changes) {
                    let change = weight * f64::from(change);
                    let agrees = change * sign > 0.0;
                    *sum += if agrees { change } else { 0.0 };
                    *weights += if agrees { weight } else { 0.0 };
                }
            }
        } else {
            weights.fill(self.models.iter().map(|model| model.term.weight).sum());
        }
        for (((out, &base), sum), &weights) in out.iter_mut().zip(base).zip(&*sums).zip(&*weights) {
            let divisor = if self.normalize && weights.abs() >= NO_WEIGHT { weights } else { 1.0 };
            *out = (f64::from(base) + self.scale * sum / divisor) as f32;
        }
    }
}

/// A block's sums of changes and of their weights, and the signs that were elected.
struct Sums {
    sums: [f64; BLOCK],
    weights: [f64; BLOCK],
    signs: [f64; BLOCK],
}

impl Computed for Changes<'_> {
    fn elements(&self) -> usize {
        self.base.tensor.elements()
    }

    fn compute(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let pieces = out.par_chunks_mut(PIECE).enumerate();
        let computed: Result<()> = pieces.try_for_each(|(piece, out)| {
            let mut changes = vec![0.0_f32; self.models.len() * BLOCK];
            let (mut own, mut values) = ([0.0_f32; BLOCK], [0.0_f32; BLOCK]);
            let mut scratch = Sums { sums: [0.0; BLOCK], weights: [0.0; BLOCK], signs: [0.0; BLOCK] };
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                let at = start + piece * PIECE + block * BLOCK;
                let base = self.base.values(at, &mut own[..out.len()])?;
                for (model, changes) in self.models.iter().zip(changes.chunks_exact_mut(BLOCK)) {
                    let values = model.term.values(at, &mut values[..out.len()])?;
                    keep_changes(model.kept, values, base, at, changes);
                }
                self.add(base, &changes, &mut scratch, out);
            }
            Ok(())
        });
        self.base.release(start, out.len());
        self.models.iter().for_each(|model| model.term.release(start, out.len()));
        computed
    }
}

/// A model's changes to the base, from element `start` on; those that are not kept are 0.
fn keep_changes(kept: Kept, model: &[f32], base: &[f32], start: usize, changes: &mut [f32]) {
    let all = changes.iter_mut().zip(model.iter().zip(base));
    match kept {
        Kept::Between { smallest, largest } => {
            for (out, (value, base)) in all {
                let change = value - base;
                *out = if change.abs() < smallest || change.abs() > largest { 0.0 } else { change };
            }
        }
        Kept::Random { below, key, factor } => {
            for (index, (out, (value, base))) in all.enumerate() {
                // A tensor has fewer elements than 2³²: this is checked where keys are used.
                let [x, y] = threefry(key, [0, (start + index) as u32]);
                *out = if (x ^ y) >> 8 < below { (value - base) * factor } else { 0.0 };
            }
        }
    }
}

/// Threefry2x32-20 (Salmon et al., SC 2011), as `dsl/ops/random.ts` has it.
fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let schedule = [key[0], key[1], key[0] ^ key[1] ^ 0x1bd1_1bda];
    let (mut x, mut y) = (counter[0].wrapping_add(schedule[0]), counter[1].wrapping_add(schedule[1]));
    for turn in 0..5_u32 {
        for rotation in ROTATIONS[turn as usize % 2] {
            x = x.wrapping_add(y);
            y = y.rotate_left(rotation) ^ x;
        }
        let next = turn as usize + 1;
        x = x.wrapping_add(schedule[next % 3]);
        y = y.wrapping_add(schedule[(next + 1) % 3]).wrapping_add(turn + 1);
    }
    [x, y]
}

/// A magnitude's bits are 31, ordered as it is: they are counted by the upper 16, then those of one bucket by the others.
const LOWER_BITS: u32 = 15;
const UPPER: usize = 1 << 16;
const LOWER: usize = 1 << LOWER_BITS;

/// Of each model the smallest and the largest magnitude that are kept: 0 and ∞ where all are.
fn bounds_of_kept(base: &Term<'_>, models: &[Term<'_>], keep: &[Keep]) -> Result<Vec<[f32; 2]>> {
    let elements = base.tensor.elements();
    ensure!(
        u32::try_from(elements).is_ok(),
        "tensor \"{}\" has {elements} elements, too many to be thinned out",
        base.tensor.name
    );
    let mut bounds = vec![[0.0, f32::INFINITY]; models.len()];
    // Which element of a model from the largest on is which bound.
    let mut wanted = Vec::new();
    for (model, keep) in keep.iter().enumerate() {
        if let Keep::Largest { count, without } = *keep {
            let last = without.saturating_add(count.max(1));
            if last < elements {
                wanted.push((model, 0, last));
            }
            if without > 0 && without < elements {
                wanted.push((model, 1, without + 1));
            }
        }
    }
    if wanted.is_empty() {
        return Ok(bounds);
    }
    let terms: Vec<&Term<'_>> = wanted.iter().map(|&(model, ..)| &models[model]).collect();
    let upper = histograms(base, &terms, UPPER, |_, size| Some(size >> LOWER_BITS))?;
    let high: Vec<_> = wanted.iter().zip(&upper).map(|(&(.., rank), counts)| bucket_of(counts, rank)).collect();
    let lower = histograms(base, &terms, LOWER, |index, size| {
        (size >> LOWER_BITS == high[index].0 as u32).then_some(size & (LOWER as u32 - 1))
    })?;
    for ((&(model, bound, _), counts), &(bucket, left)) in wanted.iter().zip(&lower).zip(&high) {
        bounds[model][bound] = f32::from_bits((bucket << LOWER_BITS | bucket_of(counts, left).0) as u32);
    }
    Ok(bounds)
}

/// How often each bucket occurs among each model's changes; `bucket` gets the model and a change's bits without sign.
fn histograms(
    base: &Term<'_>,
    models: &[&Term<'_>],
    buckets: usize,
    bucket: impl Fn(usize, u32) -> Option<u32> + Sync,
) -> Result<Vec<Vec<u32>>> {
    let elements = base.tensor.elements();
    let empty = || vec![vec![0_u32; buckets]; models.len()];
    (0..elements.div_ceil(CHUNK))
        .into_par_iter()
        .try_fold(empty, |mut counts, chunk| {
            let (start, end) = (chunk * CHUNK, elements.min((chunk + 1) * CHUNK));
            let (mut own, mut values) = ([0.0_f32; BLOCK], [0.0_f32; BLOCK]);
            for at in (start..end).step_by(BLOCK) {
                let length = BLOCK.min(end - at);
                let own = base.values(at, &mut own[..length])?;
                for (model, (term, counts)) in models.iter().zip(&mut counts).enumerate() {
                    let values = term.values(at, &mut values[..length])?;
                    for (&value, &own) in values.iter().zip(own) {
                        if let Some(bucket) = bucket(model, (value - own).to_bits() & (u32::MAX >> 1)) {
                            counts[bucket as usize] += 1;
                        }
                    }
                }
            }
            base.release(start, end - start);
            models.iter().for_each(|term| term.release(start, end - start));
            Ok(counts)
        })
        .try_reduce(empty, |mut sums, counts| {
            for (sums, counts) in sums.iter_mut().zip(&counts) {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            Ok(sums)
        })
}

/// The bucket, from the top, that holds the k-th element, and which one of its own that is.
fn bucket_of(counts: &[u32], k: usize) -> (usize, usize) {
    let mut left = k;
    for (bucket, &count) in counts.iter().enumerate().rev() {
        if left <= count as usize {
            return (bucket, left);
        }
        left -= count as usize;
    }
    // Not reached: there are at least k elements.
    (0, left)
}
