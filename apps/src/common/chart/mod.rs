//! Charts as SVG, for light and dark pages.

mod bars;
mod lines;

use std::fmt::Write;

pub(crate) use self::bars::{Bar, Group};
pub(crate) use self::lines::{Lines, Series};

/// A chart.
#[derive(Debug)]
pub(crate) struct Chart {
    /// A part of the file name of the chart.
    pub(crate) name: String,
    pub(crate) title: String,
    /// The measured quantity and its unit.
    pub(crate) unit: String,
    pub(crate) plot: Plot,
}

/// The kind and the data of a chart.
#[derive(Debug)]
pub(crate) enum Plot {
    /// Groups of horizontal bars.
    Bars(Vec<Group>),
    /// Curves.
    Lines(Lines),
}

const WIDTH: f64 = 720.0;
/// The height of the title and of the unit below it.
const TITLE: f64 = 50.0;

/// Colors that people with color blindness can tell apart (Okabe and Ito, 2008).
const FILLS: [&str; 6] = ["#999999", "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#222}.t{font-weight:600;\
                     font-size:15px}.u{fill:#666}.g{stroke:#ddd}.b{fill:#fff}\
                     @media(prefers-color-scheme:dark){\
                     text{fill:#ddd}.u{fill:#999}.g{stroke:#444}.b{fill:#1b1b1b}}";

/// Escapes a text for an XML document.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Chart {
    pub(crate) fn new(name: &str, title: &str, unit: &str, plot: Plot) -> Chart {
        let (name, title, unit) = (name.to_owned(), title.to_owned(), unit.to_owned());
        Chart { name, title, unit, plot }
    }

    /// Returns the chart as an SVG document, which refers to no outside resource.
    pub(crate) fn to_svg(&self) -> String {
        let (body, height) = match &self.plot {
            Plot::Bars(groups) => bars::draw(groups),
            Plot::Lines(lines) => lines.draw(),
        };
        let mut svg = String::new();
        let _ = writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             role=\"img\"><title>{title}</title><style>{STYLE}</style>\
             <rect class=\"b\" width=\"{WIDTH}\" height=\"{height}\"/>\
             <text class=\"t\" x=\"10\" y=\"24\">{title}</text>\
             <text class=\"u\" x=\"10\" y=\"42\">{unit}</text>{body}</svg>",
            title = escaped(&self.title),
            unit = escaped(&self.unit),
        );
        svg
    }
}
