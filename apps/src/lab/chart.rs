//! Bars as an SVG, for light and dark pages.

use std::fmt::Write;

/// Groups of horizontal bars.
#[derive(Debug)]
pub(super) struct Chart {
    /// A part of its file's name.
    pub(super) name: String,
    pub(super) title: String,
    /// What the bars are measured in.
    pub(super) unit: String,
    pub(super) groups: Vec<Group>,
}

/// Bars that are to be compared.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) bars: Vec<Bar>,
}

/// One value.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
}

const WIDTH: f64 = 720.0;
const LABELS: f64 = 210.0;
const VALUES: f64 = 70.0;
const BAR: f64 = 16.0;
const GAP: f64 = 5.0;

/// Colors that people with color blindness tell apart (Okabe and Ito, 2008).
const FILLS: [&str; 6] = ["#999999", "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#222}.t{font-weight:600;\
                     font-size:15px}.u{fill:#666}@media(prefers-color-scheme:dark){\
                     text{fill:#ddd}.u{fill:#999}.b{fill:#1b1b1b}}";

/// Text as it stands in a document.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Chart {
    /// The document: a picture with no outside resource.
    pub(super) fn to_svg(&self) -> String {
        let bars = || self.groups.iter().flat_map(|group| &group.bars);
        let most = bars().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LABELS - VALUES) / most;
        let rows = bars().count() as f64 * (BAR + GAP) + self.groups.len() as f64 * 30.0;
        let height = 50.0 + rows;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             role=\"img\"><title>{title}</title><style>{STYLE}</style>\
             <rect class=\"b\" width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\
             <text class=\"t\" x=\"10\" y=\"24\">{title}</text>\
             <text class=\"u\" x=\"10\" y=\"42\">{unit}</text>",
            title = escaped(&self.title),
            unit = escaped(&self.unit),
        );
        let mut y = 50.0;
        for group in &self.groups {
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
        svg + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_a_document_of_its_own() {
        let bars = vec![
            Bar { name: "one <a>".to_owned(), value: 1.0 },
            Bar { name: "two".to_owned(), value: 2.0 },
        ];
        let groups = vec![Group { name: "g & h".to_owned(), bars }];
        let (name, title, unit) = ("n".to_owned(), "t".to_owned(), "x".to_owned());
        let svg = Chart { name, title, unit, groups }.to_svg();
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
