//! Decides which response a request gets, independently of the connection that it came by.
//!
//! An [`Answer`] is made on the connection's color if it need not wait for anything, and otherwise
//! on the blocking pool (see [`How`]). The module [`write`](super::write) writes it.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use dapple::Handle;

use super::compress::Job;
use super::http::head::Status;
use super::http::request::{Method, Request};
use super::listing;
use super::page::FilePage;
use super::pages::{Content, How, Pages, Waits, status_of};
use super::root::Root;
use super::tree::Walked;
use crate::common::conditions::{self, Part, Validators, Verdict};
use crate::common::gate::{Gate, Pass};
use crate::common::host;
use crate::common::login::Refused;
use crate::common::pieces::{Nothing, Pieces};
use crate::common::target::{self, BadPath};
use crate::common::zip::{self, Zip};

/// The response to a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// A file, or the part of it that the client asks for.
    File(FilePage, Part),
    /// A 304: the client has the file already.
    NotModified(FilePage),
    /// The site's own page for paths that do not exist.
    NotThere(FilePage),
    // These are boxed, because most responses are files.
    Text(Box<Text>),
    Made(Box<Made>),
}

/// A response that is made for one request.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) status: Status,
    /// The response's own field lines, in addition to those of every response and those that follow
    /// from its other parts.
    pub(super) fields: String,
    /// The media type.
    pub(super) kind: Cow<'static, str>,
    pub(super) body: Cow<'static, str>,
    /// A pass of the gate for listings, which is kept until the response has been sent.
    pub(super) pass: Option<Pass>,
    /// Whether the response is about the server and not part of the site. If so, it gets no fields
    /// of the site, such as the origins that may read it.
    pub(super) is_own: bool,
}

/// A response whose body is made while it is sent.
pub(super) struct Made {
    /// The response's own field lines, as in [`Text`].
    pub(super) fields: String,
    /// The media type.
    pub(super) kind: &'static str,
    pub(super) pieces: Box<dyn Pieces>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").field("kind", &self.kind).finish_non_exhaustive()
    }
}

const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    /// Returns the number of bytes of contents; 0 for a body that is made while it is sent.
    pub(super) fn len(&self) -> u64 {
        match self {
            Answer::File(page, Part::All | Part::Unsatisfiable) | Answer::NotThere(page) => {
                page.len
            }
            Answer::File(_, Part::Range(_, count)) => *count,
            Answer::File(_, Part::Ranges(ranges)) => ranges.iter().map(|(_, count)| count).sum(),
            Answer::Text(text) => text.body.len() as u64,
            Answer::NotModified(_) | Answer::Made(_) => 0,
        }
    }

    /// Makes a response whose body is its status.
    pub(super) fn status(status: Status) -> Answer {
        let fields = match status {
            Status::MethodNotAllowed => ALLOW.to_owned(),
            Status::Unavailable => "Retry-After: 1\r\n".to_owned(),
            _ => String::new(),
        };
        Answer::status_with(status, fields)
    }

    pub(super) fn status_with(status: Status, fields: String) -> Answer {
        let body = format!("{} {}\n", status as u16, status.reason()).into();
        Answer::Text(Box::new(Text {
            status,
            fields,
            kind: PLAIN_TEXT.into(),
            body,
            pass: None,
            is_own: false,
        }))
    }

    /// Makes the response to a client whose login is refused.
    pub(super) fn refused(refused: Refused) -> Answer {
        match refused {
            Refused::Unknown => {
                let realm = "WWW-Authenticate: Basic realm=\"dapple\", charset=\"UTF-8\"\r\n";
                Answer::status_with(Status::Unauthorized, realm.to_owned())
            }
            Refused::Later(seconds) => {
                let later = format!("Retry-After: {seconds}\r\n");
                Answer::status_with(Status::TooManyRequests, later)
            }
        }
    }

    /// Makes the response for a connection that is not served. It has no body, because the method
    /// of the request is not known yet.
    pub(super) fn unserved() -> Answer {
        Answer::Text(Box::new(Text {
            status: Status::Unavailable,
            fields: "Retry-After: 1\r\n".to_owned(),
            kind: PLAIN_TEXT.into(),
            body: "".into(),
            pass: None,
            is_own: false,
        }))
    }
}

/// The most listings and zips at the same time. Each takes more memory than other responses, for as
/// long as its client takes to read it.
const MOST_LISTINGS: usize = 16;

/// Makes the answers to requests.
pub(super) struct Answers {
    pages: Pages,
    handle: Handle,
    gate: Gate,
    options: AnswerOptions,
    /// The field lines of responses that are not files.
    pub(super) common_fields: String,
}

