//! Binary contingency tables, and random tables with the same margins.
//!
//! The sampler is a Markov chain of swaps. A step draws two rows and two columns. If their four
//! cells are a checkerboard, their ones and zeros change places, which keeps the sums of all rows
//! and columns. A step and its reverse are equally probable, and every table can be reached from
//! every other one with the same margins (Ryser, 1957), so in the limit all of them are equally
//! probable.

use super::super::draw::Draw;

/// The number of steps from one sample to the next, for each cell. With random tables about one
/// step in eleven changes four cells, so each cell changes one and a half times on average.
pub(super) const STEPS: u64 = 4;

/// A table of at most 64 rows, with one word for each column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) rows: u32,
    pub(super) columns: Vec<u64>,
}

impl Table {
    /// Makes a random table. About half of its cells are ones, but the share differs from column to
    /// column.
    ///
    /// # Panics
    ///
    /// Panics if `rows` is 0 or more than 64.
    pub(super) fn random(rows: u32, columns: usize, draw: &mut Draw) -> Table {
        assert!((1..=64).contains(&rows), "{rows} rows");
        let mask = u64::MAX >> (64 - rows);
        let column = |_| {
            let (a, b) = (draw.next(), draw.next());
            match draw.below(3) {
                0 => a & mask,
                1 => (a | b) & mask,
                _ => a & b & mask,
            }
        };
        Table { rows, columns: (0..columns).map(column).collect() }
    }

    /// Makes the next sample: goes [`STEPS`] steps for each cell, which is enough to forget the old
    /// table.
    pub(super) fn next_sample(&mut self, draw: &mut Draw) {
        let cells = u64::from(self.rows) * self.columns.len() as u64;
        self.swap(STEPS * cells, draw);
    }

    /// Goes `steps` steps of the chain.
    pub(super) fn swap(&mut self, steps: u64, draw: &mut Draw) {
        let (rows, columns) = (u64::from(self.rows), self.columns.len() as u64);
        for _ in 0..steps {
            // Places differ in probability by some millionths. That does no harm, because a step
            // and its reverse draw the same places.
            let (a, b) = (draw.next(), draw.next());
            let (i, j) = (place(a >> 32, columns), place(a & 0xffff_ffff, columns));
            let cells = (1u64 << place(b >> 32, rows)) | (1 << place(b & 0xffff_ffff, rows));
            // The cells are a checkerboard if the columns differ in both rows, and neither column
            // has two equal cells there.
            let (a, b) = (self.columns[i] & cells, self.columns[j] & cells);
            if a ^ b == cells && a != 0 && b != 0 {
                self.columns[i] ^= cells;
                self.columns[j] ^= cells;
            }
        }
    }
}

/// Maps a number of 32 bits to a place among `n`.
fn place(drawn: u64, n: u64) -> usize {
    ((drawn * n) >> 32) as usize
}

