//! Pseudorandom numbers that are the same in each run.

/// A generator whose numbers depend on nothing but the seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn next(&mut self) -> u64 {
        // splitmix64, by Vigna (2015), in the public domain.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Returns one of the elements.
    #[cfg(feature = "sim")]
    pub(super) fn one<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len() as u64) as usize]
    }

    /// Returns an independent generator, for a part of what is drawn.
    #[cfg(feature = "sim")]
    pub(super) fn child(&mut self) -> Draw {
        Draw(self.next())
    }
}
