//! Sampling and the summary in slices, for the program that was split by hand.

use std::ops::Range;

use super::super::draw::Draw;
use super::peer::{self, Job, SAMPLES};
use super::table::{self, Table};

/// The sampling of a part, one sample at a time.
pub(super) struct Sampling {
    table: Table,
    draw: Draw,
    samples: Vec<Table>,
}

impl Sampling {
    pub(super) fn new(round: u32, part: u32, band: Table) -> Sampling {
        Sampling { table: band, draw: peer::draw(round, part), samples: Vec::new() }
    }

    /// Makes one more sample; returns all samples when there are [`SAMPLES`] of them.
    pub(super) fn step(&mut self) -> Option<Vec<Table>> {
        self.table.next_sample(&mut self.draw);
        self.samples.push(self.table.clone());
        (self.samples.len() == SAMPLES).then(|| std::mem::take(&mut self.samples))
    }
}

/// Summarizes some columns; the sum over all columns is the whole summary.
pub(super) fn summarize(job: &Job, columns: Range<usize>) -> u64 {
    table::coevolved(&job.bands, &job.samples, columns)
}
