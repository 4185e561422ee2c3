//! Connections over TLS, with HTTP/1.1 and HTTP/2, which get the same answers as plain connections.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use dapple::clock;
use futures_channel::oneshot;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};

use super::answer::{Answer, Made, Text, of_file};
use super::http::coding::Accepted;
use super::http::head::{KeepAlive, Status};
use super::http::request::{MOST_HEAD, Method, Request};
use super::log::{self, Log};
use super::options::TlsFrom;
use super::page::{Body as Contents, Page, headers_of};
use super::pages::{How, Waits};
use super::server::Server;
use super::write::Multipart;
use crate::common::cache::Batch;
use crate::common::conditions::Part;
use crate::common::date;
use crate::common::gate::Pass;
use crate::common::https::body::{Body, Buffers, FileBody};
use crate::common::https::connections::Connections;
use crate::common::https::identity::{Identity, Tls};
use crate::common::https::request_body::{MOST_LEFT, RequestBody};
use crate::common::https::{self, Https, Streams, head as heads};
use crate::common::login::{Refused, Visitor};
use crate::common::pieces::Pieces;

/// The other end of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    ip: IpAddr,
    /// The visitor who has to log in, or `None` if no login is required.
    visitor: Option<Arc<Visitor>>,
}

impl Peer {
    async fn check(&self, head: &Parts) -> Result<(), Refused> {
        match &self.visitor {
            // Browsers send preflight requests without a login.
            Some(visitor) if head.method != http::Method::OPTIONS => {
                visitor.check(head.headers.get(header::AUTHORIZATION)).await.map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// The service behind the TLS connections of a server.
pub(super) struct Secure {
    server: Arc<Server>,
    buffers: Buffers,
}

impl https::Service for Secure {
    type Visitor = Peer;

    // Most responses are files in memory.
    const STREAMS: Streams = Streams::AtOnce;

    fn visitor(&self, peer: SocketAddr) -> Peer {
        let ip = peer.ip();
        self.server.figures.here(&self.server.handle).connection();
        let visitor = |login| Arc::new(Visitor::new(login, ip));
        Peer { ip, visitor: self.server.login.as_ref().map(visitor) }
    }

    fn answer(
        self: &Arc<Self>,
        head: Arc<Parts>,
        body: Incoming,
        visitor: &Peer,
    ) -> impl Future<Output = Response<Body>> + Send {
        RequestBody::new(body, &head.headers, &self.server.handle).discard(MOST_LEFT);
        let (this, peer) = (Arc::clone(self), visitor.clone());
        async move { this.answer_to(head, peer).await }
    }
}

/// The connections over TLS, and the source of their certificate.
pub(super) struct Front {
    pub(super) https: Arc<Https<Secure>>,
    pub(super) fingerprint: String,
    from: TlsFrom,
}

impl Front {
    /// Creates the TLS side of a server; a certificate that is made for the run includes `address`.
    pub(super) fn new(
        server: &Arc<Server>,
        from: TlsFrom,
        address: IpAddr,
    ) -> Result<Front, String> {
        let identity = identity(&from, address)?;
        let settings = &server.settings;
        let most = usize::try_from(settings.max_connections).unwrap_or(usize::MAX);
        let site = Secure { server: Arc::clone(server), buffers: Buffers::default() };
        let https = Https {
            handle: server.handle.clone(),
            tls: identity.config.into(),
            site: Arc::new(site),
            connections: Arc::new(Connections::new(most)),
            per_address: server.per_address.clone(),
            idle: settings.options.idle_timeout,
            write_silence: settings.options.write_timeout,
            most_head: MOST_HEAD,
        };
        let _ = server.secure.set(Arc::clone(&https.connections));
        Ok(Front { https: Arc::new(https), fingerprint: identity.fingerprint, from })
    }

    /// Reads the certificate and the key again. If they are invalid, the old ones stay in use. It
    /// blocks.
    pub(super) fn reload(&self) {
        if self.from == TlsFrom::Dev {
            return;
        }
        match identity(&self.from, Ipv4Addr::LOCALHOST.into()) {
            Ok(identity) => {
                self.https.tls.store(identity.config);
                tracing::info!(sha256 = identity.fingerprint, "the certificate was reloaded");
            }
            Err(error) => tracing::error!("the old certificate remains in use: {error}"),
        }
    }
}

pub(super) fn identity(from: &TlsFrom, address: IpAddr) -> Result<Identity, String> {
    match from {
        TlsFrom::Files { certificate, key } => {
            Identity::of_files(certificate, key, Tls::TwoAndThree)
        }
        TlsFrom::Dev => {
            let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
            if !address.is_unspecified() && !address.is_loopback() {
                names.push(address.to_string());
            }
            Identity::for_now(&names, Tls::TwoAndThree)
        }
    }
}

/// Converts a request into the form that the rest of the server uses.
fn request(head: &Parts) -> Request<'_> {
    let field = |name| head.headers.get(name).map(HeaderValue::as_bytes);
    let is_forwarded = head.headers.keys().any(|name| {
        matches!(name.as_str(), "via" | "forwarded" | "x-real-ip")
            || name.as_str().starts_with("x-forwarded-")
    });
    let mut codings = Accepted::default();
    for list in head.headers.get_all(header::ACCEPT_ENCODING) {
        codings.add(list.as_bytes());
    }
    Request {
        method: Method::of(head.method.as_str()),
        target: head.uri.path_and_query().map_or("", |target| target.as_str()),
        keep_alive: KeepAlive::Yes,
        takes_chunks: true,
        conditions: heads::conditions(&head.headers),
        // HTTP/2 has the host in the target.
        host: head
            .uri
            .authority()
            .map(|authority| authority.as_str().as_bytes())
            .or_else(|| field(header::HOST)),
        accept: field(header::ACCEPT),
        authorization: field(header::AUTHORIZATION),
        referer: field(header::REFERER),
        agent: field(header::USER_AGENT),
        codings,
        is_forwarded,
    }
}

impl Secure {
    async fn answer_to(&self, head: Arc<Parts>, who: Peer) -> Response<Body> {
        let (server, peer) = (&self.server, who.ip);
        let logged = server.log.as_ref().map(|log| (log, self.log(log, &head, peer)));
        let is_head = head.method == http::Method::HEAD;
        let is_two = head.version == http::Version::HTTP_2;
        let begun = server.monitor.begin();
        let is_usable = heads::check(&head);
        let answer = match is_usable {
            Ok(()) => self.decide(head, &who).await,
            Err(StatusCode::NOT_IMPLEMENTED) => Answer::status(Status::NotImplemented),
            Err(StatusCode::EXPECTATION_FAILED) => Answer::status(Status::ExpectationFailed),
            Err(_) => Answer::status(Status::BadRequest),
        };
        let mut response = self.response(answer);
        if is_usable.is_err() && !is_two {
            // Input after an invalid request cannot be trusted.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        let status = response.status().as_u16();
        server.figures.here(&server.handle).response(status);
        server.monitor.end(begun);
        if let Some((log, logged)) = logged {
            let told = response.headers().get(header::CONTENT_LENGTH);
            let told = told.and_then(|len| len.to_str().ok()?.parse().ok());
            let len = told.or_else(|| response.body().size_hint().exact());
            match len.or(is_head.then_some(0)) {
                Some(len) => log.answered(*logged, status, if is_head { 0 } else { len }),
                // The body is made while it is sent, so its length is known at its end.
                None => {
                    let log = Arc::clone(log);
                    let tell = move |len| log.answered(*logged, status, len);
                    return response.map(|body| body.counted(tell));
                }
            }
        }
        response
    }

    async fn decide(&self, head: Arc<Parts>, who: &Peer) -> Answer {
        if let Err(refused) = who.check(&head).await {
            return Answer::refused(refused);
        }
        match self.server.answer(
            &request(&head),
            Some(who.ip),
            How::AtOnce(Batch::here(&self.server.handle)),
        ) {
            Ok(answer) => answer,
            Err(waits) => self.wait(waits, head, who.ip).await,
        }
    }

    fn log(&self, log: &Log, head: &Parts, peer: IpAddr) -> Box<log::LogLine> {
        let request = request(head);
        let line = format!("{} {} {:?}", head.method, request.target, head.version);
        let (referer, agent) = (request.referer, request.agent);
        log.asked(&log::Facts { peer: Some(peer), line: line.as_bytes(), referer, agent })
    }

    /// Answers a request that has to wait for something.
    async fn wait(&self, mut waits: Waits, head: Arc<Parts>, peer: IpAddr) -> Answer {
        let failed = || Answer::status(Status::InternalError);
        if let Waits::Disk = waits {
            let (server, head) = (Arc::clone(&self.server), Arc::clone(&head));
            let answer = move || server.answer(&request(&head), Some(peer), How::Blocking);
            waits = match self.server.handle.offload(answer).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(waits)) => waits,
                Err(_) => return failed(),
            };
        }
        let Waits::Compression(job) = waits else { return failed() };
        let (tell, told) = oneshot::channel();
        // An error only means that the client is gone.
        self.server.answers.compress(*job, |page| drop(tell.send(page)));
        told.await.map_or_else(|_| failed(), |page| of_file(&request(&head), page))
    }

    fn response(&self, answer: Answer) -> Response<Body> {
        match answer {
            Answer::File(page, part) => self.file(&page, &part),
            Answer::NotModified(page) => {
                with(StatusCode::NOT_MODIFIED, page.headers()[1].clone(), Body::Empty)
            }
            Answer::NotThere(page) => {
                let mut headers = fields_of(&page);
                for own in [header::LAST_MODIFIED, header::ETAG, header::ACCEPT_RANGES] {
                    headers.remove(own);
                }
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                with(StatusCode::NOT_FOUND, headers, self.part(&page, 0, page.len))
            }
            Answer::Text(text) => {
                let Text { status, fields, kind, body, pass, is_own } = *text;
                let status = StatusCode::from_u16(status as u16).unwrap_or_default();
                let common = if is_own { "" } else { &self.server.answers.common_fields };
                let mut headers = headers_of_text(&fields, common, &kind);
                if status == StatusCode::NO_CONTENT {
                    headers.remove(header::CONTENT_TYPE);
                }
                let body = match pass {
                    None => Body::text(body.into_owned()),
                    Some(pass) => {
                        headers.insert(header::CONTENT_LENGTH, body.len().into());
                        let all = Once { all: Some(body.into_owned().into()), _pass: pass };
                        Body::pieces(&self.server.handle, all)
                    }
                };
                with(status, headers, body)
            }
            Answer::Made(made) => {
                let Made { fields, kind, pieces } = *made;
                let common = &self.server.answers.common_fields;
                let headers = headers_of_text(&fields, common, kind);
                with(StatusCode::OK, headers, Body::pieces(&self.server.handle, pieces))
            }
        }
    }

    fn file(&self, page: &Page, part: &Part) -> Response<Body> {
        let mut headers = fields_of(page);
        match part {
            Part::Range(from, count) => {
                let last = from + count - 1;
                headers.insert(header::CONTENT_LENGTH, (*count).into());
                let range = format!("bytes {from}-{last}/{}", page.len);
                insert(&mut headers, header::CONTENT_RANGE, &range);
                with(StatusCode::PARTIAL_CONTENT, headers, self.part(page, *from, *count))
            }
            Part::Ranges(ranges) => {
                let Multipart { kind, heads, end, len } = Multipart::of(page, ranges);
                headers.insert(header::CONTENT_LENGTH, len.into());
                insert(&mut headers, header::CONTENT_TYPE, &kind);
                let parts = heads.into_iter().zip(ranges).flat_map(|(head, (from, count))| {
                    [Body::text(head), self.part(page, *from, *count)]
                });
                let body = Body::Parts(parts.chain([Body::text(end)]).collect());
                with(StatusCode::PARTIAL_CONTENT, headers, body)
            }
            _ => with(StatusCode::OK, headers, self.part(page, 0, page.len)),
        }
    }

    fn part(&self, page: &Page, from: u64, count: u64) -> Body {
        match &page.body {
            Contents::Memory(bytes) => {
                let all = Bytes::from_owner(Arc::clone(bytes));
                Body::Bytes(all.slice(from as usize..(from + count) as usize))
            }
            Contents::File(file) => {
                let (file, handle) = (Arc::clone(file), &self.server.handle);
                Body::File(FileBody::new(file, from, count, false, &self.buffers, handle))
            }
        }
    }
}

/// A body that keeps its pass until it has been sent.
struct Once {
    all: Option<Bytes>,
    _pass: Pass,
}

impl Pieces for Once {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.all.take())
    }
}

fn headers_of_text(fields: &str, common: &str, kind: &str) -> HeaderMap {
    headers_of(format!("{fields}{common}Content-Type: {kind}\r\n").as_bytes())
}

/// Returns the fields of a page. A modification time in the future is replaced by the current time.
fn fields_of(page: &Page) -> HeaderMap {
    let mut headers = page.headers()[0].clone();
    let now = clock::wall();
    if page.may_be_ahead.is_some_and(|second| second > date::seconds(now)) {
        insert(&mut headers, header::LAST_MODIFIED, &date::format(now));
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn with(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
