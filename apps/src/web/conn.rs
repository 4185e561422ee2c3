//! A connection: requests in, responses out, all in events of its color.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use dapple::{Cx, Handle};
use dapple_io::tcp::{CloseReason, Conn, ConnOptions, Connection, Protocol, TcpStream};

use super::answer::{Answers, Cold, Fetched, Reply, Site, refuse, refuse_unread};
use super::figures::{self, Figures};
use super::http::head::{KeepAlive, Status};
use super::http::request::{self, MOST_HEAD, Method, Parsed, Request};
use crate::common::target;

/// What the command line says.
pub(super) struct Settings {
    pub(super) options: ConnOptions,
    pub(super) serial: bool,
    pub(super) figures_for: FiguresFor,
    pub(super) max_connections: u64,
    pub(super) cache_bytes: u64,
}

/// Who may see the live figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FiguresFor {
    /// There are none: the path is one of the folder's.
    Nobody,
    /// Who asks on this machine, and for itself: a proxy on it asks for others.
    Loopback,
    Everybody,
}

/// What all connections share.
pub(super) struct Server {
    handle: Handle,
    answers: Answers,
    figures: Figures,
    settings: Settings,
    open: AtomicU64,
    /// The program is about to end.
    pub(super) draining: AtomicBool,
}

impl Server {
    pub(super) fn new(handle: &Handle, site: Site, settings: Settings) -> Self {
        let color = match settings.serial {
            true => handle.default_color(),
            false => handle.color_builder().label("cache").build(),
        };
        let options = ConnOptions { max_input: 2 * MOST_HEAD, ..settings.options };
        Server {
            answers: Answers::new(site, &color, settings.cache_bytes),
            figures: Figures::new(handle.workers()),
            handle: handle.clone(),
            settings: Settings { options, ..settings },
            open: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        }
    }

    pub(super) fn open_connections(&self) -> u64 {
        self.open.load(Ordering::Acquire)
    }
}

/// Counts a connection as open while it is there.
struct Open(Arc<Server>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Release);
    }
}

/// The protocol of one connection.
pub(super) struct WebConn {
    server: Open,
    /// No further request is answered.
    closing: bool,
    /// The next request is the last one.
    last_request: bool,
    /// There are too many connections.
    refused: bool,
    /// This connection, for what comes back to it.
    me: Weak<Connection<WebConn>>,
    /// What the request at the begin of the input waited for.
    fetched: Option<Fetched>,
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
        let refused =
            open >= server.settings.max_connections || server.draining.load(Ordering::Relaxed);
        let web = WebConn {
            server: Open(Arc::clone(server)),
            closing: false,
            last_request: false,
            refused,
            me: Weak::new(),
            fetched: None,
        };
        let me = stream.serve_weakly(&color, server.settings.options, web);
        if let Some(connection) = me.upgrade() {
            connection.with(move |web, _, _| web.me = me);
        }
    }

    /// Has a file read that is on a disk, and nothing answered until it is there.
    fn fetch(&mut self, path: Vec<u8>, conn: &mut Conn) {
        let Some(connection) = self.me.upgrade() else {
            // The very first moment of a connection: there is no way back to it yet.
            self.fetched = Some(self.server.0.answers.fetch(path));
            return conn.come_back();
        };
        conn.pause();
        let server = Arc::clone(&self.server.0);
        let (asked, color) = (path.clone(), connection.color().clone());
        let me = self.me.clone();
        self.server.0.handle.offload_then(
            &color,
            move || server.answers.fetch(path),
            move |fetched, _| {
                let lost = |_| Fetched { path: asked, found: Err(io::ErrorKind::Other.into()) };
                let fetched = fetched.unwrap_or_else(lost);
                if let Some(connection) = me.upgrade() {
                    connection.with(move |web, conn, _| {
                        web.fetched = Some(fetched);
                        conn.resume();
                    });
                }
            },
        );
    }

    /// Answers what is at the begin of the input; false: there is no whole request, or it waits for
    /// its file.
    fn answer_one(&mut self, conn: &mut Conn, cx: &mut Cx) -> bool {
        let server = &self.server.0;
        let stamp = cx.poll_count();
        // What is parsed borrows the input, what answers needs the whole connection.
        let input = conn.take_input();
        let (status, used, keep_alive) = match request::parse(input.bytes()) {
            Parsed::Partial => {
                conn.give_input_back(input, 0);
                return false;
            }
            Parsed::Bad(status) => {
                let head_only = request::is_head(input.bytes());
                (refuse(conn, stamp, status, head_only), input.bytes().len(), false)
            }
            Parsed::Request(request, len) => {
                let reply = Reply {
                    keep_alive: match self.last_request {
                        true => KeepAlive::No,
                        false => request.keep_alive,
                    },
                    head_only: request.method == Method::Head,
                    conn,
                    stamp,
                };
                let keep_alive = reply.keep_alive != KeepAlive::No;
                let status = if server.is_for_figures(&request) {
                    Ok(match server.shows_figures(&request, reply.conn) {
                        true => figures::answer(&server.figures, server, reply),
                        false => reply.error(Status::Forbidden),
                    })
                } else {
                    server.answers.answer(&request, reply, self.fetched.take(), cx)
                };
                match status {
                    Ok(status) => (status, len, keep_alive),
                    Err(Cold(path)) => {
                        conn.give_input_back(input, 0);
                        self.fetch(path, conn);
                        return false;
                    }
                }
            }
        };
        server.figures.worker(cx.worker()).response(status);
        conn.give_input_back(input, used);
        if !keep_alive {
            self.closing = true;
            conn.close();
        }
        keep_alive
    }
}

