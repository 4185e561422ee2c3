//! A connection: reads requests and writes responses, in events of its color.
//!
//! A request whose answer has to wait for a disk or for long work is answered on the blocking pool.
//! The connection goes on with the pipelined requests after it; their responses wait for the
//! earlier ones in a [`Sequencer`]. Meanwhile the connection reads no more input.
//!
//! A body that is made while it is sent is made piece by piece on the blocking pool. The next piece
//! is made when the last one has been written.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use dapple::{Color, Cx, Place, Sequencer};
use dapple_io::tcp::{CloseReason, Conn, Connection, Protocol, TcpStream};
use http::HeaderValue;

use super::answer::{Answer, of_file};
use super::compress::Job;
use super::http::head::{KeepAlive, Status};
use super::http::request::{self, Method, Parsed, Request};
use super::log;
use super::pages::{How, Waits};
use super::server::Server;
use super::write::{self, Reply};
use crate::common::gate::Pass;
use crate::common::https::GRACE;
use crate::common::login::{Refused, Visitor};
use crate::common::per_address::Counted;
use crate::common::pieces::Pieces;

/// Counts a connection as open while it exists.
struct Open(Arc<Server>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Release);
    }
}

/// Returns the address of the peer, or `None` if the connection is not over IP.
fn peer(conn: &Conn) -> Option<IpAddr> {
    conn.peer_addr().ip().map(|peer| peer.ip())
}

/// The facts about a request that its response depends on, apart from its answer.
#[derive(Clone, Copy)]
struct RequestFacts {
    keep_alive: KeepAlive,
    head_only: bool,
    takes_chunks: bool,
    /// The time at which the request came, if requests are timed.
    begun: Option<Instant>,
}

impl RequestFacts {
    fn by(request: &Request<'_>, begun: Option<Instant>) -> RequestFacts {
        RequestFacts {
            begun,
            keep_alive: request.keep_alive,
            head_only: request.method == Method::Head,
            takes_chunks: request.takes_chunks,
        }
    }

    /// The facts for a response without a valid request.
    fn by_nobody(head_only: bool) -> RequestFacts {
        RequestFacts { keep_alive: KeepAlive::No, head_only, takes_chunks: false, begun: None }
    }
}

/// A response to be written when its turn comes.
struct Due {
    answer: Answer,
    asked: RequestFacts,
    logged: Option<Box<log::LogLine>>,
}

/// A copy of a request's head, which is parsed again where the request is answered.
struct Head {
    bytes: Box<[u8]>,
    peer: Option<IpAddr>,
}

/// An answer that is being made on the blocking pool. If it is dropped before that, for example by
/// a panic, the response is a 500.
struct Late {
    place: Option<Place<Due>>,
    asked: RequestFacts,
    logged: Option<Box<log::LogLine>>,
}

impl Late {
    fn complete(&mut self, answer: Answer) {
        if let Some(place) = self.place.take() {
            place.complete(Due { answer, asked: self.asked, logged: self.logged.take() });
        }
    }
}

/// A body that is being made while it is sent.
struct Sending {
    /// The source of the pieces, or `None` while it is making the next piece.
    pieces: Option<Box<dyn Pieces>>,
    in_chunks: bool,
    keep_alive: KeepAlive,
    logged: Option<Box<log::LogLine>>,
    /// The number of bytes sent so far.
    len: u64,
}

impl Drop for Late {
    fn drop(&mut self) {
        self.complete(Answer::status(Status::InternalError));
    }
}

/// The protocol state of one connection.
pub(super) struct WebConn {
    server: Open,
    _counted: Option<Counted>,
    /// Whether further requests are ignored.
    closing: bool,
    /// Whether a request has come.
    has_asked: bool,
    /// Whether the server is ending, so that the next response is the last one.
    last_response: bool,
    /// Whether the connection gets a 503, because of a limit or because the server is ending.
    refused: bool,
    /// A reference to this connection for callbacks.
    me: Weak<Connection<WebConn>>,
    color: Color,
    /// The visitor who has to log in, or `None` if no login is required.
    visitor: Option<Arc<Visitor>>,
    /// The order of responses, made when the first response has to wait.
    sequencer: Option<Sequencer<Due>>,
    /// The number of responses that wait for an earlier response.
    waiting: usize,
    sending: Option<Sending>,
    /// The passes of responses in the out-buffer, which are released when it has been written.
    passes: Vec<Pass>,
    /// Responses whose turn has come, which wait for room in the out-buffer or the end of a body.
    behind: VecDeque<Due>,
}

