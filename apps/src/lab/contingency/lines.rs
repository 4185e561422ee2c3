//! Counts the lines that differ between two programs.

/// Returns the lines of code, without comments and empty lines.
fn code(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).collect()
}

/// The changes that turn one program into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// The number of lines of the second program.
    pub(super) lines: usize,
    pub(super) added: usize,
    pub(super) removed: usize,
}

/// Returns the smallest numbers of added and removed lines.
pub(super) fn changes(from: &str, to: &str) -> Changes {
    let (from, to) = (code(from), code(to));
    // For each place in `to`, the length of the longest common subsequence of the parts before it.
    let mut lengths = vec![0; to.len() + 1];
    for a in &from {
        let mut diagonal = 0;
        for (at, b) in to.iter().enumerate() {
            let above = lengths[at + 1];
            lengths[at + 1] = if a == b { diagonal + 1 } else { above.max(lengths[at]) };
            diagonal = above;
        }
    }
    let common = lengths[to.len()];
    Changes { lines: to.len(), added: to.len() - common, removed: from.len() - common }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_diff_counts_them() {
        let of = |from, to| {
            let Changes { added, removed, .. } = changes(from, to);
            (added, removed)
        };
        assert_eq!(of("a\nb\nc\n", "a\nb\nc\n"), (0, 0));
        assert_eq!(of("a\nb\nc\n", "a\n  x\ny\nc\n"), (2, 1));
        assert_eq!(of("// one\na\n\n", "a\n// two\n"), (0, 0), "what is no code does not count");
        assert_eq!(of("a\nb\n", "b\na\n"), (1, 1));
        assert_eq!(of("", "a\n"), (1, 0));
        assert_eq!(changes("a\n", "a\n\nb\n").lines, 2);
    }
}
