//! Checks the claims of docs/ARCHITECTURE.md about the source, and the style of every file.
//!
//! A list, which may only shrink, names the files with unsafe code, atomics, threads or clocks.
//!
//! * `TIDY=shrink cargo test -p dapple --test tidy` removes from the list what is gone.
//! * `cargo test -p dapple --test tidy table -- --nocapture` prints figures of the executor's
//!   structure, or, with `TIDY_TREE=folder`, of another tree of sources.
mod pages;
mod structure;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of all Rust files, whose comments are checked.
const ALL: [&str; 6] = ["executor", "io", "colors", "apps", "benches", "fuzz"];

/// The packages whose sources are checked. Tests, models and benchmarks are not.
const ROOTS: [&str; 4] = ["executor/src", "io/src", "colors/src", "apps/src"];

/// The maximum number of columns of a line.
const MOST_COLUMNS: usize = 100;
/// The maximum number of lines of a function.
const MOST_LINES_OF_FUNCTION: usize = 70;
/// The maximum number of lines of a file.
const MOST_LINES: usize = 600;
/// The minimum number of words of a SAFETY comment.
const FEWEST_WORDS: usize = 4;

/// The maximum number of unsafe blocks in the executor.
const MOST_UNSAFE: usize = 223;
/// The maximum number of unsafe blocks in the two folders that run posted events.
const MOST_UNSAFE_RUNNING: usize = 70;
/// The maximum number of files that import each other in a circle.
const MOST_IN_A_CIRCLE: usize = 14;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A source file without its unit tests.
struct Source {
    path: String,
    text: String,
}

/// Reads the Rust files in these folders of the workspace, in the order of their paths.
fn files(folders: &[&str]) -> Vec<Source> {
    files_of(folders, &["rs"])
}

/// Reads the files with these extensions in these folders of the workspace, in the order of their
/// paths.
fn files_of(folders: &[&str], extensions: &[&str]) -> Vec<Source> {
    fn walk(folder: &Path, extensions: &[&str], all: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("target") => {}
                true => walk(&path, extensions, all),
                false if extensions.iter().any(|it| path.extension() == Some(it.as_ref())) => {
                    all.push(path)
                }
                false => {}
            }
        }
    }
    let (root, mut paths) = (workspace(), Vec::new());
    folders.iter().for_each(|folder| walk(&root.join(folder), extensions, &mut paths));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        Source { path: path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), text }
    };
    paths.into_iter().map(read).collect()
}

fn sources() -> Vec<Source> {
    let mut sources = files(&ROOTS);
    sources
        .retain(|source| !source.path.contains("/models/") && !source.path.ends_with("tests.rs"));
    for source in &mut sources {
        let end = source.text.find("#[cfg(test)]\nmod tests").unwrap_or(source.text.len());
        source.text.truncate(end);
    }
    sources
}

impl Source {
    /// Returns the lines of code, with their numbers, without comments and documentation.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn has(&self, what: impl Fn(&str) -> bool) -> bool {
        self.code().any(|(_, line)| what(line))
    }
}

/// Returns `true` if the line contains this word as a whole word.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.split(|c| !is_part(c)).any(|part| part == word)
}

/// Returns the restricted features that a file uses.
fn places(source: &Source) -> Vec<&'static str> {
    let mut found = Vec::new();
    if source.has(|line| has_word(line, "unsafe") && !line.contains("unsafe_code")) {
        found.push("unsafe");
    }
    for (what, packages, names) in [
        ("atomics", &["executor", "io"][..], &["std::sync::atomic", "core::sync::atomic"][..]),
        ("threads", &["executor", "io", "apps"], &["std::thread"]),
        ("thread-locals", &["executor", "io", "apps"], &["thread_local!"]),
        ("clocks", &["executor", "io", "apps"], &["Instant::now", "SystemTime::now", ".elapsed()"]),
        (
            "locks",
            &["executor", "io"],
            &["std::sync::Mutex", "std::sync::RwLock", "std::sync::Condvar", "std::sync::{"],
        ),
        ("randomness", &["executor", "io"], &["RandomState::new", "getrandom"]),
    ] {
        let is_asked = packages.iter().any(|package| source.path.starts_with(package));
        if is_asked && source.has(|line| names.iter().any(|name| line.contains(name))) {
            found.push(what);
        }
    }
    found
}