/// Counts the pairs of columns that evolve together. Two columns have a row in common if both have
/// a one there. A pair counts if it has more rows in common in the observed table than in any
/// sample; a table may consist of several bands. The first column of a pair is in `from`, and the
/// second is any column after it.
pub(super) fn coevolved(
    observed: &[Table],
    samples: &[Vec<Table>],
    from: std::ops::Range<usize>,
) -> u64 {
    let common = |bands: &[&Table], i: usize, j: usize| -> u32 {
        bands.iter().map(|band| (band.columns[i] & band.columns[j]).count_ones()).sum()
    };
    let observed: Vec<&Table> = observed.iter().collect();
    // The bands have equally many samples. The n-th samples of all bands form the n-th table.
    let count = samples.iter().map(Vec::len).min().unwrap_or(0);
    let nth = |n: usize| samples.iter().map(|bands| &bands[n]).collect();
    let samples: Vec<Vec<&Table>> = (0..count).map(nth).collect();
    let columns = observed.first().map_or(0, |band| band.columns.len());
    let mut found = 0;
    for i in from {
        for j in i + 1..columns {
            let seen = common(&observed, i, j);
            let most = samples.iter().map(|bands| common(bands, i, j)).max().unwrap_or(0);
            found += u64::from(seen > most);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn margins(table: &Table) -> (Vec<u32>, Vec<u32>) {
        let row = |row: u32| table.columns.iter().map(|c| (c >> row & 1) as u32).sum();
        let columns = table.columns.iter().map(|column| column.count_ones()).collect();
        ((0..table.rows).map(row).collect(), columns)
    }

    /// Returns all tables with the same margins as `table`.
    fn all_like(table: &Table) -> Vec<Vec<u64>> {
        let (rows, count) = (table.rows, table.columns.len() as u32);
        let column = |cells: u64, nth: u32| cells >> (nth * rows) & ((1 << rows) - 1);
        let columns = |cells: u64| (0..count).map(|nth| column(cells, nth)).collect::<Vec<_>>();
        let wanted = margins(table);
        (0..1 << (rows * count))
            .map(columns)
            .filter(|columns| margins(&Table { rows, columns: columns.clone() }) == wanted)
            .collect()
    }

    /// Returns the value that chi-square with `freedom` degrees of freedom exceeds with a
    /// probability of 0.1 % (Wilson and Hilferty, 1931).
    fn critical(freedom: usize) -> f64 {
        let k = freedom as f64;
        let part = 2.0 / (9.0 * k);
        k * (1.0 - part + 3.0902 * part.sqrt()).powi(3)
    }

    /// Draws tables with the margins of `first` 40,000 times. Returns their chi-square, and the
    /// limit that it exceeds with a probability of only 0.1 % if all tables are equally probable.
    fn chi_square(first: &Table, mut next: impl FnMut(&mut Table)) -> (f64, f64) {
        const DRAWN: usize = 40_000;
        let (mut table, all) = (first.clone(), all_like(first));
        let mut counts: BTreeMap<Vec<u64>, usize> =
            all.iter().map(|table| (table.clone(), 0)).collect();
        for _ in 0..DRAWN {
            next(&mut table);
            *counts.get_mut(&table.columns).expect("it has the margins") += 1;
        }
        let expected = DRAWN as f64 / all.len() as f64;
        let square = |count: &usize| (*count as f64 - expected).powi(2) / expected;
        (counts.values().map(square).sum(), critical(all.len() - 1))
    }

    const TABLES: [(u32, &[u64]); 8] = [
        (2, &[0b01, 0b10]),
        (3, &[0b001, 0b010, 0b100]),
        (4, &[0b0001, 0b0010, 0b0100, 0b1000]),
        (4, &[0b0011, 0b0011, 0b1100, 0b1100]),
        (4, &[0b0111, 0b0001, 0b0011, 0b1100]),
        (4, &[0b0001, 0b0011, 0b0111, 0b0100]),
        (3, &[0b011, 0b110, 0b001, 0b101]),
        (4, &[0b1010, 0b0101, 0b1001]),
    ];

    #[test]
    fn all_tables_with_the_same_margins_are_equally_probable() {
        for (nth, (rows, columns)) in TABLES.into_iter().enumerate() {
            let table = Table { rows, columns: columns.to_vec() };
            let mut draw = Draw(nth as u64 + 1);
            let (chi, limit) = chi_square(&table, |table| table.next_sample(&mut draw));
            assert!(chi < limit, "{columns:?}: {chi} of {limit}");
        }
        // From a printed table: chi-square with 1, 9 and 89 degrees of freedom exceeds these values
        // with a probability of 0.1 %.
        for (freedom, wanted) in [(1, 10.83), (9, 27.88), (89, 135.98)] {
            assert!((critical(freedom) / wanted - 1.0).abs() < 0.04, "{freedom}");
        }
    }

    #[test]
    fn a_chain_that_prefers_some_tables_is_noticed() {
        let table = Table { rows: 4, columns: vec![0b0001, 0b0011, 0b0111, 0b0100] };
        // When the first column loses the one in its first row, every other such step is undone.
        let mut draw = Draw(1);
        let (chi, limit) = chi_square(&table, |table| {
            for _ in 0..STEPS * 16 {
                let before = table.clone();
                table.swap(1, &mut draw);
                if before.columns[0] & 1 > table.columns[0] & 1 && draw.below(2) == 0 {
                    *table = before;
                }
            }
        });
        assert!(chi > 2.0 * limit, "{chi} of {limit}");
        // One step is not enough to forget the old table.
        let near = chi_square(&table, |table| table.swap(1, &mut draw));
        assert!(near.0 > near.1, "{near:?}");
    }

    #[test]
    fn margins_stay_in_large_tables_and_much_changes() {
        let mut draw = Draw(5);
        let table = Table::random(64, 300, &mut draw);
        let mut other = table.clone();
        other.swap(100_000, &mut draw);
        assert_eq!(margins(&table), margins(&other));
        let differ = table.columns.iter().zip(&other.columns).filter(|(a, b)| a != b).count();
        assert!(differ > 250, "{differ}");
    }

    #[test]
    fn pairs_that_have_more_in_common_than_in_samples_are_found() {
        let band = |columns: &[u64]| Table { rows: 4, columns: columns.to_vec() };
        let observed = [band(&[0b0011, 0b0011, 0b0100]), band(&[0b0001, 0b0001, 0b0001])];
        // The pairs have 3, 1 and 1 rows in common; in the samples at most 2, 1 and 0.
        let samples = [
            vec![band(&[0b0011, 0b0001, 0b0010]), band(&[0b0011, 0b0011, 0b1100])],
            vec![band(&[0b0001, 0b0001, 0b0000]), band(&[0b0001, 0b0010, 0b0100])],
        ];
        assert_eq!(coevolved(&observed, &samples, 0..3), 2);
        let parts = (0..3).map(|i| coevolved(&observed, &samples, i..i + 1)).sum::<u64>();
        assert_eq!(parts, 2, "it can be counted in parts");
    }
}
