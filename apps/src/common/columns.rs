//! Rows of text in columns, for a terminal: the first column is left-aligned, the others are
//! right-aligned.

/// Formats the rows as lines. Rows may have different numbers of cells.
pub(crate) fn columns<'a>(rows: impl Iterator<Item = &'a [String]> + Clone) -> Vec<String> {
    let mut widths = Vec::new();
    for row in rows.clone() {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(n, (cell, width))| match n {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        let rows = [vec!["a", "bbb", ""], vec!["öö", "c"], vec!["dddd"]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect::<Vec<_>>());
        let lines = columns(rows.iter().map(Vec::as_slice));
        assert_eq!(lines, ["a     bbb", "öö      c", "dddd"]);
        assert!(columns(std::iter::empty()).is_empty());
    }
}