impl WebConn {
    /// Serves an accepted connection.
    pub(super) fn accept(server: &Arc<Server>, stream: TcpStream, cx: &mut Cx) {
        let open = server.open.fetch_add(1, Ordering::AcqRel);
        server.figures.worker(cx.worker()).connection();
        let color = match server.settings.serial {
            true => server.handle.default_color(),
            false => server.handle.color_builder().label("connection").build(),
        };
        let peer = stream.peer_addr().ip().map(|peer| peer.ip());
        // A client on a Unix socket is on this machine.
        let from = peer.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let visitor = server.login.as_ref().map(|login| Arc::new(Visitor::new(login, from)));
        let counted = server.per_address.as_ref().zip(peer).map(|(all, peer)| all.enter(peer));
        let is_draining = server.draining.load(Ordering::Relaxed);
        let refused = open >= server.settings.max_connections
            || is_draining && !server.has_successor.load(Ordering::Relaxed)
            || matches!(counted, Some(None));
        stream.serve_with(&color.clone(), server.settings.options, |me| WebConn {
            server: Open(Arc::clone(server)),
            _counted: counted.flatten(),
            closing: false,
            has_asked: false,
            last_response: is_draining,
            refused,
            me,
            color,
            visitor,
            sequencer: None,
            waiting: 0,
            sending: None,
            passes: Vec::new(),
            behind: VecDeque::new(),
        });
    }

    /// Answers the request at the start of the input; returns `false` if the request is incomplete.
    fn answer_one(&mut self, conn: &mut Conn, cx: &mut Cx) -> bool {
        let server = &self.server.0;
        // The parsed request borrows the input, and the answer needs all of `conn`, so the input is
        // taken.
        let input = conn.take_input();
        let used = match request::parse(input.bytes()) {
            Parsed::Partial => 0,
            Parsed::Bad(status) => {
                let asked = RequestFacts::by_nobody(request::is_head(input.bytes()));
                let logged = self.log(input.bytes(), None, conn);
                self.put(Due { answer: Answer::status(status), asked, logged }, conn, cx);
                input.bytes().len()
            }
            Parsed::Request(request, len) => {
                self.has_asked = true;
                let asked = RequestFacts::by(&request, server.monitor.begin());
                let logged = self.log(input.bytes(), Some(&request), conn);
                let answer = match self.may_ask(&request) {
                    Some(true) => {
                        server.answer(&request, peer(conn), How::at_once(cx)).map_err(Some)
                    }
                    Some(false) => Ok(Answer::refused(Refused::Unknown)),
                    None => Err(None),
                };
                match answer {
                    Ok(answer) => self.put(Due { answer, asked, logged }, conn, cx),
                    Err(waits) => {
                        let late = Late { place: Some(self.reserve()), asked, logged };
                        let head = Head { bytes: input.bytes()[..len].into(), peer: peer(conn) };
                        self.answer_later(waits, head, late);
                    }
                }
                len
            }
        };
        conn.give_input_back(input, used);
        used > 0
    }

    /// Returns the facts for the access log, if there is one.
    fn log(
        &self,
        input: &[u8],
        request: Option<&Request<'_>>,
        conn: &Conn,
    ) -> Option<Box<log::LogLine>> {
        let log = self.server.0.log.as_ref()?;
        Some(log.asked(&log::Facts {
            peer: peer(conn),
            line: request::first_line(input),
            referer: request.and_then(|request| request.referer),
            agent: request.and_then(|request| request.agent),
        }))
    }

    fn tell(&self, logged: Option<Box<log::LogLine>>, status: u16, len: u64) {
        if let (Some(log), Some(logged)) = (&self.server.0.log, logged) {
            log.answered(*logged, status, len);
        }
    }

    /// Logs a body that was made while it was sent, and has ended or is no longer wanted.
    fn log_made_body(&self, sent: Option<Sending>) {
        if let Some(Sending { logged, len, .. }) = sent {
            self.tell(logged, Status::Ok as u16, len);
        }
    }

    /// Returns `true` if later responses have to wait.
    fn is_busy(&self) -> bool {
        self.waiting > 0 || self.sending.is_some()
    }

    /// Writes a response, or makes it wait for earlier responses.
    fn put(&mut self, due: Due, conn: &mut Conn, cx: &Cx) {
        // After the last response, no further request is read.
        self.closing |= due.asked.keep_alive == KeepAlive::No;
        match self.is_busy() {
            false => self.write(due, conn, cx),
            true => self.reserve().complete(due),
        }
    }

