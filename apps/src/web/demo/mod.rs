//! The site that is served when no folder is named, which shows the server's live figures.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::page::{Body, Page};
use super::policy::Policy;
use crate::common::cache::Cached;
use crate::common::version::Version;
use dapple::clock;

/// The built-in files, by path.
#[derive(Debug)]
pub(super) struct Demo(HashMap<&'static [u8], Arc<Cached<Page>>>);

const FILES: [(&str, &[u8]); 5] = [
    ("index.html", include_bytes!("index.html")),
    ("style.css", include_bytes!("style.css")),
    ("figures.js", include_bytes!("figures.js")),
    ("about/index.html", include_bytes!("about.html")),
    ("favicon.ico", include_bytes!("favicon.ico")),
];

impl Demo {
    pub(super) fn new() -> Self {
        let (started, policy) = (clock::wall(), Policy::default());
        let entry = |(path, bytes): &(&'static str, &'static [u8])| {
            let body = Body::Memory(Arc::from(*bytes));
            let version = Version::built_in(started, bytes.len() as u64);
            (
                path.as_bytes(),
                Arc::new(Cached::new(Page::new(path.as_bytes(), version, bytes, body, &policy))),
            )
        };
        Demo(FILES.iter().map(entry).collect())
    }

    /// Returns the file at a path, or `None` if the path is a folder.
    pub(super) fn find(&self, path: &[u8]) -> io::Result<Option<Arc<Cached<Page>>>> {
        match self.0.get(path) {
            Some(entry) => Ok(Some(Arc::clone(entry))),
            None if path == b"about" => Ok(None),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
