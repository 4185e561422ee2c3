//! Line charts with two logarithmic axes.

use std::fmt::Write;

use super::{FILLS, TITLE, WIDTH, escaped};

/// A chart of curves that are compared with each other.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The quantity on the horizontal axis.
    pub(crate) across: String,
    pub(crate) series: Vec<Series>,
}

/// A curve, as points from left to right.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// The margins and the height of the plot, and the height of the axis text below it.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const HEIGHT: f64 = 300.0;
const AXIS: f64 = 44.0;
/// The height of a row of the legend, which has three names.
const ROW: f64 = 20.0;

/// An axis: the logarithms (base 2) of its ends, and the values that are marked.
struct Axis {
    from: f64,
    to: f64,
    marks: Vec<f64>,
}

/// Returns `true` if a logarithmic axis can show the value.
fn has_place(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// Returns the least and the largest of the values that the axis can show, or `(1.0, 1.0)` if there
/// is none.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let wider = |(least, most): (f64, f64), value: f64| (least.min(value), most.max(value));
    let range = values.filter(|value| has_place(*value)).fold((f64::MAX, 0.0), wider);
    if range.1 > 0.0 { range } else { (1.0, 1.0) }
}

impl Axis {
    /// Creates an axis whose ends are powers of two and which encloses both values.
    fn wide((least, most): (f64, f64)) -> Axis {
        let (mut from, to) = (least.log2().floor(), most.log2().ceil());
        if from >= to {
            from = to - 1.0;
        }
        let every = ((to - from) / 8.0).ceil().max(1.0);
        let count = ((to - from) / every) as usize;
        let marks = (0..=count).map(|nth| (from + nth as f64 * every).exp2()).collect();
        Axis { from, to, marks }
    }

    /// Creates an axis that reaches from the least value to the largest.
    fn tight((least, most): (f64, f64)) -> Axis {
        let mut axis = Axis::wide((least, most));
        if least < most {
            (axis.from, axis.to) = (least.log2(), most.log2());
            axis.marks.retain(|mark| (least..=most).contains(mark));
        }
        axis
    }

    /// Returns a value's position on the axis, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        (value.log2() - self.from) / (self.to - self.from)
    }
}

/// Returns the text beside a mark, with only as many digits as distinguish it from its neighbors.
fn told(value: f64) -> String {
    let text = match value.abs() {
        v if v >= 1e6 => return format!("{} M", told(value / 1e6)),
        v if v >= 1e4 => return format!("{} k", told(value / 1e3)),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.4}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

impl Lines {
    /// Returns the curves as SVG elements, and the height of the whole picture.
    pub(crate) fn draw(&self) -> (String, f64) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let across = Axis::tight(range(points().map(|point| point.0)));
        let up = Axis::wide(range(points().map(|point| point.1)));
        let (width, bottom) = (WIDTH - LEFT - RIGHT, TITLE + 10.0 + HEIGHT);
        let x = |value: f64| LEFT + across.at(value) * width;
        let y = |value: f64| bottom - up.at(value) * HEIGHT;
        let mut svg = String::new();
        for mark in &up.marks {
            let (y, told, end) = (y(*mark), told(*mark), WIDTH - RIGHT);
            let _ = write!(
                svg,
                "<line class=\"g\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"u\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{told}</text>",
                LEFT - 6.0,
                y + 4.0,
            );
        }
        for mark in &across.marks {
            let (x, told) = (x(*mark), told(*mark));
            let _ = write!(
                svg,
                "<text class=\"u\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{told}</text>",
                bottom + 18.0,
            );
        }
        let _ = write!(
            svg,
            "<text class=\"u\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            LEFT + width / 2.0,
            bottom + 38.0,
            escaped(&self.across),
        );
        let legend = bottom + AXIS;
        for (nth, series) in self.series.iter().enumerate() {
            let fill = FILLS[nth % FILLS.len()];
            let seen = |point: &&(f64, f64)| has_place(point.0) && has_place(point.1);
            let points: Vec<_> = series.points.iter().filter(seen).collect();
            let line: Vec<_> =
                points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
            let _ = write!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{fill}\" stroke-width=\"2\"/>",
                line.join(" "),
            );
            for point in points {
                let (x, y) = (x(point.0), y(point.1));
                let _ =
                    write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{fill}\"/>");
            }
            let (at, row) = (LEFT + (nth % 3) as f64 * 215.0, legend + (nth / 3) as f64 * ROW);
            let _ = write!(
                svg,
                "<rect x=\"{at}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{fill}\"/>\
                 <text x=\"{}\" y=\"{}\">{}</text>",
                row + 2.0,
                at + 18.0,
                row + 13.0,
                escaped(&series.name),
            );
        }
        (svg, legend + self.series.len().div_ceil(3) as f64 * ROW + 8.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Chart, Plot};
    use super::*;

    fn points(lines: Lines, nth: usize) -> Vec<(f64, f64)> {
        let svg = Chart::new("n", "t", "ms", Plot::Lines(lines)).to_svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let lines = document.descendants().filter(|node| node.has_tag_name("polyline"));
        let points = lines.skip(nth).map(|line| line.attribute("points").unwrap()).next().unwrap();
        let point = |point: &str| {
            let (x, y) = point.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        points.split(' ').map(point).collect()
    }

    fn lines(all: &[&[(f64, f64)]]) -> Lines {
        let series = |points: &&[(f64, f64)]| Series { name: "s".into(), points: points.to_vec() };
        Lines { across: "n".to_owned(), series: all.iter().map(series).collect() }
    }

    #[test]
    fn twice_as_much_is_one_step_on() {
        let at =
            points(lines(&[&[(1.0, 3.0)], &[(1.0, 1.0), (2.0, 0.0), (2.0, 2.0), (4.0, 4.0)]]), 1);
        assert_eq!(at.len(), 3, "zero has no place on this scale");
        assert!((at[2].0 - at[1].0 - (at[1].0 - at[0].0)).abs() < 0.3, "{at:?}");
        assert!((at[0].1 - at[1].1 - (at[1].1 - at[2].1)).abs() < 0.3, "{at:?}");
    }

    #[test]
    fn marks_are_powers_of_two_and_a_wide_axis_encloses_all_values() {
        assert_eq!(Axis::wide((1.0, 32.0)).marks, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
        for (least, most) in [(0.013, 0.9), (3.7, 99.0), (1.0, 12_345.0)] {
            let axis = Axis::wide((least, most));
            assert!(axis.at(least) >= 0.0 && axis.at(most) <= 1.0, "{least} {most}");
            assert!((2..=10).contains(&axis.marks.len()), "{most}: {:?}", axis.marks);
        }
        let axis = Axis::tight((3.0, 30.0));
        assert_eq!((axis.at(3.0), axis.at(30.0)), (0.0, 1.0));
        assert_eq!(axis.marks, [4.0, 8.0, 16.0]);
        assert_eq!(
            [0.25, 3.0, 250.0, 48_000.0, 2e6].map(told),
            ["0.25", "3", "250", "48 k", "2 M"]
        );
    }

    #[test]
    fn a_single_point_and_no_point_at_all_can_be_drawn() {
        assert_eq!(points(lines(&[&[(4.0, 4.0)]]), 0).len(), 1);
        for nothing in [lines(&[]), lines(&[&[]]), lines(&[&[(0.0, f64::NAN)]])] {
            let svg = nothing.draw().0;
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(!lines(&[&[(4.0, 4.0)]]).draw().0.contains("NaN"));
    }
}
