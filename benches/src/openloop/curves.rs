//! Latency over load as SVG, written by hand. There is a column of panels for each mean service
//! time, a row for each percentile, a line for each system, and a dashed line for the computed
//! reference.
//!
//! The scale of a panel fits the loads up to 100 %. Above that, a latency only says how long the
//! run was. Such points are drawn as far as the panel reaches.

use std::fmt::Write;

use super::record::{Figures, REFERENCE, Record, distinct};

/// The color of each system, chosen so that people with any color vision can tell them apart (Okabe
/// and Ito). The last system is drawn on top.
const COLORS: [(&str, &str); 7] = [
    ("sharded", "#e69f00"),
    ("rayon", "#cc79a7"),
    ("tokio", "#d55e00"),
    ("dapple-off", "#009e73"),
    ("dapple-eager", "#56b4e9"),
    ("dapple-cost-aware", "#0072b2"),
    (REFERENCE, "#000000"),
];

/// A percentile's name, and a function that reads it from a run's figures.
type Percentile = (&'static str, fn(&Figures) -> u64);

const ROWS: [Percentile; 3] =
    [("p50", |f| f.latency.p50), ("p99", |f| f.latency.p99), ("p99.9", |f| f.latency.p999)];

const PANEL_WIDTH: f64 = 300.0;
const PANEL_HEIGHT: f64 = 220.0;
/// Space to the left of a panel for its scale, below it, around everything, and above everything.
const LEFT: f64 = 88.0;
const BELOW: f64 = 64.0;
const MARGIN: f64 = 16.0;
const TOP: f64 = 84.0;

const NOTE: &str = "Medians over the rounds. Panels are scaled for loads up to 100 %; \
    above, latency grows as long as the run lasts.";

/// Returns the drawing of these records, which have the same setup, distribution and spread of
/// keys.
pub fn svg(title: &str, records: &[&Record]) -> String {
    let means = distinct(records.iter().copied(), |r| r.point.mean_us);
    let width = MARGIN + means.len().max(2) as f64 * (LEFT + PANEL_WIDTH);
    let bottom = TOP + ROWS.len() as f64 * (PANEL_HEIGHT + BELOW);
    let height = bottom + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    );
    legend(records, &mut out);
    for (column, mean) in means.into_iter().enumerate() {
        let of_mean: Vec<&Record> =
            records.iter().copied().filter(|r| r.point.mean_us == mean).collect();
        for (row, (name, figure)) in ROWS.into_iter().enumerate() {
            let panel = Panel {
                x: LEFT + column as f64 * (LEFT + PANEL_WIDTH),
                y: TOP + row as f64 * (PANEL_HEIGHT + BELOW),
                loads: Scale::of_loads(&of_mean),
                latencies: Scale::of_latencies(&of_mean, figure),
            };
            let id = format!("panel-{column}-{row}");
            let title = format!("{name}, mean service {mean} us");
            panel.frame(&title, &id, &distinct(of_mean.iter().copied(), load), &mut out);
            panel.lines(&of_mean, figure, &id, &mut out);
        }
    }
    writeln!(out, "<text x=\"{MARGIN}\" y=\"{bottom}\" fill=\"#666\">{NOTE}</text>\n</svg>")
        .expect(STRING);
    out
}

fn load(record: &Record) -> f64 {
    f64::from(record.point.load)
}

fn microseconds(record: &Record, figure: fn(&Figures) -> u64) -> f64 {
    // The logarithm of zero is infinite.
    record.median(|f| figure(f).max(1) as f64) / 1e3
}

/// Writes the names of the systems that occur. The system that is drawn last comes first.
fn legend(records: &[&Record], out: &mut String) {
    let systems = distinct(records.iter().copied(), |r| r.system);
    let mut x = MARGIN;
    for (name, color) in COLORS.into_iter().rev().filter(|(name, _)| systems.contains(name)) {
        let dashes = dashes(name);
        writeln!(
            out,
            "<line x1=\"{x}\" y1=\"48\" x2=\"{}\" y2=\"48\" stroke=\"{color}\" stroke-width=\"2\"{dashes}/>\
             <text x=\"{}\" y=\"52\">{name}</text>",
            x + 24.0,
            x + 30.0
        )
        .expect(STRING);
        x += 48.0 + 6.6 * name.len() as f64;
    }
}

const STRING: &str = "a string takes what is written";

fn dashes(system: &str) -> &'static str {
    if system == REFERENCE { " stroke-dasharray=\"6 4\"" } else { "" }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A range of values that is mapped to 0..1.
