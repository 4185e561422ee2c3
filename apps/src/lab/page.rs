//! The results of experiments, as one HTML page without external resources.

use std::fmt::Write;
use std::time::Instant;

use dapple::clock;

use super::progress::told;
use super::report::{Outcome, Report, Table, Verdict};
use crate::common::chart::escaped;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#ddd;--soft:#666;--good:#00734f;--bad:#b03a00}\
@media(prefers-color-scheme:dark){:root{--line:#444;--soft:#aaa;--good:#3fbf95;--bad:#ff9a5c}\
body{background:#1b1b1b;color:#ddd}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h2{margin-top:3rem;border-top:1px solid var(--line);padding-top:1rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0;font-size:.9rem}\
caption{text-align:left;font-weight:600;padding:.3rem 0}\
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:right;\
font-variant-numeric:tabular-nums}\
th{font-weight:600}th:first-child,td:first-child,.said td,.said th{text-align:left}\
.holds{color:var(--good);font-weight:600;white-space:nowrap}\
.fails{color:var(--bad);font-weight:600;white-space:nowrap}\
figure{margin:1.5rem 0}svg{width:100%;height:auto}\
code{font-family:ui-monospace,monospace}li{color:var(--soft)}";

/// The facts that all experiments of a page share.
pub(super) struct About {
    /// The command that makes the page.
    pub(super) command: String,
    /// Whether the run was quick: it shows that everything works, and its figures mean nothing.
    pub(super) is_quick: bool,
    pub(super) machine: String,
    pub(super) circumstances: String,
    pub(super) began: Instant,
}

/// Makes the page.
pub(super) fn html(reports: &[Report], about: &About) -> String {
    let mut html = String::new();
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>dapple lab</title><style>{STYLE}</style></head><body>\n\
         <h1>dapple lab</h1>\n<p>Claims of two papers on programs with colors and contexts, \
         measured with dapple {version} on {}. {}. <code>{}</code> took {}.</p>\n",
        escaped(&about.machine),
        escaped(&about.circumstances),
        escaped(&about.command),
        told(clock::now() - about.began),
    );
    if about.is_quick {
        html += "<p class=\"fails\">This was a quick run, to see that everything works: its \
                 figures mean nothing.</p>\n";
    }
    html += "<div class=\"wide\"><table class=\"said\"><caption>Expected and measured</caption>\
             <thead><tr><th>experiment<th>expected<th>measured<th></tr></thead><tbody>\n";
    for report in reports {
        for verdict in &report.verdicts {
            verdict_row(&mut html, report, verdict);
        }
        if let Err(message) = report.end() {
            let (name, message) = (escaped(&report.name), escaped(&message));
            let _ = writeln!(
                html,
                "<tr><td><a href=\"#{name}\">{name}</a><td colspan=\"3\" class=\"fails\">\
                 {message}</tr>"
            );
        }
    }
    html += "</tbody></table></div>\n";
    for report in reports {
        section(&mut html, report);
    }
    html + "</body></html>\n"
}

fn verdict_row(html: &mut String, report: &Report, verdict: &Verdict) {
    let Verdict { expected, measured, outcome } = verdict;
    let (class, outcome) = match outcome {
        Outcome::Holds => ("holds", "holds"),
        Outcome::Fails => ("fails", "does not hold"),
    };
    let (name, expected, measured) = (escaped(&report.name), escaped(expected), escaped(measured));
    let _ = writeln!(
        html,
        "<tr><td><a href=\"#{name}\">{name}</a><td>{expected}<td>{measured}\
         <td class=\"{class}\">{outcome}</tr>"
    );
}

fn section(html: &mut String, report: &Report) {
    let name = escaped(&report.name);
    let _ = writeln!(
        html,
        "<h2 id=\"{name}\">{name}</h2>\n<p><code>dapple lab {name}</code>: {}</p>",
        escaped(&report.setting)
    );
    for chart in &report.charts {
        let _ = writeln!(html, "<figure>{}</figure>", chart.to_svg().trim_end());
    }
    for table in &report.tables {
        write_table(html, table);
    }
    if !report.remarks.is_empty() {
        html.push_str("<ul>\n");
        for remark in &report.remarks {
            let _ = writeln!(html, "<li>{}</li>", escaped(remark));
        }
        html.push_str("</ul>\n");
    }
}

fn write_table(html: &mut String, table: &Table) {
    let row = |cells: &[String], tag: &str| {
        let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let _ = write!(
        html,
        "<div class=\"wide\"><table><caption>{}</caption><thead>{}</thead><tbody>",
        escaped(&table.caption),
        row(&table.head, "th"),
    );
    for cells in &table.rows {
        html.push_str(&row(cells, "td"));
    }
    html.push_str("</tbody></table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::super::report::End;
    use super::*;
    use crate::common::chart::{Bar, Chart, Group, Plot};

    #[test]
    fn a_page_has_everything_and_nothing_from_outside() {
        let mut table = Table::new("caption <1>", ["", "a & b"]);
        table.add(["row".to_owned(), "1.50".to_owned()]);
        let bars = vec![Bar { name: "one".to_owned(), value: 1.0 }];
        let plot = Plot::Bars(vec![Group { name: "group".to_owned(), bars }]);
        let report = Report {
            name: "stream".to_owned(),
            setting: "32 nodes".to_owned(),
            machine: String::new(),
            tables: vec![table],
            charts: vec![Chart::new("n", "chart", "s", plot)],
            verdicts: vec![
                Verdict::of("as fast", "1 x".to_owned(), || true),
                Verdict::of("faster", "0.9 x".to_owned(), || false),
            ],
            remarks: vec!["remark".to_owned()],
            end: End::Failed("no & more".to_owned()),
        };
        let about = About {
            command: "dapple lab all".to_owned(),
            is_quick: true,
            machine: "2 cores <x>".to_owned(),
            circumstances: "a debug build".to_owned(),
            began: clock::now(),
        };
        let page = html(&[report], &about);
        for part in [
            "2 cores &lt;x&gt;",
            "<code>dapple lab all</code> took 0 s",
            "a debug build",
            "This was a quick run",
            "failed: no &amp; more",
            "<code>dapple lab stream</code>: 32 nodes</p>",
            "caption &lt;1&gt;",
            "<th>a &amp; b</th>",
            "<td>1.50</td>",
            "<svg",
            "<td>as fast<td>1 x<td class=\"holds\">holds",
            "<td>faster<td>0.9 x<td class=\"fails\">does not hold",
            "<li>remark</li>",
            "prefers-color-scheme:dark",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        // The name of a namespace is not fetched.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
