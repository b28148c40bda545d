//! Looking at what a model computes on its way.

use std::fmt;

use candle_core::{DType, Tensor};
use kernels::parallel::{chunks_mut, for_each};
use sequence::AttentionPlan;

use crate::Error;
use crate::ops::kept::Kept;
use crate::ops::{self, Heads, elements};

/// Takes intermediate results, by the names of the trace format.
pub trait Tap {
    /// Takes one result.
    fn tensor(&mut self, name: &str, value: &Tensor);

    /// Takes one call of attention: `resampler.layer.N` for each image, `layer.N` for each sequence.
    ///
    /// # Errors
    /// If what it does with the call fails.
    fn attention(&mut self, _name: &str, _call: &Attended<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Takes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTap;

impl Tap for NoTap {
    fn tensor(&mut self, _name: &str, _value: &Tensor) {}
}

/// One call of attention: what its kernel reads besides the values.
pub struct Attended<'a> {
    pub(crate) q: &'a Tensor,      // [rows, heads * dim]
    pub(crate) keys: &'a Kept<'a>, // of the columns, or more
    pub(crate) plan: &'a AttentionPlan,
    pub(crate) heads: Heads,
}

impl fmt::Debug for Attended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, heads, .. } = self;
        f.debug_struct("Attended").field("plan", plan).field("heads", heads).finish_non_exhaustive()
    }
}

impl Attended<'_> {
    /// Returns the number of rows, the queries.
    pub fn num_rows(&self) -> usize {
        self.plan.num_rows()
    }

    /// Returns the number of columns, the keys.
    pub fn num_columns(&self) -> usize {
        self.plan.num_columns()
    }

    /// Returns how much some rows look at each column, the mean of all heads; a row sums to one,
    /// unless it sees nothing. `// [rows, columns]`
    ///
    /// # Errors
    /// If the framework fails.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn weights(&self, rows: &[usize]) -> Result<Vec<f32>, Error> {
        let q = self.q.to_dtype(DType::F32)?.contiguous()?;
        let keys = self.keys.keys(self.num_columns(), self.heads)?;
        let (q, keys): (&[f32], &[f32]) = (&elements(&q)?, &keys);
        let mut weights = vec![0.0; rows.len() * self.num_columns()];
        for_each(chunks_mut(&mut weights, self.num_columns().max(1)), 1, |index, mean| {
            self.row(rows[index], (q, keys), mean);
        });
        Ok(weights)
    }

    fn row(&self, row: usize, (q, keys): (&[f32], &[f32]), mean: &mut [f32]) {
        let Heads { query, key_value, dim } = self.heads;
        let scale = ops::shape(self.heads).scale;
        let q = &q[row * query * dim..(row + 1) * query * dim];
        for (head, q) in q.chunks_exact(dim).enumerate() {
            let of_head = head / (query / key_value) * dim;
            let columns = self.plan.visible(row).iter().flat_map(Clone::clone);
            let score = |column: u32| {
                let at = column as usize * key_value * dim + of_head;
                (column as usize, scale * dot(q, &keys[at..at + dim]))
            };
            let mut scores: Vec<(usize, f32)> = columns.map(score).collect();
            let highest = scores.iter().map(|(_, score)| *score).fold(f32::NEG_INFINITY, f32::max);
            for (_, score) in &mut scores {
                *score = (*score - highest).exp();
            }
            let sum: f32 = scores.iter().map(|(_, score)| *score).sum();
            for (column, score) in scores {
                mean[column] += score / (sum * query as f32);
            }
        }
    }
}

/// Sums in eight lanes, which the compiler makes vectors of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + rest
}
