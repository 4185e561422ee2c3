//! The order of a folder's members as people expect it: folders first, ignoring case, with numbers
//! by their value.

use std::cmp::Ordering;

use super::Member;

/// Sorts the members of a folder.
pub(crate) fn sort(members: &mut [Member]) {
    let key = |member: &Member| {
        let name = String::from_utf8_lossy(&member.name).to_lowercase();
        (!member.is_folder, Natural(name), member.name.clone())
    };
    members.sort_by_cached_key(key);
}

/// A lowercase name that is compared by [`natural`] order.
#[derive(Debug, PartialEq, Eq)]
struct Natural(String);

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        natural(&self.0, &other.0).then_with(|| self.0.cmp(&other.0))
    }
}

/// Compares texts piece by piece, where a piece is a number or a single character.
fn natural(mut one: &str, mut other: &str) -> Ordering {
    loop {
        let ((a, rest), (b, other_rest)) = match (piece(one), piece(other)) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => return a.is_some().cmp(&b.is_some()),
        };
        let is_number = |piece: &str| piece.starts_with(|c: char| c.is_ascii_digit());
        let ordering = match is_number(a) && is_number(b) {
            true => {
                let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                a.len().cmp(&b.len()).then_with(|| a.cmp(b))
            }
            false => a.cmp(b),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
        (one, other) = (rest, other_rest);
    }
}

/// Splits off the first piece.
fn piece(text: &str) -> Option<(&str, &str)> {
    let first = text.chars().next()?;
    let len = match first.is_ascii_digit() {
        true => text.bytes().take_while(u8::is_ascii_digit).count(),
        false => first.len_utf8(),
    };
    Some(text.split_at(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_people() {
        let mut names =
            ["file10", "file2", "file 1", "file02", "a", "", "10", "9", "ä", "file2b", "file"];
        names.sort_by(|a, b| natural(a, b).then_with(|| a.cmp(b)));
        assert_eq!(
            names,
            ["", "9", "10", "a", "file", "file 1", "file02", "file2", "file2b", "file10", "ä"]
        );
        let long = "9".repeat(100);
        assert_eq!(natural(&long, &format!("1{long}")), Ordering::Less);
    }
}
