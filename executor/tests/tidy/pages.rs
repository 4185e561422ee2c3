//! Checks of the Markdown pages: links lead to existing targets, lines fit into a terminal, and the
//! index names all pages.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::workspace;

/// The maximum number of columns of a line of prose.
const MOST_COLUMNS: usize = 100;
/// The maximum for the README, which is read first, and in a terminal.
const MOST_COLUMNS_OF_README: usize = 80;

/// A page: its path from the workspace, and its text.
pub(super) struct Page {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Returns the pages of the root folder, `docs` and `fuzz`.
pub(super) fn pages() -> Vec<Page> {
    let root = workspace();
    let mut all = Vec::new();
    for folder in ["", "docs", "fuzz"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).unwrap();
                all.push(Page { path: path.strip_prefix(&root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(all.len() > 15, "the pages have moved");
    all
}

/// Returns the lines outside code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            return None;
        }
        (!is_code).then_some((at + 1, line))
    })
}

/// Returns the targets of the links in a line: `[text](target)`, and `[name]: target`.
fn targets(line: &str) -> Vec<&str> {
    // A link in a code span is not a link.
    let is_code = |at: usize| line[..at].matches('`').count() % 2 == 1;
    let starts = line.match_indices("](").filter(|(at, _)| !is_code(*at));
    let mut all: Vec<&str> =
        starts.filter_map(|(at, _)| line[at + 2..].split(')').next()).collect();
    if line.starts_with('[') {
        all.extend(line.split_once("]: ").map(|(_, target)| target.trim()));
    }
    all
}

/// Returns the anchors of a page: headings as GitHub turns them into anchors, and `id`s.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (_, line) in prose(text) {
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let keeps = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            all.insert(heading.chars().filter(keeps).collect::<String>().replace(' ', "-"));
        }
        all.extend(line.split("id=\"").skip(1).filter_map(|rest| {
            let (id, _) = rest.split_once('"')?;
            Some(id.to_owned())
        }));
    }
    all
}

/// Returns the broken links of a page at this path, one line each.
fn broken_links(path: &Path, text: &str) -> Vec<String> {
    let root = workspace();
    let mut broken = Vec::new();
    for (at, line) in prose(text) {
        for target in targets(line) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = root.join(path).parent().unwrap().to_owned();
            let to = if file.is_empty() { root.join(path) } else { folder.join(file) };
            let has_anchor = || {
                let there = fs::read_to_string(&to).unwrap_or_default();
                if file.is_empty() { anchors(text) } else { anchors(&there) }.contains(anchor)
            };
            if !to.exists() {
                broken.push(format!("{}:{at}: no file {file}", path.display()));
            } else if !anchor.is_empty() && !has_anchor() {
                broken.push(format!("{}:{at}: no heading #{anchor} in {file}", path.display()));
            }
        }
    }
    broken
}

#[test]
fn links_of_the_pages_lead_somewhere() {
    let broken: Vec<String> =
        pages().iter().flat_map(|page| broken_links(&page.path, &page.text)).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn broken_links_are_found() {
    let path = Path::new("docs/RULES.md");
    for (text, is_broken) in [
        ("[a](TESTING.md)", false),
        ("[a](TESTING.md#models)", false),
        ("[a](#c1) <a id=\"c1\"></a>", false),
        ("## A heading, with `code`\n[a](#a-heading-with-code)", false),
        ("[a](https://example.com/none)", false),
        ("`v[i](x)`", false),
        ("```text\n[a](none.md)\n```", false),
        ("[a](../none.md)", true),
        ("[a](TESTING.md#no-such-heading)", true),
        ("[a](#none)", true),
        ("[a]: none.rs", true),
    ] {
        assert_eq!(!broken_links(path, text).is_empty(), is_broken, "{text}");
    }
}

/// Tables, code and link targets may be wider.
#[test]
fn lines_of_the_pages_fit() {
    let mut wide = Vec::new();
    for page in pages() {
        let most =
            if page.path == Path::new("README.md") { MOST_COLUMNS_OF_README } else { MOST_COLUMNS };
        for (at, line) in prose(&page.text) {
            let may = line.trim_start().starts_with('|') || !line.trim().contains(' ');
            if !may && line.chars().count() > most {
                wide.push(format!("{}:{at}", page.path.display()));
            }
        }
    }
    assert!(wide.is_empty(), "lines that are too wide:\n{}", wide.join("\n"));
}

#[test]
fn the_index_names_every_page() {
    let index = fs::read_to_string(workspace().join("docs/README.md")).unwrap();
    for page in pages().iter().filter(|page| page.path.starts_with("docs")) {
        let name = page.path.file_name().unwrap().to_str().unwrap();
        let is_named = name == "README.md" || index.contains(&format!("]({name})"));
        assert!(is_named, "docs/README.md does not name {name}");
    }
}