/// A fault, and its line.
type Fault = (&'static str, usize);

fn faults(source: &Source) -> Vec<Fault> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found: Vec<Fault> = Vec::new();
    if lines.len() > MOST_LINES {
        found.push(("long file", 1));
    }
    for (at, line) in lines.iter().enumerate() {
        if line.chars().count() > MOST_COLUMNS {
            found.push(("wide line", at + 1));
        }
        if is_function(line) && length_of_function(&lines[at..]) > MOST_LINES_OF_FUNCTION {
            found.push(("long function", at + 1));
        }
        if let Some((paragraph, is_summary)) = paragraph_at(&lines, at) {
            let first = paragraph.split(". ").next().unwrap_or_default();
            if is_summary && (first.ends_with('?') || first.contains("? ")) {
                found.push(("question for a summary", at + 1));
            }
            let needs_another = ["The same", "As above", "As there"];
            if needs_another.iter().any(|start| paragraph.starts_with(start)) {
                found.push(("documentation that needs another", at + 1));
            }
        }
        if let Some((_, proof)) = line.split_once("// SAFETY: ")
            && !lines.get(at + 1).is_some_and(|next| next.trim_start().starts_with("// "))
            && proof.split_whitespace().count() < FEWEST_WORDS
        {
            found.push(("proof of a few words", at + 1));
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    let line = line.trim_start();
    let is_item = ["fn ", "pub", "const fn ", "async fn ", "unsafe fn "];
    is_item.iter().any(|start| line.starts_with(start)) && line.contains("fn ")
}

/// Returns the number of lines up to the closing brace, as rustfmt places it.
fn length_of_function(lines: &[&str]) -> usize {
    let indent = lines[0].len() - lines[0].trim_start().len();
    let close = format!("{}}}", " ".repeat(indent));
    let open = lines.iter().position(|line| line.ends_with(['{', ';', '}'])).unwrap_or(0);
    if !lines[open].ends_with('{') {
        return open + 1;
    }
    lines.iter().position(|line| *line == close).map_or(1, |at| at + 1)
}

/// Returns the paragraph of documentation that begins here, and whether it is the first one.
fn paragraph_at(lines: &[&str], at: usize) -> Option<(String, bool)> {
    let doc = |line: &str| line.trim_start().strip_prefix("///").map(|text| text.trim().to_owned());
    let first = doc(lines[at]).filter(|text| !text.is_empty())?;
    let before = at.checked_sub(1).and_then(|before| doc(lines[before]));
    if before.as_ref().is_some_and(|text| !text.is_empty()) {
        return None;
    }
    let more = lines[at + 1..].iter().map_while(|line| doc(line)).take_while(|t| !t.is_empty());
    Some((more.fold(first, |all, text| all + " " + &text), before.is_none()))
}

/// The number of findings, by name and file.
type Counts = BTreeMap<(String, String), usize>;

fn read(list: &str) -> Counts {
    let line = |line: &str| {
        let mut parts = line.split('\t');
        let mut part = || parts.next().unwrap_or_else(|| panic!("{line}"));
        let (what, path, count) = (part().to_owned(), part().to_owned(), part());
        ((what, path), count.parse().unwrap())
    };
    list.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(line).collect()
}

/// Compares the findings with the list in a file of this folder.
fn check(name: &str, found: &Counts) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tidy").join(name);
    let text = fs::read_to_string(&file).unwrap();
    let listed = read(&text);
    let shrinks = std::env::var("TIDY").as_deref() == Ok("shrink");
    let mut problems = Vec::new();
    for ((what, path), count) in found {
        let allowed = listed.get(&(what.clone(), path.clone())).copied().unwrap_or(0);
        if *count > allowed {
            problems.push(format!("{path}: {what}, {count} instead of {allowed}"));
        }
    }
    let count_of = |key| found.get(key).copied().unwrap_or(0);
    let is_less = listed.iter().any(|(key, allowed)| count_of(key) < *allowed);
    if shrinks && is_less {
        let comments: String =
            text.lines().filter(|l| l.starts_with('#')).map(|l| format!("{l}\n")).collect();
        let rest = listed.iter().map(|(key, allowed)| (key, count_of(key).min(*allowed)));
        let rest = rest.filter(|(_, count)| *count > 0);
        let lines = rest.map(|((what, path), count)| format!("{what}\t{path}\t{count}\n"));
        fs::write(&file, comments + &lines.collect::<String>()).unwrap();
    } else if is_less {
        problems.push(format!("{name} can shrink: TIDY=shrink cargo test -p dapple --test tidy"));
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn unsafe_code_atomics_threads_and_clocks_stand_where_they_may() {
    let mut found = Counts::new();
    for source in sources() {
        for what in places(&source) {
            found.insert((what.to_owned(), source.path.clone()), 1);
        }
    }
    check("places.txt", &found);
}

/// Prints the figures per folder, and checks their limits.
#[test]
fn the_table_of_the_structure_keeps_its_bounds() {
    let other = std::env::var_os("TIDY_TREE").map(PathBuf::from);
    let root = other.clone().unwrap_or_else(|| workspace().join("executor/src"));
    let tree = structure::read_tree(&root);
    let (rooms, all) = structure::rooms(&tree);
    let circles = structure::circles(&tree);
    println!(
        "room        files  lines  with unsafe  blocks  unsafe fns  raw fns  proofs  formulas"
    );
    for (room, f) in rooms.iter().chain([(&"all".to_owned(), &all)]) {
        println!(
            "{room:<12}{:>5}{:>7}{:>13}{:>8}{:>12}{:>9}{:>8}{:>10}",
            f.files,
            f.lines,
            f.unsafe_files,
            f.unsafe_blocks,
            f.unsafe_fns,
            f.raw_fns,
            f.proofs,
            f.formulas
        );
    }
    let sizes: Vec<_> = circles.iter().map(Vec::len).collect();
    println!("circles of files that import each other: {sizes:?}");
    if let Some(largest) = circles.first() {
        println!("the largest: {}", largest.join(" "));
    }
    if other.is_some() {
        return;
    }
    let worker = &rooms["worker"];
    assert!(all.unsafe_blocks <= MOST_UNSAFE, "{} unsafe blocks", all.unsafe_blocks);
    assert!(worker.unsafe_files <= 4, "the scheduler needs unsafe code in few places: {worker:?}");
    let decks = worker.unsafe_blocks + rooms["turn"].unsafe_blocks;
    assert!(decks <= MOST_UNSAFE_RUNNING, "{decks} unsafe blocks in worker/ and turn/");
    let raw_elsewhere: Vec<_> = tree
        .iter()
        .filter(|(path, text)| {
            let may = ["event/", "slab.rs"].iter().any(|place| path.starts_with(place));
            !may && structure::figures(text).raw_fns > 0
        })
        .map(|(path, _)| path)
        .collect();
    assert!(raw_elsewhere.is_empty(), "safe functions that get raw pointers: {raw_elsewhere:?}");
    assert!(100 * all.formulas < 8 * all.proofs, "{} of {} proofs", all.formulas, all.proofs);
    let largest = circles.first().map_or(0, Vec::len);
    assert!(largest <= MOST_IN_A_CIRCLE, "{largest} files import each other");
}

#[test]
fn no_file_has_a_fault() {
    let mut problems = Vec::new();
    for source in sources() {
        let path = &source.path;
        problems
            .extend(faults(&source).iter().map(|(what, line)| format!("{path}:{line}: {what}")));
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Comments and documentation of all Rust files, tests and benchmarks included. A row of a table
/// cannot be wrapped.
#[test]
fn no_comment_is_wide() {
    let mut wide = Vec::new();
    for Source { path, text } in files(&ALL) {
        for (at, line) in text.lines().enumerate() {
            let comment = line.trim_start();
            let is_comment = comment.starts_with("//") && !comment.starts_with("//! |");
            if is_comment && line.chars().count() > MOST_COLUMNS {
                wide.push(format!("{path}:{}", at + 1));
            }
        }
    }
    assert!(wide.is_empty(), "wide comments: {wide:?}");
}

/// E13: a simulation runs the code of every program. The code that schedules and runs events is not
/// compiled differently for it, except in `sync`. It asks in two files whether it is simulated.
#[test]
fn what_is_simulated_is_no_second_scheduler() {
    let rooms = ["worker", "turn", "color", "domain", "post", "event", "task", "timer"];
    let is_one =
        |path: &str| rooms.iter().any(|room| path.starts_with(&format!("executor/src/{room}/")));
    let (mut differs, mut asks) = (Vec::new(), Vec::new());
    for source in sources().iter().filter(|source| is_one(&source.path)) {
        for (at, line) in source.code() {
            let place = format!("{}:{at}", source.path);
            if line.contains("feature = \"sim\"") || line.contains("dapple_mutants") {
                differs.push(place);
            } else if has_word(line, "is_simulated") && !line.contains("use ") {
                asks.push(place);
            }
        }
    }
    assert_eq!(differs, Vec::<String>::new());
    // A fiber is not pinned, and a timer that outlives its runtime (`late`) needs a thread.
    let files: Vec<&str> = asks.iter().filter_map(|place| place.split(':').next()).collect();
    assert_eq!(files, ["executor/src/task/late.rs", "executor/src/turn/worker.rs"], "{asks:?}");
}

/// Checks that the document names exactly the files that the list allows to have unsafe code.
#[test]
fn the_architecture_names_where_unsafe_code_is() {
    let text = fs::read_to_string(workspace().join("docs/ARCHITECTURE.md")).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" "); // lines may end anywhere
    let start = text.find("* **No `unsafe` outside of**").expect("the document says where it is");
    let part = &text[start..start + text[start..].find("Each block carries").unwrap()];
    let named: Vec<String> = part.split('`').skip(3).step_by(2).flat_map(expand).collect();
    let list = include_str!("places.txt");
    for (what, path) in read(list).into_keys() {
        let is_named = named
            .iter()
            .any(|name| path == *name || (name.ends_with('/') && path.starts_with(name)));
        assert!(what != "unsafe" || is_named, "docs/ARCHITECTURE.md does not name {path}");
    }
    for name in &named {
        let stands = read(list)
            .into_keys()
            .any(|(what, path)| what == "unsafe" && path.starts_with(name.as_str()));
        assert!(stands, "docs/ARCHITECTURE.md names {name}, which has no unsafe code");
    }
}

/// Expands `a/{b,c}.rs` to `a/b.rs` and `a/c.rs`.
fn expand(name: &str) -> Vec<String> {
    let Some((start, rest)) = name.split_once('{') else { return vec![name.to_owned()] };
    let (choices, end) = rest.split_once('}').expect("a brace is closed");
    choices.split(',').map(|choice| format!("{start}{choice}{end}")).collect()
}

#[test]
fn faults_are_found() {
    let wide = format!("// {}\n", "x".repeat(100));
    let long = format!("    fn f() {{\n{}    }}\n", "        g();\n".repeat(70));
    for (text, fault) in [
        (&*wide, "wide line"),
        (&*long, "long function"),
        ("/// Is it so?\nfn f() {}\n", "question for a summary"),
        ("/// Is it so? Then it is done.\nfn f() {}\n", "question for a summary"),
        ("/// The same as there.\nfn f() {}\n", "documentation that needs another"),
        (
            "/// Does it.\n///\n/// # Errors\n///\n/// As there.\nfn f() {}\n",
            "documentation that needs another",
        ),
        ("// SAFETY: by contract.\n", "proof of a few words"),
    ] {
        let source = Source { path: String::new(), text: text.to_owned() };
        assert_eq!(faults(&source).iter().map(|(what, _)| *what).collect::<Vec<_>>(), [fault]);
    }
    let good = "/// Says whether it is so.\n\
                fn f() {\n    // SAFETY: it is there, as we have counted it.\n}\n";
    let source = Source { path: String::new(), text: good.to_owned() };
    assert_eq!(faults(&source), []);
    assert!(has_word("unsafe { f() }", "unsafe") && !has_word("unsafe_code", "unsafe"));
}
