//! Checks that comments, messages and pages do not use words for which there is a plainer one.
use super::{ALL, files_of, pages, workspace};

/// The extensions of the files that are checked beside the pages.
const EXTENSIONS: [&str; 10] = ["rs", "c", "h", "cpp", "hpp", "py", "sh", "js", "mjs", "html"];

/// The words that the project does not use, and what to write instead.
const INSTEAD: [(&str, &str); 13] = [
    ("whoever", "the actor's name, or: those who"),
    ("such a one", "the noun"),
    ("so many", "the number"),
    ("can not", "cannot"),
    ("any more", "no longer"),
    ("is to be seen", "shows"),
    ("to be had", "available"),
    ("thereby", "so"),
    ("its begin", "its start"),
    ("the begin", "the start"),
    ("beside the workers", "on the blocking pool"),
    ("in difference to", "unlike"),
    ("makes it possible to", "lets one"),
];

/// Returns `true` if a line contains these words as whole words.
fn has(line: &str, words: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric();
    line.match_indices(words).any(|(at, _)| {
        !line[..at].ends_with(is_letter) && !line[at + words.len()..].starts_with(is_letter)
    })
}

#[test]
fn plain_words_are_used() {
    let mut problems = Vec::new();
    let mut look = |path: &str, text: &str| {
        for (at, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for (word, instead) in INSTEAD.iter().filter(|(word, _)| has(&line, word)) {
                problems.push(format!("{path}:{}: {word:?}: {instead}", at + 1));
            }
        }
    };
    for source in files_of(&[&ALL[..], &["docs"]].concat(), &EXTENSIONS) {
        // This file has the words.
        if !source.path.ends_with("tidy/words.rs") {
            look(&source.path, &source.text);
        }
    }
    for script in [".ci/run", ".ci/long"] {
        look(script, &std::fs::read_to_string(workspace().join(script)).unwrap());
    }
    for page in pages::pages() {
        look(&page.path.display().to_string(), &page.text);
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn words_are_found_whole() {
    assert!(has("from its begin on", "its begin") && has("whoever asks", "whoever"));
    assert!(!has("from its beginning on", "its begin"));
}
