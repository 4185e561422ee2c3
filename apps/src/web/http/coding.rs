//! Content codings, and the ones that a client accepts (RFC 9110, section 12.5.3).

use crate::common::conditions::tokens;

/// A coding in which a response may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::web) enum Coding {
    Brotli = 1,
    Zstd = 2,
    Gzip = 4,
}

impl Coding {
    /// All codings, from the one that makes text shortest.
    pub(in crate::web) const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

    /// Returns the coding's name in fields.
    pub(in crate::web) fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// Returns the ending of a file's name that marks the coding.
    pub(in crate::web) fn ending(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Zstd => ".zst",
            Coding::Gzip => ".gz",
        }
    }

    /// Returns the bit that stands for the coding in a set.
    pub(in crate::web) fn bit(self) -> u8 {
        self as u8
    }
}

/// The codings that a client accepts, as sets of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::web) struct Accepted {
    taken: u8,
    /// The codings that the client's `Accept-Encoding` names.
    named: u8,
    /// Whether the client accepts codings that it does not name.
    others: bool,
}

impl Accepted {
    /// Adds the value of an `Accept-Encoding` field, of which there may be several. A weight only
    /// decides between yes and no: among the accepted codings, the server chooses.
    pub(in crate::web) fn add(&mut self, list: &[u8]) {
        for element in tokens(list) {
            let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let is_taken = !parts.any(is_zero);
            if name == b"*" {
                self.others = is_taken;
                continue;
            }
            let is = |coding: &Coding| {
                name.eq_ignore_ascii_case(coding.name().as_bytes())
                    || *coding == Coding::Gzip && name.eq_ignore_ascii_case(b"x-gzip")
            };
            if let Some(coding) = Coding::ALL.into_iter().find(is) {
                self.named |= coding.bit();
                self.taken |= if is_taken { coding.bit() } else { 0 };
            }
        }
    }

    pub(in crate::web) fn has(self, coding: Coding) -> bool {
        match self.named & coding.bit() {
            0 => self.others,
            bit => self.taken & bit != 0,
        }
    }

    pub(in crate::web) fn is_empty(self) -> bool {
        self.taken == 0 && !self.others
    }
}

/// Returns `true` if a parameter is a weight of zero.
fn is_zero(parameter: &[u8]) -> bool {
    let Some((b"q" | b"Q", weight)) = parameter.split_at_checked(1) else { return false };
    let Some(digits) = weight.trim_ascii_start().strip_prefix(b"=") else { return false };
    let digits = digits.trim_ascii();
    digits.starts_with(b"0") && digits.iter().all(|byte| matches!(byte, b'0' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_told_by_names_and_weights() {
        let of = |list: &str| {
            let mut accepted = Accepted::default();
            list.split('|').for_each(|line| accepted.add(line.as_bytes()));
            Coding::ALL.into_iter().filter(|coding| accepted.has(*coding)).collect::<Vec<_>>()
        };
        use Coding::{Brotli, Gzip, Zstd};
        assert_eq!(of("gzip, deflate, br, zstd"), [Brotli, Zstd, Gzip]);
        assert_eq!(of("GZIP;q=1.0, identity"), [Gzip]);
        assert_eq!(of("x-gzip"), [Gzip]);
        assert_eq!(of("gzip;q=0|*|br"), [Brotli, Zstd], "of several fields");
        assert_eq!(of("br;q=0, gzip;q=0.001"), [Gzip]);
        assert_eq!(of("br; Q = 0.000 , *"), [Zstd, Gzip]);
        assert_eq!(of("*;q=0, zstd"), [Zstd]);
        assert_eq!(of("gzip;q=0, *;q=0.5"), [Brotli, Zstd]);
        for none in ["", "identity", "identity;q=0", "deflate", "*;q=0", ", ;q=1,"] {
            assert_eq!(of(none), [], "{none}");
        }
    }
}
