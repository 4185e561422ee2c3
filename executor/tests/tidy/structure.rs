//! Figures about a tree of Rust sources: unsafe code, SAFETY comments, and circles of files that
//! import each other. Tests and models are left out.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A name, or one character of punctuation.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Sign(char),
}

impl Token {
    fn is(&self, name: &str) -> bool {
        matches!(self, Token::Name(this) if this == name)
    }

    fn is_sign(&self, sign: char) -> bool {
        *self == Token::Sign(sign)
    }
}

/// Returns the tokens of the code, without comments, strings and unit tests.
fn tokens(text: &str) -> Vec<Token> {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let chars: Vec<char> = text[..end].chars().collect();
    let (mut all, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let c = chars[at];
        let starts =
            |what: &str| what.chars().enumerate().all(|(i, w)| chars.get(at + i) == Some(&w));
        if starts("//") {
            at += chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at);
        } else if starts("/*") {
            at += 2;
            while at < chars.len() && !(chars[at] == '*' && chars.get(at + 1) == Some(&'/')) {
                at += 1;
            }
            at += 2;
        } else if c == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\''
            && (chars.get(at + 2) == Some(&'\'') || chars.get(at + 1) == Some(&'\\'))
        {
            at += 2;
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let len = chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
            all.push(Token::Name(chars[at..at + len].iter().collect()));
            at += len;
        } else {
            if !c.is_whitespace() {
                all.push(Token::Sign(c));
            }
            at += 1;
        }
    }
    all
}

/// The figures of one file, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub files: usize,
    pub lines: usize,
    pub unsafe_files: usize,
    pub unsafe_blocks: usize,
    pub unsafe_fns: usize,
    /// Functions that are safe to call and take a raw pointer.
    pub raw_fns: usize,
    pub proofs: usize,
    /// SAFETY comments that only refer to another text, or have fewer than four words.
    pub formulas: usize,
}

impl Figures {
    fn add(&mut self, more: Figures) {
        self.files += more.files;
        self.lines += more.lines;
        self.unsafe_files += more.unsafe_files;
        self.unsafe_blocks += more.unsafe_blocks;
        self.unsafe_fns += more.unsafe_fns;
        self.raw_fns += more.raw_fns;
        self.proofs += more.proofs;
        self.formulas += more.formulas;
    }
}

pub fn figures(text: &str) -> Figures {
    let tokens = tokens(text);
    let mut found = Figures { files: 1, lines: text.lines().count(), ..Figures::default() };
    for (at, token) in tokens.iter().enumerate() {
        let next = |n: usize| tokens.get(at + n);
        if token.is("unsafe") {
            found.unsafe_files = 1;
            let is_fn =
                next(1).is_some_and(|t| t.is("fn")) && matches!(next(2), Some(Token::Name(_)));
            found.unsafe_blocks += usize::from(next(1).is_some_and(|t| t.is_sign('{')));
            found.unsafe_fns += usize::from(is_fn);
        }
        let is_unsafe = at > 0 && tokens[at - 1].is("unsafe");
        if token.is("fn") && !is_unsafe && matches!(next(1), Some(Token::Name(_))) {
            let parameters = without_closures(parameters(&tokens[at + 2..]));
            found.raw_fns += usize::from(has_raw_pointer(&parameters));
        }
    }
    for proof in proofs(text) {
        found.proofs += 1;
        found.formulas += usize::from(is_formula(&proof));
    }
    found
}

/// Returns the tokens between the parentheses of a function, behind its generics.
fn parameters(tokens: &[Token]) -> &[Token] {
    let mut depth = 0usize;
    let mut start = None;
    let mut angles = 0i32;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign('<') if start.is_none() => angles += 1,
            // Except the `>` of an arrow.
            Token::Sign('>') if start.is_none() && !tokens[at - 1].is_sign('-') => angles -= 1,
            Token::Sign('(') if start.is_some() || angles == 0 => {
                start.get_or_insert(at);
                depth += 1;
            }
            Token::Sign(')') if start.is_some() => {
                depth -= 1;
                if depth == 0 {
                    return &tokens[start.unwrap()..at];
                }
            }
            _ => {}
        }
    }
    &[]
}

/// Removes the parameters of closures: a function that calls a closure passes pointers and takes
/// none.
fn without_closures(tokens: &[Token]) -> Vec<Token> {
    let (mut kept, mut depth) = (Vec::new(), 0usize);
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let is_closure = before.is_some_and(|t| ["Fn", "FnMut", "FnOnce"].iter().any(|f| t.is(f)));
        match token {
            Token::Sign('(') if depth > 0 || is_closure => depth += 1,
            Token::Sign(')') if depth > 0 => depth -= 1,
            _ if depth == 0 => kept.push(token.clone()),
            _ => {}
        }
    }
    kept
}

