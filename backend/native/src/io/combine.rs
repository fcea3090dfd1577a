//! Weighted sums of tensors: what linear merges of models are made of.

use rayon::prelude::*;

use super::{Checkpoint, PIECE, Tensor};
use crate::ensure;
use crate::error::Result;

/// Elements added up at a time: their sums stay in the first-level cache. Whole blocks of every dtype.
pub(super) const BLOCK: usize = 2048;

/// A tensor that is computed from others, part by part.
pub trait Computed: Sync {
    fn elements(&self) -> usize;

    /// Its elements from `start` on, which is a multiple of the blocks. What was read for them is let go.
    fn compute(&self, start: usize, out: &mut [f32]) -> Result<()>;
}

/// A tensor of a checkpoint, and what it is multiplied with.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    checkpoint: &'a Checkpoint,
    pub tensor: &'a Tensor,
    pub weight: f64,
}

impl<'a> Term<'a> {
    pub fn new(checkpoint: &'a Checkpoint, name: &str, weight: f64) -> Result<Self> {
        Ok(Self { checkpoint, tensor: checkpoint.tensor(name)?, weight })
    }

    /// As many elements from `start` on as `scratch` has, converted into it on this thread, or as they lie in the file.
    pub(super) fn values<'s>(&'s self, start: usize, scratch: &'s mut [f32]) -> Result<&'s [f32]> {
        if let Some(stored) = self.checkpoint.floats(self.tensor) {
            return Ok(&stored[start..start + scratch.len()]);
        }
        self.checkpoint.convert_here(self.tensor, start, scratch)?;
        Ok(scratch)
    }

    /// These elements are not needed in memory any more.
    pub(super) fn release(&self, start: usize, elements: usize) {
        self.checkpoint.release(self.tensor, start, elements);
    }
}

pub(super) fn check_shapes(first: &Term<'_>, other: &Term<'_>) -> Result<()> {
    let (first, other) = (first.tensor, other.tensor);
    ensure!(
        other.shape == first.shape,
        "tensors \"{}\" of shape {:?} and \"{}\" of shape {:?} do not add up",
        first.name,
        first.shape,
        other.name,
        other.shape
    );
    Ok(())
}

/// Σ weight · tensor. Every element is added up as f64, in the order of the terms, and rounded to f32 once: products and
/// sums apart, so that the result has the same bits on every processor.
pub struct Combination<'a> {
    terms: Vec<Term<'a>>,
}

impl<'a> Combination<'a> {
    /// Of tensors that have one shape, at least one.
    pub fn new(terms: Vec<Term<'a>>) -> Result<Self> {
        ensure!(!terms.is_empty(), "a sum of no tensors has no shape");
        for other in &terms[1..] {
            check_shapes(&terms[0], other)?;
        }
        Ok(Self { terms })
    }
}

impl Computed for Combination<'_> {
    fn elements(&self) -> usize {
        self.terms[0].tensor.elements()
    }

    fn compute(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let pieces = out.par_chunks_mut(PIECE).enumerate();
        let computed: Result<()> = pieces.try_for_each(|(piece, out)| {
            let (mut sums, mut scratch) = ([0.0_f64; BLOCK], [0.0_f32; BLOCK]);
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                let at = start + piece * PIECE + block * BLOCK;
                let (sums, scratch) = (&mut sums[..out.len()], &mut scratch[..out.len()]);
                // Begun at −0, so that a term alone keeps the sign of its zeros.
                sums.fill(-0.0);
                for term in &self.terms {
                    let values = term.values(at, scratch)?;
                    for (sum, &value) in sums.iter_mut().zip(values) {
                        *sum += term.weight * f64::from(value);
                    }
                }
                for (out, &sum) in out.iter_mut().zip(&*sums) {
                    *out = sum as f32;
                }
            }
            Ok(())
        });
        self.terms.iter().for_each(|term| term.release(start, out.len()));
        computed
    }
}

/// Σ a·b of every two of some tensors as vectors, in f64, row by row: added up in pieces, whose sums are added up in
/// their order, so that they do not depend on the number of threads.
pub fn inner_products(terms: &[Term<'_>]) -> Result<Vec<f64>> {
    ensure!(!terms.is_empty(), "no tensors have no products");
    for other in &terms[1..] {
        check_shapes(&terms[0], other)?;
    }
    let (elements, count) = (terms[0].tensor.elements(), terms.len());
    let pieces = (0..elements.div_ceil(PIECE)).into_par_iter().map(|piece| {
        let (start, end) = (piece * PIECE, elements.min((piece + 1) * PIECE));
        let mut scratch = vec![0.0_f32; count * BLOCK];
        let mut sums = vec![0.0_f64; count * count];
        for at in (start..end).step_by(BLOCK) {
            let length = BLOCK.min(end - at);
            let rows = terms.iter().zip(scratch.chunks_exact_mut(BLOCK));
            let rows =
                rows.map(|(term, scratch)| term.values(at, &mut scratch[..length])).collect::<Result<Vec<_>>>()?;
            for (i, left) in rows.iter().enumerate() {
                for (j, right) in rows.iter().enumerate().skip(i) {
                    let sum = &mut sums[i * count + j];
                    for (&x, &y) in left.iter().zip(*right) {
                        *sum += f64::from(x) * f64::from(y);
                    }
                }
            }
        }
        terms.iter().for_each(|term| term.release(start, end - start));
        Ok(sums)
    });
    let pieces = pieces.collect::<Result<Vec<_>>>()?;
    let mut products = vec![0.0; count * count];
    for sums in &pieces {
        products.iter_mut().zip(sums).for_each(|(product, sum)| *product += sum);
    }
    for i in 0..count {
        for j in 0..i {
            products[i * count + j] = products[j * count + i];
        }
    }
    Ok(products)
}
