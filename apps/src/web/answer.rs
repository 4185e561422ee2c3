//! Which response a request gets, whatever the connection is that it came by.
//!
//! An [`Answer`] is made on the connection's color if nothing has to be waited for, and on the
//! blocking pool otherwise (see [`How`]). It is written by [`write`](super::write).

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

/// What a request gets.
#[derive(Debug)]
pub(super) enum Answer {
    /// A file, or the part of it that is asked for.
    File(FilePage, Part),
    /// The client has the file already.
    NotModified(FilePage),
    /// The site's own page for what is not there.
    NotThere(FilePage),
    // In boxes, as most responses are files.
    Text(Box<Text>),
    Made(Box<Made>),
}

/// A response that is made for one request.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) status: Status,
    /// Lines of fields, beside those of every response and those that follow from the rest.
    pub(super) fields: String,
    /// The media type.
    pub(super) kind: Cow<'static, str>,
    pub(super) body: Cow<'static, str>,
    /// Room for it, until it has been sent.
    pub(super) pass: Option<Pass>,
    /// It is about the server, and not of the site: what responses of the site have in common, such
    /// as who may read them, is not for it.
    pub(super) is_own: bool,
}

/// A response whose body is made while it is sent.
pub(super) struct Made {
    /// Lines of fields, as in a [`Text`].
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
    /// Bytes of contents that it has; of what is made while it is sent, none.
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

    /// A response whose body is its status.
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

    /// What somebody gets who is not let in.
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

    /// What a connection gets that is not served. Without a body: it is not known what will be
    /// asked.
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

/// Listings and zips at once, at most: each holds more than other responses do, for as long as its
/// client likes.
const MOST_LISTINGS: usize = 16;

/// Decides.
pub(super) struct Answers {
    pages: Pages,
    handle: Handle,
    gate: Gate,
    options: AnswerOptions,
    /// Lines of fields of responses that are no file.
    pub(super) common_fields: String,
}

/// What the command line says of answers.
#[derive(Debug, Default)]
pub(super) struct AnswerOptions {
    /// What the path of every URL begins with: nothing, or a slash and a name.
    pub(super) prefix: String,
    /// What is not there and has no dot in its name is answered with the first page, whose script
    /// finds out.
    pub(super) is_one_page: bool,
    /// The members of a folder without a page of its own are listed.
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

    /// What the path of every URL begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.options.prefix
    }

    /// Answers a request.
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

    /// Answers with a file that is there, in the coding that suits the client best.
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
        let asked = listing::Asked::of(query, request.accept);
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
                // Says whether it is there.
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

    /// Answers a request for what is not there, with what the site has for that.
    fn answer_not_there(
        &self,
        request: &Request<'_>,
        path: &[u8],
        how: How,
    ) -> Result<Answer, Waits> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if self.options.is_one_page
            && !name.contains(&b'.')
            && let Ok(Some(entry)) = self.pages.find(b"index.html", how)?
        {
            return self.answer_found(request, b"index.html", entry, how);
        }
        self.answer_nothing(how)
    }

    /// Answers a request for what no site has.
    fn answer_nothing(&self, how: How) -> Result<Answer, Waits> {
        Ok(match self.pages.find(b"404.html", how)? {
            Ok(Some(entry)) => Answer::NotThere(entry),
            _ => Answer::status(Status::NotFound),
        })
    }

    /// Has a file compressed, and gives the page to be served to `tell`: see [`of_file`].
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

/// Sends a client to the same place over TLS.
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

/// What a request for a file gets that is there.
pub(super) fn of_file(request: &Request<'_>, entry: FilePage) -> Answer {
    let own = Validators {
        etag: &entry.etag,
        modified: entry.modified,
        shares_time: entry.is_of_several,
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
