//! Listings of folders, as HTML pages show them.

mod order;

use std::fmt::Write;

use super::date;

pub(crate) use order::sort;

/// The style sheet of the pages.
pub(crate) const STYLE: &str = include_str!("page.css");

/// A member of a folder.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: Box<[u8]>,
    pub(crate) is_folder: bool,
    /// Whether the member is a symbolic link.
    pub(crate) is_link: bool,
    pub(crate) is_executable: bool,
    pub(crate) size: u64,
    /// The time of the last change, in seconds since 1970.
    pub(crate) modified: i64,
}

impl Member {
    /// Returns the approximate memory use of the member, in bytes.
    pub(crate) fn cost(&self) -> usize {
        size_of::<Member>() + self.name.len()
    }
}

/// Writes the table cell of a time, or nothing if the year is not between 0 and 9999.
pub(crate) fn write_time(out: &mut String, seconds: i64) {
    let Some(time) = date::iso(seconds) else { return };
    let shown = &time[..16].replace('T', " ");
    let _ = write!(out, "<td class=\"time\"><time datetime=\"{time}\">{shown}</time></td> ");
}

/// Writes the table cell of a size.
///
/// People see the short form. Programs that parse such pages (lftp's `mirror`, for example) expect
/// the size in the text after the time, as in Apache's listings, and read no more bytes of the file
/// than it says.
pub(crate) fn write_size(out: &mut String, bytes: u64) {
    let _ =
        write!(out, "<td class=\"size\" data-size=\"{}\"><data>{bytes}</data></td>", size(bytes));
}

/// Formats a size for people: up to three digits and a decimal unit.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut scaled = bytes as f64 / 1_000.0;
    // A value that would be rounded up to 1000 is shown in the next unit.
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1_000.0;
        unit += 1;
    }
    let unit = UNITS[unit];
    if scaled < 9.95 { format!("{scaled:.1} {unit}") } else { format!("{scaled:.0} {unit}") }
}

/// Escapes a text for HTML, including attributes.
pub(crate) fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_234, "1.2 kB"),
            (12_345, "12 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (1_500_000_000, "1.5 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
