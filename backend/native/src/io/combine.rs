//! Weighted sums of tensors: what linear merges of models are made of.

use rayon::prelude::*;

use super::{Checkpoint, PIECE, Tensor};
use crate::error::Result;
use crate::{ensure, fail};

/// Elements added up at a time: their sums stay in the first-level cache. Whole blocks of every dtype.
const BLOCK: usize = 2048;

/// Σ weight · tensor. Every element is added up as f64, in the order of the terms, and rounded to f32 once: products and
/// sums apart, so that the result has the same bits on every processor.
pub struct Combination<'a> {
    terms: Vec<(&'a Checkpoint, &'a Tensor, f64)>,
}

impl<'a> Combination<'a> {
    /// Of tensors that have one shape.
    pub fn new(terms: Vec<(&'a Checkpoint, &'a str, f64)>) -> Result<Self> {
        let found = |(checkpoint, name, weight): (&'a Checkpoint, &'a str, f64)| {
            checkpoint.tensor(name).map(|tensor| (checkpoint, tensor, weight))
        };
        let terms = terms.into_iter().map(found).collect::<Result<Vec<_>>>()?;
        if let [(_, first, _), others @ ..] = &terms[..] {
            for (_, other, _) in others {
                ensure!(
                    other.shape == first.shape,
                    "tensors \"{}\" of shape {:?} and \"{}\" of shape {:?} do not add up",
                    first.name,
                    first.shape,
                    other.name,
                    other.shape
                );
            }
        }
        Ok(Self { terms })
    }

    pub fn elements(&self) -> Result<usize> {
        let Some((_, tensor, _)) = self.terms.first() else { fail!("a sum of no tensors has no shape") };
        Ok(tensor.elements())
    }

    /// The sum's elements from `start` on, which is a multiple of the blocks.
    pub fn compute(&self, start: usize, out: &mut [f32]) -> Result<()> {
        out.par_chunks_mut(PIECE).enumerate().try_for_each(|(piece, out)| {
            let (mut sums, mut values) = ([0.0_f64; BLOCK], [0.0_f32; BLOCK]);
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                let at = start + piece * PIECE + block * BLOCK;
                let (sums, values) = (&mut sums[..out.len()], &mut values[..out.len()]);
                // Begun at −0, so that a term alone keeps the sign of its zeros.
                sums.fill(-0.0);
                for &(checkpoint, tensor, weight) in &self.terms {
                    checkpoint.convert_here(tensor, at, values)?;
                    for (sum, &value) in sums.iter_mut().zip(&*values) {
                        *sum += weight * f64::from(value);
                    }
                }
                for (out, &sum) in out.iter_mut().zip(&*sums) {
                    *out = sum as f32;
                }
            }
            Ok(())
        })
    }
}