    /// Returns whether the client may ask, or `None` if its password has to be checked first.
    fn may_ask(&self, request: &Request<'_>) -> Option<bool> {
        match (&self.visitor, request.authorization) {
            (None, _) => Some(true),
            // Browsers send preflight requests without a login.
            _ if request.method == Method::Options => Some(true),
            (Some(_), None) => Some(false),
            (Some(visitor), Some(field)) => visitor.is_known(field).then_some(true),
        }
    }

    /// Answers a request later, when what it waits for is ready; `None` waits for the check of a
    /// password.
    fn answer_later(&mut self, waits: Option<Waits>, head: Head, late: Late) {
        self.closing |= late.asked.keep_alive == KeepAlive::No;
        let server = Arc::clone(&self.server.0);
        let Some(waits) = waits else {
            let Some(visitor) = self.visitor.clone() else { return };
            let handle = &self.server.0.handle;
            return handle.spawn(&handle.new_color(), check(visitor, server, head, late)).detach();
        };
        match waits {
            Waits::Disk => {
                let answer = move || server.answer_blocking(head, late);
                self.server.0.handle.offload(answer).detach();
            }
            Waits::Compression(job) => server.compress(*job, head, late),
        }
    }

    /// Reserves a place in the order of responses.
    fn reserve(&mut self) -> Place<Due> {
        let sequencer = self.sequencer.get_or_insert_with(|| {
            let me = self.me.clone();
            Sequencer::new(&self.color, move |due, _| {
                if let Some(connection) = me.upgrade() {
                    connection.with(|web, conn, cx| web.release(due, conn, cx));
                }
            })
        });
        self.waiting += 1;
        sequencer.reserve()
    }

    /// Takes a waiting response whose turn has come.
    fn release(&mut self, due: Due, conn: &mut Conn, cx: &Cx) {
        self.behind.push_back(due);
        self.go_on(conn, cx);
    }

    /// Writes the waiting responses, as far as the out-buffer has room and no body is being made.
    fn go_on(&mut self, conn: &mut Conn, cx: &Cx) {
        while self.sending.is_none()
            && !conn.is_congested()
            && conn.can_send()
            && let Some(due) = self.behind.pop_front()
        {
            self.waiting -= 1;
            self.write(due, conn, cx);
        }
        if !conn.can_send() {
            // The last response has been written, or the client is gone.
            self.waiting -= self.behind.len();
            self.behind.clear();
        }
        if !self.is_busy() {
            conn.resume();
        }
    }

    fn write(&mut self, due: Due, conn: &mut Conn, cx: &Cx) {
        let Due { mut answer, asked, logged } = due;
        let RequestFacts { mut keep_alive, head_only, takes_chunks, begun } = asked;
        let in_chunks = takes_chunks || !matches!(answer, Answer::Made(_));
        // Without chunks, the end of the connection marks the end of such a body.
        if !in_chunks || self.last_response && self.waiting == 0 {
            (keep_alive, self.closing) = (KeepAlive::No, true);
        }
        let common = &self.server.0.answers.common_fields;
        let reply = Reply { common, stamp: cx.poll_count(), keep_alive, head_only, takes_chunks };
        let status = reply.write(conn, &answer);
        self.server.0.figures.worker(cx.worker()).response(status as u16);
        self.server.0.monitor.end(begun);
        let is_made = matches!(answer, Answer::Made(_)) && !head_only;
        let logged = match is_made {
            true => logged,
            false => {
                let len = if head_only { 0 } else { answer.len() };
                self.tell(logged, status as u16, len);
                None
            }
        };
        if let Answer::Text(text) = &mut answer
            && let Some(pass) = text.pass.take()
        {
            self.passes.push(pass);
            conn.notify_written();
        }
        match answer {
            Answer::Made(made) if is_made => {
                let pieces = Some(made.pieces);
                self.sending = Some(Sending { pieces, in_chunks, keep_alive, logged, len: 0 });
                self.make_piece();
            }
            _ if keep_alive == KeepAlive::No => conn.close(),
            _ => {}
        }
    }

    /// Makes the next piece of a body, on the blocking pool.
    fn make_piece(&mut self) {
        let Some(mut pieces) = self.sending.as_mut().and_then(|sending| sending.pieces.take())
        else {
            return;
        };
        let me = self.me.clone();
        self.server.0.handle.offload_then(
            &self.color,
            move || {
                let piece = pieces.next();
                (pieces, piece)
            },
            move |made, _| {
                if let Some(connection) = me.upgrade() {
                    connection.with(move |web, conn, cx| match made {
                        Ok((pieces, Ok(piece))) => web.send_piece(pieces, piece, conn, cx),
                        // An abort shows the client that the body is incomplete.
                        failed => {
                            let why = failed.map(|(_, piece)| piece.err());
                            tracing::debug!(?why, "a response body ended early");
                            conn.abort();
                        }
                    });
                }
            },
        );
    }

