//! Curves over an axis.

use std::fmt::Write;

use super::{FILLS, TITLE, WIDTH, escaped};

/// Curves that are to be compared.
#[derive(Debug)]
pub(in crate::lab) struct Lines {
    /// What the horizontal axis counts.
    pub(in crate::lab) across: String,
    pub(in crate::lab) scale_x: Scale,
    pub(in crate::lab) scale_y: Scale,
    pub(in crate::lab) series: Vec<Series>,
}

/// One curve: points from left to right.
#[derive(Debug)]
pub(in crate::lab) struct Series {
    pub(in crate::lab) name: String,
    pub(in crate::lab) points: Vec<(f64, f64)>,
}

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) enum Scale {
    /// From zero on.
    Linear,
    /// By powers of two; what is not positive is left out.
    Log,
}

/// The plot inside of the picture, and what is below it.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const HEIGHT: f64 = 300.0;
const AXIS: f64 = 44.0;
/// A row of the legend; there are three names in each.
const ROW: f64 = 20.0;

/// An axis: its values, and where they are marked.
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    marks: Vec<f64>,
}

impl Axis {
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Axis {
        let values: Vec<f64> = values.filter(|value| scale.has(*value)).collect();
        let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        match scale {
            Scale::Linear => {
                let step = step(most);
                let count = (most / step).ceil().max(1.0);
                let marks = (0..=count as usize).map(|nth| nth as f64 * step).collect();
                Axis { scale, from: 0.0, to: count * step, marks }
            }
            Scale::Log => {
                let least = values.iter().copied().fold(most, f64::min);
                let (mut from, to) = (least.log2().floor(), most.log2().ceil());
                if from >= to {
                    from = to - 1.0;
                }
                let every = ((to - from) / 8.0).ceil().max(1.0);
                let count = ((to - from) / every) as usize;
                let marks = (0..=count).map(|nth| (from + nth as f64 * every).exp2()).collect();
                Axis { scale, from, to, marks }
            }
        }
    }

    /// Without what is to the left of all values, and to the right of them.
    fn tight(mut self, values: impl Iterator<Item = f64>) -> Axis {
        let values: Vec<f64> = values.filter(|value| self.scale.has(*value)).collect();
        let least = values.iter().copied().fold(f64::MAX, f64::min);
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        if self.scale == Scale::Log && least < most {
            (self.from, self.to) = (least.log2(), most.log2());
            self.marks.retain(|mark| (least..=most).contains(mark));
        }
        self
    }

    /// Where on the axis a value is, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        let value = if self.scale == Scale::Log { value.log2() } else { value };
        (value - self.from) / (self.to - self.from)
    }
}

impl Scale {
    fn has(self, value: f64) -> bool {
        value.is_finite() && (self == Scale::Linear || value > 0.0)
    }
}

/// A step of 1, 2 or 5 times a power of ten, of which at most eight lead to `most`.
fn step(most: f64) -> f64 {
    let power = 10f64.powf(most.log10().ceil());
    let steps = [0.02, 0.05, 0.1, 0.2].map(|part| part * power);
    steps.into_iter().find(|step| most / step <= 8.0).unwrap_or(power)
}

/// A value beside its mark: as few digits as tell it from its neighbors.
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
    /// The curves as elements of SVG, and how high the whole picture is.
    pub(super) fn draw(&self) -> (String, f64) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let values = || points().map(|point| point.0);
        let across = Axis::of(self.scale_x, values()).tight(values());
        let up = Axis::of(self.scale_y, points().map(|point| point.1));
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
            let seen = |point: &&(f64, f64)| across.scale.has(point.0) && up.scale.has(point.1);
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
        let (name, title, unit) = ("n".to_owned(), "t".to_owned(), "ms".to_owned());
        let svg = Chart { name, title, unit, plot: Plot::Lines(lines) }.to_svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let lines = document.descendants().filter(|node| node.has_tag_name("polyline"));
        let points = lines.skip(nth).map(|line| line.attribute("points").unwrap()).next().unwrap();
        let point = |point: &str| {
            let (x, y) = point.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        points.split(' ').map(point).collect()
    }

    fn lines(scale: Scale, all: &[&[(f64, f64)]]) -> Lines {
        let series = |points: &&[(f64, f64)]| Series { name: "s".into(), points: points.to_vec() };
        let series = all.iter().map(series).collect();
        Lines { across: "n".to_owned(), scale_x: scale, scale_y: scale, series }
    }

    #[test]
    fn twice_as_much_is_twice_as_far_or_one_step_on() {
        let linear = lines(Scale::Linear, &[&[(0.0, 0.0), (4.0, 4.0), (8.0, 8.0)]]);
        let at = points(linear, 0);
        assert!((at[2].0 - at[1].0 - (at[1].0 - at[0].0)).abs() < 0.3, "{at:?}");
        assert!((at[0].1 - at[1].1 - (at[1].1 - at[2].1)).abs() < 0.3, "{at:?}");
        let log =
            lines(Scale::Log, &[&[(1.0, 3.0)], &[(1.0, 1.0), (2.0, 0.0), (2.0, 2.0), (4.0, 4.0)]]);
        let at = points(log, 1);
        assert_eq!(at.len(), 3, "zero has no place on this scale");
        assert!((at[2].0 - at[1].0 - (at[1].0 - at[0].0)).abs() < 0.3, "{at:?}");
    }

    #[test]
    fn marks_are_round_and_enclose_all_values() {
        for most in [0.013, 0.9, 1.0, 3.7, 99.0, 12_345.0] {
            let axis = Axis::of(Scale::Linear, [most].into_iter());
            assert!(axis.to >= most && axis.from == 0.0, "{most}");
            assert!((2..=10).contains(&axis.marks.len()), "{most}: {:?}", axis.marks);
        }
        let axis = Axis::of(Scale::Log, [32.0, 1.0].into_iter());
        assert_eq!(axis.marks, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
        let values = || [3.0, 30.0].into_iter();
        let axis = Axis::of(Scale::Log, values()).tight(values());
        assert_eq!((axis.at(3.0), axis.at(30.0)), (0.0, 1.0));
        assert_eq!(axis.marks, [4.0, 8.0, 16.0]);
        assert_eq!(
            [0.25, 3.0, 250.0, 48_000.0, 2e6].map(told),
            ["0.25", "3", "250", "48 k", "2 M"]
        );
    }

    #[test]
    fn a_single_point_and_no_point_at_all_can_be_drawn() {
        for scale in [Scale::Linear, Scale::Log] {
            assert_eq!(points(lines(scale, &[&[(4.0, 4.0)]]), 0).len(), 1);
            assert!(!lines(scale, &[]).draw().0.contains("NaN"));
            assert!(!lines(scale, &[&[(4.0, 4.0)]]).draw().0.contains("NaN"));
        }
    }
}