#[derive(Clone, Copy)]
struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    fn of_loads(records: &[&Record]) -> Self {
        let most = records.iter().map(|r| load(r)).fold(100.0, f64::max);
        Scale { from: 0.0, to: most + 4.0 }
    }

    /// Returns a scale for logarithms of microseconds.
    fn of_latencies(records: &[&Record], figure: fn(&Figures) -> u64) -> Self {
        let below_capacity = |r: &&&Record| r.point.load <= 100;
        let any = records.iter().any(|r| below_capacity(&r));
        let chosen = records.iter().filter(|r| !any || below_capacity(r));
        let logs = chosen.map(|r| microseconds(r, figure).log10());
        let (least, most) = logs.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        let room = ((most - least) * 0.05).max(0.02);
        // The scale spans at least a factor of two, so that noise does not fill a panel.
        let missing = (2f64.log10() - (most - least)).max(0.0) / 2.0;
        Scale { from: least - room - missing, to: most + room + missing }
    }

    fn place(self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    /// Returns round numbers of microseconds on this scale, as many as can be told apart.
    fn ticks(self) -> Vec<f64> {
        let steps: &[f64] = match self.to - self.from {
            span if span > 2.2 => &[1.0],
            span if span > 1.5 => &[1.0, 3.0],
            span if span > 0.7 => &[1.0, 2.0, 5.0],
            _ => &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        };
        let decades = self.from.floor() as i32..=self.to.ceil() as i32;
        let ticks = decades.flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)));
        ticks.filter(|t| (0.0..=1.0).contains(&self.place(t.log10()))).collect()
    }
}

/// The position of a panel, and its scales.
struct Panel {
    x: f64,
    y: f64,
    loads: Scale,
    latencies: Scale,
}

impl Panel {
    fn place_load(&self, load: f64) -> f64 {
        self.x + self.loads.place(load) * PANEL_WIDTH
    }

    fn place_latency(&self, microseconds: f64) -> f64 {
        // Points far outside the panel need no exact position.
        let place = self.latencies.place(microseconds.log10()).clamp(-2.0, 3.0);
        self.y + (1.0 - place) * PANEL_HEIGHT
    }

    /// Draws everything but the lines.
    fn frame(&self, title: &str, id: &str, loads: &[f64], out: &mut String) {
        let (x, y, right, bottom) = (self.x, self.y, self.x + PANEL_WIDTH, self.y + PANEL_HEIGHT);
        let middle = x + PANEL_WIDTH / 2.0;
        for tick in self.latencies.ticks() {
            let at = self.place_latency(tick);
            writeln!(
                out,
                "<path d=\"M{x} {at:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                x - 6.0,
                at + 4.0,
                number(tick)
            )
            .expect(STRING);
        }
        for &load in loads {
            let at = self.place_load(load);
            writeln!(
                out,
                "<path d=\"M{at:.1} {y}V{bottom}\" stroke=\"#eee\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{load}</text>",
                bottom + 16.0
            )
            .expect(STRING);
        }
        let (label_x, label_y) = (x - 58.0, y + PANEL_HEIGHT / 2.0);
        writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{PANEL_WIDTH}\" height=\"{PANEL_HEIGHT}\" fill=\"none\" \
             stroke=\"#888\"/>\n\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-weight=\"bold\">{title}</text>\n\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">load (%)</text>\n\
             <text transform=\"translate({label_x} {label_y}) rotate(-90)\" \
             text-anchor=\"middle\">latency (us)</text>\n\
             <clipPath id=\"{id}\"><rect x=\"{x}\" y=\"{y}\" width=\"{PANEL_WIDTH}\" \
             height=\"{PANEL_HEIGHT}\"/></clipPath>",
            y - 7.0,
            bottom + 31.0
        )
        .expect(STRING);
    }

    fn lines(&self, records: &[&Record], figure: fn(&Figures) -> u64, id: &str, out: &mut String) {
        writeln!(out, "<g clip-path=\"url(#{id})\">").expect(STRING);
        for (name, color) in COLORS {
            let mut points: Vec<(f64, f64)> = records
                .iter()
                .filter(|r| r.system == name)
                .map(|r| (load(r), microseconds(r, figure)))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let place = |&(load, us): &(f64, f64)| {
                format!("{:.1},{:.1}", self.place_load(load), self.place_latency(us))
            };
            let places: Vec<String> = points.iter().map(place).collect();
            writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.8\"{}/>",
                places.join(" "),
                dashes(name)
            )
            .expect(STRING);
            for (x, y) in places.iter().filter_map(|place| place.split_once(',')) {
                writeln!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"2.6\" fill=\"{color}\"/>")
                    .expect(STRING);
            }
        }
        out.push_str("</g>\n");
    }
}

/// Formats a number with commas between thousands, with at most two decimals below 1,000 and none
/// above.
fn number(value: f64) -> String {
    let rounded = (value * 100.0).round() / 100.0;
    if rounded < 1_000.0 {
        return format!("{rounded}");
    }
    let digits = format!("{rounded:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
#[path = "curves_tests.rs"]
mod tests;