/// The options of answers on the command line.
#[derive(Debug, Default)]
pub(super) struct AnswerOptions {
    /// The start of every URL's path: empty, or a slash and a name.
    pub(super) prefix: String,
    /// Whether a path that does not exist, and whose last part has no dot, gets `/index.html`
    /// (`--spa`). The script of that page decides what to show.
    pub(super) is_single_page_app: bool,
    /// Whether folders without a page of their own are listed.
    pub(super) lists: bool,
}

impl Answers {
    pub(super) fn new(pages: Pages, handle: &Handle, options: AnswerOptions) -> Self {
        let common_fields = pages.options.policy.of_others();
        Answers {
            pages,
            handle: handle.clone(),
            gate: Gate::new(MOST_LISTINGS, 0),
            options,
            common_fields,
        }
    }

    /// Returns the start of every URL's path.
    pub(super) fn prefix(&self) -> &str {
        &self.options.prefix
    }

    /// Answers a request, or returns what the answer has to wait for.
    pub(super) fn answer(&self, request: &Request<'_>, how: How) -> Result<Answer, Waits> {
        match request.method {
            Method::Get | Method::Head => {}
            Method::Options => return Ok(self.answer_options()),
            Method::Other => return Ok(Answer::status(Status::MethodNotAllowed)),
            Method::Unknown => return Ok(Answer::status(Status::NotImplemented)),
        }
        let Some((raw, query)) = target::split(request.target) else {
            return Ok(Answer::status(Status::BadRequest));
        };
        if let Content::Elsewhere(port) = self.pages.site {
            return Ok(elsewhere(request, raw, query, port));
        }
        let prefix = &self.options.prefix;
        let below = raw.strip_prefix(&**prefix);
        let Some(raw) = below.filter(|raw| raw.is_empty() || raw.starts_with('/')) else {
            return self.answer_nothing(how);
        };
        if raw.is_empty() {
            return Ok(self.redirect_to_folder(b"", query));
        }
        let asked = match target::decode(raw) {
            Ok(asked) => asked,
            Err(BadPath::Malformed) => return Ok(Answer::status(Status::BadRequest)),
            Err(BadPath::Outside) => return self.answer_nothing(how),
        };
        match asked.is_folder {
            true => self.answer_folder(request, asked.relative, query, how),
            false => self.answer_file(request, &asked.relative, query, how),
        }
    }

    fn answer_file(
        &self,
        request: &Request<'_>,
        path: &[u8],
        query: Option<&str>,
        how: How,
    ) -> Result<Answer, Waits> {
        match self.pages.find(path, how)? {
            Ok(Some(entry)) => self.answer_found(request, path, entry, how),
            Ok(None) => Ok(self.redirect_to_folder(path, query)),
            Err(Status::NotFound) => self.answer_not_there(request, path, how),
            Err(status) => Ok(Answer::status(status)),
        }
    }

    /// Answers with an existing file, in the coding that suits the client best.
    fn answer_found(
        &self,
        request: &Request<'_>,
        path: &[u8],
        entry: FilePage,
        how: How,
    ) -> Result<Answer, Waits> {
        Ok(of_file(request, self.pages.choose(request.codings, path, entry, how)?))
    }

    fn answer_folder(
        &self,
        request: &Request<'_>,
        folder: Vec<u8>,
        query: Option<&str>,
        how: How,
    ) -> Result<Answer, Waits> {
        let mut index = folder.clone();
        if !index.is_empty() {
            index.push(b'/');
        }
        index.extend_from_slice(self.pages.site.index());
        match self.pages.find(&index, how)? {
            Ok(Some(entry)) => self.answer_found(request, &index, entry, how),
            Ok(None) | Err(Status::NotFound) => self.answer_listing(request, &folder, query, how),
            Err(status) => Ok(Answer::status(status)),
        }
    }

    fn answer_listing(
        &self,
        request: &Request<'_>,
        folder: &[u8],
        query: Option<&str>,
        how: How,
    ) -> Result<Answer, Waits> {
        let root = match &self.pages.site {
            Content::Folder(root) if self.options.lists && root.serves(folder) => root,
            _ => return self.answer_not_there(request, folder, how),
        };
        if matches!(how, How::AtOnce(_)) {
            return Err(Waits::Disk);
        }
        let Some(pass) = self.gate.try_enter() else {
            return Ok(Answer::status(Status::Unavailable));
        };
        let asked = listing::ListingForm::of(query, request.accept);
        let listed = match asked.as_zip {
            true => self.zip(root, folder, request.method, pass),
            false => root.members(folder, listing::MOST_MEMBERS).map(|members| {
                Answer::Text(Box::new(Text {
                    status: Status::Ok,
                    fields: listing::fields(asked),
                    kind: listing::kind(asked).into(),
                    body: listing::write(folder, members, asked).into(),
                    pass: Some(pass),
                    is_own: false,
                }))
            }),
        };
        match listed.map_err(|error| status_of(&error)) {
            Ok(answer) => Ok(answer),
            Err(Status::NotFound) => self.answer_not_there(request, folder, how),
            Err(status) => Ok(Answer::status(status)),
        }
    }

