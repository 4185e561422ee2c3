//! Groups of horizontal bars.

use std::fmt::Write;

use super::{FILLS, TITLE, WIDTH, escaped};

/// A group of bars that are compared with each other.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) bars: Vec<Bar>,
}

/// A bar, which shows one value.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
}

const LABELS: f64 = 210.0;
const VALUES: f64 = 70.0;
const BAR: f64 = 16.0;
const GAP: f64 = 5.0;

/// Returns the bars as SVG elements, and the height of the whole picture.
pub(crate) fn draw(groups: &[Group]) -> (String, f64) {
    let bars = || groups.iter().flat_map(|group| &group.bars);
    let most = bars().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LABELS - VALUES) / most;
    let (mut svg, mut y) = (String::new(), TITLE);
    for group in groups {
        y += 24.0;
        let name = escaped(&group.name);
        let _ = write!(svg, "<text class=\"t\" x=\"10\" y=\"{}\">{name}</text>", y - 6.0);
        for (nth, bar) in group.bars.iter().enumerate() {
            let (length, fill) = (bar.value * scale, FILLS[nth % FILLS.len()]);
            let (name, base) = (escaped(&bar.name), y + BAR - 3.0);
            let _ = write!(
                svg,
                "<text x=\"20\" y=\"{base}\">{name}</text><rect x=\"{LABELS}\" y=\"{y}\" \
                 width=\"{length:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>\
                 <text x=\"{:.1}\" y=\"{base}\">{:.2}</text>",
                LABELS + length + 6.0,
                bar.value,
            );
            y += BAR + GAP;
        }
        y += 6.0;
    }
    (svg, y)
}

#[cfg(test)]
mod tests {
    use super::super::{Chart, Plot};
    use super::*;

    #[test]
    fn a_chart_is_a_document_of_its_own() {
        let bars = vec![
            Bar { name: "one <a>".to_owned(), value: 1.0 },
            Bar { name: "two".to_owned(), value: 2.0 },
        ];
        let plot = Plot::Bars(vec![Group { name: "g & h".to_owned(), bars }]);
        let svg = Chart::new("n", "t", "x", plot).to_svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let width = |nth: usize| {
            let rects = document.descendants().filter(|node| node.has_tag_name("rect"));
            let rect = rects.skip(1).nth(nth).unwrap();
            rect.attribute("width").unwrap().parse::<f64>().unwrap()
        };
        assert!((width(1) - 2.0 * width(0)).abs() < 0.2, "bars are as long as their values");
        let text = |text: &str| document.descendants().any(|node| node.text() == Some(text));
        assert!(text("one <a>") && text("g & h") && text("2.00"));
    }
}
