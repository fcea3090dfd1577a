//! How long each step of a timed plan takes, by the adapter's timestamps.

use wgpu::{
    Buffer, BufferDescriptor, BufferUsages, CommandEncoder, ComputePassTimestampWrites, QUERY_SIZE, QuerySet,
    QuerySetDescriptor, QueryType,
};

/// Timestamps of one submission, and what all of them have come to.
pub struct Timing {
    queries: QuerySet,
    /// Where the timestamps of a submission lie once it has run.
    pub ticks: Buffer,
    nanoseconds_per_tick: f64,
    /// Nanoseconds of each step, in all runs so far.
    pub spent: Vec<u64>,
}

impl Timing {
    /// For a plan of `steps` steps, of which a submission has at most `longest`.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, steps: usize, longest: u32) -> Self {
        let queries = device.create_query_set(&QuerySetDescriptor {
            label: Some("times"),
            ty: QueryType::Timestamp,
            count: 2 * longest,
        });
        let ticks = device.create_buffer(&BufferDescriptor {
            label: Some("times"),
            size: u64::from(2 * longest) * u64::from(QUERY_SIZE),
            usage: BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self { queries, ticks, nanoseconds_per_tick: f64::from(queue.get_timestamp_period()), spent: vec![0; steps] }
    }

    /// What the pass of a submission's step number `at` writes.
    pub fn writes(&self, at: u32) -> ComputePassTimestampWrites<'_> {
        ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * at),
            end_of_pass_write_index: Some(2 * at + 1),
        }
    }

    /// Puts the timestamps of a submission's `count` steps where they can be read.
    pub fn resolve(&self, count: u32, encoder: &mut CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..2 * count, &self.ticks, 0);
    }

    /// Counts a submission that began with step `from`. `ticks`: two of each step, begin and end.
    pub fn count(&mut self, from: usize, ticks: &[u64]) {
        for (spent, pair) in self.spent[from..].iter_mut().zip(ticks.chunks_exact(2)) {
            // A driver that resets between two submissions may count from 0 again.
            *spent += (pair[1].saturating_sub(pair[0]) as f64 * self.nanoseconds_per_tick) as u64;
        }
    }
}