    fn zip(
        &self,
        root: &Arc<Root>,
        folder: &[u8],
        method: Method,
        pass: Pass,
    ) -> io::Result<Answer> {
        let pieces: Box<dyn Pieces> = match method {
            Method::Head => {
                // Check whether the folder exists.
                root.members(folder, 0)?;
                Box::new(Nothing)
            }
            _ => {
                let tree = Walked::begin(Arc::clone(root), folder, pass)?;
                Box::new(Zip::new(tree, &self.handle))
            }
        };
        let name = folder.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        Ok(Answer::Made(Box::new(Made {
            fields: format!(
                "Cache-Control: no-cache\r\nContent-Disposition: {}\r\n",
                zip::disposition(name)
            ),
            kind: "application/zip",
            pieces,
        })))
    }

    /// Answers a request for a path that does not exist, with what the site has for that case.
    fn answer_not_there(
        &self,
        request: &Request<'_>,
        path: &[u8],
        how: How,
    ) -> Result<Answer, Waits> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if self.options.is_single_page_app
            && !name.contains(&b'.')
            && let Ok(Some(entry)) = self.pages.find(b"index.html", how)?
        {
            return self.answer_found(request, b"index.html", entry, how);
        }
        self.answer_nothing(how)
    }

    /// Answers 404, with the site's own page if it has one.
    fn answer_nothing(&self, how: How) -> Result<Answer, Waits> {
        Ok(match self.pages.find(b"404.html", how)? {
            Ok(Some(entry)) => Answer::NotThere(entry),
            _ => Answer::status(Status::NotFound),
        })
    }

    /// Compresses a file, and calls `tell` with the page to serve, from which [`of_file`] makes the
    /// answer.
    pub(super) fn compress(&self, job: Job, tell: impl FnOnce(FilePage) + Send + 'static) {
        self.pages.compressor.compress(job, Box::new(tell));
    }

    fn answer_options(&self) -> Answer {
        let fields = format!("{ALLOW}{}", self.pages.options.policy.of_preflights());
        Answer::Text(Box::new(Text {
            status: Status::NoContent,
            fields,
            kind: "".into(),
            body: "".into(),
            pass: None,
            is_own: false,
        }))
    }

    fn redirect_to_folder(&self, path: &[u8], query: Option<&str>) -> Answer {
        let location = target::folder_location(path, query);
        let location = format!("Location: {}{location}\r\n", self.options.prefix);
        Answer::status_with(Status::MovedPermanently, location)
    }
}

/// Redirects a client to the same path over TLS, at `port`.
fn elsewhere(request: &Request<'_>, path: &str, query: Option<&str>, port: u16) -> Answer {
    let host = request.host.and_then(|host| std::str::from_utf8(host).ok());
    let Some(host) = host.map(host::without_port).filter(|host| !host.is_empty()) else {
        return Answer::status(Status::BadRequest);
    };
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    let location = format!("Location: https://{host}{port}{path}{query}\r\n");
    Answer::status_with(Status::MovedPermanently, location)
}

/// Answers a request for an existing file, by the request's conditions and ranges.
pub(super) fn of_file(request: &Request<'_>, entry: FilePage) -> Answer {
    let own = Validators {
        etag: &entry.etag,
        modified: entry.modified,
        shares_time: entry.has_variants_in_codings,
    };
    match conditions::verdict(&request.conditions, &own) {
        Verdict::Go => {}
        Verdict::NotModified => return Answer::NotModified(entry),
        Verdict::Failed => return Answer::status(Status::PreconditionFailed),
    }
    let len = entry.len;
    let part = match request.method {
        Method::Get => conditions::part(&request.conditions, &own, len),
        // Ranges are defined for GET only.
        _ => Part::All,
    };
    match part {
        Part::Unsatisfiable => {
            let range = format!("Content-Range: bytes */{len}\r\n");
            Answer::status_with(Status::RangeNotSatisfiable, range)
        }
        part => Answer::File(entry, part),
    }
}