fn has_raw_pointer(tokens: &[Token]) -> bool {
    let is_pointer = |pair: &[Token]| {
        pair[0].is_sign('*') && (pair[1].is("const") || pair[1].is("mut"))
            || pair[0].is("NonNull") && pair[1].is_sign('<')
    };
    tokens.windows(2).any(is_pointer)
}

/// Returns the texts of the `// SAFETY:` comments.
fn proofs(text: &str) -> Vec<String> {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let lines: Vec<&str> = text[..end].lines().map(str::trim_start).collect();
    let starts = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| Some((at, line.split_once("// SAFETY:")?.1.to_owned())));
    let whole = starts.map(|(at, first)| {
        let more = lines[at + 1..].iter().map_while(|line| line.strip_prefix("// "));
        more.fold(first, |all, line| all + " " + line)
    });
    whole.collect()
}

fn is_formula(proof: &str) -> bool {
    let words = proof.split_whitespace().count();
    let start = proof.trim_start().to_lowercase();
    let refers = ["by contract", "as above", "as there", "as in ", "as for "];
    words < 4 || words < 6 && refers.iter().any(|formula| start.starts_with(formula))
}

/// Returns the files of a tree, by their paths below it.
pub fn read_tree(root: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, all: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["models", "tests", "loom"].contains(&name) {
                    walk(&path, all);
                }
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "tests.rs" {
                all.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(root, &mut paths);
    let entry = |path: PathBuf| {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(entry).collect()
}

/// Returns the figures of each folder of a tree, and of the whole tree.
pub fn rooms(tree: &BTreeMap<String, String>) -> (BTreeMap<String, Figures>, Figures) {
    let (mut rooms, mut all) = (BTreeMap::<String, Figures>::new(), Figures::default());
    for (path, text) in tree {
        let room = path.split_once('/').map_or(".", |(room, _)| room);
        let found = figures(text);
        rooms.entry(room.to_owned()).or_default().add(found);
        all.add(found);
    }
    (rooms, all)
}

type Module = Vec<String>;

/// The imports of a tree: which file uses which.
struct Imports<'a> {
    file_of: BTreeMap<Module, &'a str>,
    /// The items that a module reexports from elsewhere.
    handed_on: BTreeMap<Module, BTreeMap<String, Module>>,
}

/// Returns the circles of files that import each other, the largest first.
pub fn circles(tree: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    let mut imports = Imports { file_of: BTreeMap::new(), handed_on: BTreeMap::new() };
    for path in tree.keys() {
        imports.file_of.insert(module_of(path), path);
    }
    let mut uses: BTreeMap<&str, Vec<Module>> = BTreeMap::new();
    for (path, text) in tree {
        let module = module_of(path);
        for (is_public, path_of_item) in paths_in(&tokens(text)) {
            let Some(item) = imports.absolute(&path_of_item, &module) else { continue };
            if let (true, Some(name)) = (is_public, item.last().cloned()) {
                imports.handed_on.entry(module.clone()).or_default().insert(name, item);
            } else {
                uses.entry(path).or_default().push(item);
            }
        }
    }
    let leads = |path: &str| -> BTreeSet<&str> {
        let items = uses.get(path).into_iter().flatten();
        items.filter_map(|item| imports.file(item, 0)).filter(|to| *to != path).collect()
    };
    let graph: BTreeMap<&str, BTreeSet<&str>> =
        tree.keys().map(|path| (path.as_str(), leads(path))).collect();
    // Two files are in one circle if each reaches the other.
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|from| (*from, reachable(&graph, from))).collect();
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    for (path, far) in &reach {
        let circle = far.iter().filter(|other| reach[**other].contains(path));
        circles.insert(circle.map(|other| (*other).to_owned()).collect());
    }
    let mut circles: Vec<_> = circles.into_iter().filter(|circle| circle.len() > 1).collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

fn module_of(path: &str) -> Module {
    let mut parts: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

fn reachable<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        for next in &graph[at] {
            if seen.insert(*next) {
                open.push(next);
            }
        }
    }
    seen
}

impl<'a> Imports<'a> {
    fn absolute(&self, path: &[String], module: &Module) -> Option<Module> {
        let first = path.first()?.as_str();
        if first == "crate" {
            return Some(path[1..].to_vec());
        }
        let mut base = module.clone();
        let ups = path.iter().take_while(|part| *part == "super").count();
        if ups > 0 {
            base.truncate(base.len().checked_sub(ups)?);
            base.extend_from_slice(&path[ups..]);
            return Some(base);
        }
        let rest = if first == "self" { &path[1..] } else { path };
        base.extend(rest.first().cloned());
        let is_child = first == "self" || self.file_of.contains_key(&base);
        base.extend_from_slice(rest.get(1..).unwrap_or_default());
        is_child.then_some(base)
    }