impl Server {
    pub(super) fn runtime(&self) -> &Handle {
        &self.handle
    }

    fn is_for_figures(&self, request: &Request<'_>) -> bool {
        self.settings.figures_for != FiguresFor::Nobody
            && matches!(request.method, Method::Get | Method::Head)
            && target::split(request.target).is_some_and(|(path, _)| path == figures::PATH)
    }

    /// Says whether the figures are for this peer.
    fn shows_figures(&self, request: &Request<'_>, conn: &Conn) -> bool {
        match self.settings.figures_for {
            FiguresFor::Nobody => false,
            FiguresFor::Loopback => {
                !request.is_forwarded
                    && conn
                        .peer_addr()
                        .ip()
                        .is_none_or(|peer| peer.ip().to_canonical().is_loopback())
            }
            FiguresFor::Everybody => true,
        }
    }
}

/// Pipelined requests that are answered at once, before others get their turn.
const REQUESTS: usize = 64;

impl Protocol for WebConn {
    fn on_open(&mut self, conn: &mut Conn, cx: &mut Cx) {
        if self.refused {
            let status = refuse_unread(conn, cx.poll_count(), Status::Unavailable);
            self.server.0.figures.worker(cx.worker()).response(status);
            self.closing = true;
            conn.close();
        }
    }

    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
        for _ in 0..REQUESTS {
            if self.closing || conn.is_congested() || conn.input().is_empty() {
                return;
            }
            if !self.answer_one(conn, cx) {
                return;
            }
        }
        if !conn.input().is_empty() {
            conn.come_back();
        }
    }

    fn on_room(&mut self, conn: &mut Conn, cx: &mut Cx) {
        // What waits for its file goes on when that is there.
        if !conn.is_paused() {
            self.on_data(conn, cx);
        }
    }

    fn on_drain(&mut self, conn: &mut Conn, _: &mut Cx) {
        if conn.input().is_empty() {
            conn.close();
        } else {
            // A request has begun: it is answered, and then the connection closes.
            self.last_request = true;
        }
    }

    fn on_close(&mut self, reason: &CloseReason, cx: &mut Cx) {
        self.server.0.figures.worker(cx.worker()).closed(reason);
    }
}