    fn send_piece(
        &mut self,
        pieces: Box<dyn Pieces>,
        piece: Option<Bytes>,
        conn: &mut Conn,
        cx: &Cx,
    ) {
        let Some(sending) = &mut self.sending else { return };
        if let Some(bytes) = piece {
            write::piece(conn, &bytes, sending.in_chunks);
            sending.len += bytes.len() as u64;
            sending.pieces = Some(pieces);
            if !conn.is_congested() {
                self.make_piece();
            }
            return;
        }
        write::last_piece(conn, sending.in_chunks);
        // The server may have begun to end meanwhile.
        if sending.keep_alive == KeepAlive::No || self.last_response && self.waiting == 0 {
            self.closing = true;
            conn.close();
        }
        let sent = self.sending.take();
        self.log_made_body(sent);
        self.go_on(conn, cx);
    }
}

/// Checks a visitor's password, and then answers the request.
async fn check(visitor: Arc<Visitor>, server: Arc<Server>, head: Head, mut late: Late) {
    let Parsed::Request(request, _) = request::parse(&head.bytes) else { return };
    let field = request.authorization.and_then(|field| HeaderValue::from_bytes(field).ok());
    match visitor.check(field.as_ref()).await {
        Err(refused) => late.complete(Answer::refused(refused)),
        Ok(_) => {
            let handle = server.handle.clone();
            let _ = handle.offload(move || server.answer_blocking(head, late)).await;
        }
    }
}

impl Server {
    /// Answers a request that was parsed before. It may block.
    fn answer_blocking(&self, head: Head, mut late: Late) {
        let Parsed::Request(request, _) = request::parse(&head.bytes) else { return };
        match self.answer(&request, head.peer, How::Blocking) {
            Ok(answer) => late.complete(answer),
            Err(Waits::Compression(job)) => self.compress(*job, head, late),
            Err(Waits::Disk) => {}
        }
    }

    fn compress(&self, job: Job, head: Head, mut late: Late) {
        self.answers.compress(job, move |page| {
            if let Parsed::Request(request, _) = request::parse(&head.bytes) {
                late.complete(of_file(&request, page));
            }
        });
    }
}

/// The most responses that wait for one another: each may keep a file open, or contents in memory.
const MOST_WAITING: usize = 8;

/// The most pipelined requests that one event answers before other colors get their turn.
const REQUESTS: usize = 64;

impl Protocol for WebConn {
    fn on_open(&mut self, conn: &mut Conn, cx: &mut Cx) {
        if self.refused {
            let answer = Answer::unserved();
            self.put(Due { answer, asked: RequestFacts::by_nobody(false), logged: None }, conn, cx);
        }
    }

    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
        let mut answered = 0;
        while answered < REQUESTS
            && self.waiting < MOST_WAITING
            && !(self.closing || conn.is_congested() || conn.input().is_empty())
            && self.answer_one(conn, cx)
        {
            answered += 1;
        }
        if self.is_busy() {
            conn.pause();
        } else if answered == REQUESTS && !conn.input().is_empty() {
            conn.come_back();
        }
    }

    fn on_room(&mut self, conn: &mut Conn, cx: &mut Cx) {
        self.make_piece();
        self.go_on(conn, cx);
        // While an answer is awaited, the connection is paused, and `go_on` resumes it.
        if !conn.is_paused() {
            self.on_data(conn, cx);
        }
    }

    fn on_written(&mut self, _: &mut Conn, _: &mut Cx) {
        self.passes.clear();
    }

    /// Aborts the connection, because nobody reads what is being made.
    fn on_write_closed(&mut self, conn: &mut Conn, _: &mut Cx) {
        conn.abort();
    }

    fn on_drain(&mut self, conn: &mut Conn, cx: &mut Cx) {
        // A request that has begun is still answered, and then the connection closes.
        self.last_response = true;
        if !conn.input().is_empty() || self.is_busy() {
            return;
        }
        if self.has_asked {
            return conn.close();
        }
        // A client that has just connected gets 1 s for its first request.
        let me = self.me.clone();
        cx.post_after(GRACE, &self.color, move |_| {
            if let Some(connection) = me.upgrade() {
                connection.with(|web, conn, _| {
                    if !web.has_asked && conn.input().is_empty() {
                        conn.close();
                    }
                });
            }
        });
    }

    fn on_close(&mut self, reason: &CloseReason, cx: &mut Cx) {
        let sent = self.sending.take();
        self.log_made_body(sent);
        self.server.0.figures.worker(cx.worker()).closed(reason);
    }
}