    /// Returns the file in which an item is defined.
    fn file(&self, item: &Module, depth: usize) -> Option<&'a str> {
        let known = (0..=item.len()).rev().find(|n| self.file_of.contains_key(&item[..*n]))?;
        let module = item[..known].to_vec();
        let further = item.get(known).and_then(|name| self.handed_on.get(&module)?.get(name));
        match further {
            Some(real) if real != item && depth < 6 => {
                let mut real = real.clone();
                real.extend_from_slice(&item[known + 1..]);
                self.file(&real, depth + 1)
            }
            _ => self.file_of.get(&module).copied(),
        }
    }
}

/// Returns the paths that code names: those of `use`, with whether it reexports them, and others
/// that begin with `crate`, `super` or `self`.
fn paths_in(tokens: &[Token]) -> Vec<(bool, Vec<String>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].is("use") {
            let end =
                tokens[at..].iter().position(|t| t.is_sign(';')).map_or(tokens.len(), |n| at + n);
            let is_public = at > 0 && (tokens[at - 1].is("pub") || tokens[at - 1].is_sign(')'));
            let mut paths = Vec::new();
            use_tree(&tokens[at + 1..end], Vec::new(), &mut paths);
            found.extend(paths.into_iter().map(|path| (is_public, path)));
            at = end;
        } else if ["crate", "super", "self"].iter().any(|root| tokens[at].is(root)) {
            let path = plain_path(&tokens[at..]);
            if path.len() > 1 {
                found.push((false, path));
            }
        }
        at += 1;
    }
    found
}

/// Returns the names that are joined by `::` at the start.
fn plain_path(tokens: &[Token]) -> Vec<String> {
    let mut path = Vec::new();
    let mut at = 0;
    while let Some(Token::Name(name)) = tokens.get(at) {
        path.push(name.clone());
        let colons = tokens.get(at + 1).is_some_and(|t| t.is_sign(':'))
            && tokens.get(at + 2).is_some_and(|t| t.is_sign(':'));
        if !colons {
            break;
        }
        at += 3;
    }
    path
}

/// Splits `a::{b, c::d as e}` into its paths.
fn use_tree(tokens: &[Token], before: Vec<String>, found: &mut Vec<Vec<String>>) {
    let mut path = before;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Name(name) if name == "as" => break,
            Token::Name(name) => path.push(name.clone()),
            Token::Sign('{') => {
                let end = tokens.len() - 1;
                let (mut depth, mut start) = (0usize, at + 1);
                for i in at + 1..=end {
                    match &tokens[i] {
                        Token::Sign('{') => depth += 1,
                        Token::Sign('}') if depth > 0 => depth -= 1,
                        Token::Sign(',') | Token::Sign('}') if depth == 0 => {
                            if i > start {
                                use_tree(&tokens[start..i], path.clone(), found);
                            }
                            start = i + 1;
                        }
                        _ => {}
                    }
                }
                return;
            }
            _ => {}
        }
    }
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    found.push(path);
}

#[test]
fn what_is_counted_is_there() {
    let code = "
        // SAFETY: by contract.
        unsafe { f() }
        /// # Safety
        unsafe fn g<T: Fn(u8) -> u8>(p: *mut u8) {}
        fn h<T: Fn(*const u8) -> u8>(p: NonNull<T>) {}
        fn i(x: &u8) -> *const u8 {}
        // SAFETY: the pointer is not null, as it was
        // made of a reference.
        let s = \"unsafe { }\"; let c = '{'; // unsafe { }
        unsafe impl Send for X {}
        let f: unsafe fn(u8);
    ";
    let found = figures(code);
    assert_eq!((found.unsafe_blocks, found.unsafe_fns, found.raw_fns), (1, 1, 1));
    assert_eq!((found.proofs, found.formulas), (2, 1));
}

#[test]
fn a_circle_is_found_through_what_is_handed_on() {
    let tree: BTreeMap<String, String> = [
        ("lib.rs", "mod a; mod b; pub use a::A;"),
        ("a/mod.rs", "mod c; pub use self::c::{A, B as D};"),
        ("a/c.rs", "use crate::b::f; struct A; struct B;"),
        ("b.rs", "fn f() { crate::A::new() } use std::fmt;"),
        ("d.rs", "use crate::{a::{self, A}, b};"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    assert_eq!(circles(&tree), [["a/c.rs", "b.rs"]]);
}
