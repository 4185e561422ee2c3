//! Connections: TLS, HTTP/1.1 or HTTP/2 as the client wants it, and who asks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use dapple::clock;
use dapple::{Cx, Handle};
use dapple_io::TimeoutStream;
use dapple_io::hyper::{OnColors, Timers};
use dapple_io::tcp::{AsyncStream, TcpStream};
use dapple_io::tls::TlsStream;
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use rustls::ServerConfig;

use super::activity::{Activity, Doing};
use super::dav::Dav;
use super::dav::body::Body;
use super::dav::call::check_head;
use super::dav::problem::Problem;
use super::dav::request_body::RequestBody;
use super::login::{Login, Refused, Visitor};

use crate::common::date;
use crate::common::time::later;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client may take nothing of what it has asked for.
const WRITE_SILENCE: Duration = Duration::from_secs(60);

/// Bytes that hyper holds of a connection in each direction, at most, beside one piece of a body.
const MOST_BUFFERED: usize = 128 * 1024;

/// Bytes of a head, at most.
const MOST_HEAD: usize = 64 * 1024;

/// Requests that an HTTP/2 connection may have at once.
const MOST_STREAMS: u32 = 32;

/// Bytes that a client may send ahead on an HTTP/2 stream.
const WINDOW: u32 = 1024 * 1024;

/// Bytes that are read of what somebody sends who is not let in.
const MOST_LEFT: u64 = 1024 * 1024;

/// How often a connection is looked at, at least.
const LOOKED_AT: Duration = Duration::from_secs(60);

/// How long a connection that is told to end has for that.
const ENDING: Duration = Duration::from_secs(5);

/// What all connections share.
pub(super) struct Server {
    pub(super) handle: Handle,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) login: Arc<Login>,
    pub(super) dav: Dav,
    pub(super) connections: Connections,
    /// How long a connection may stay without a request.
    pub(super) idle: Duration,
}

/// The connections that are open.
pub(super) struct Connections {
    most: usize,
    draining: AtomicBool,
    next: AtomicU64,
    /// Who has to be woken when the program is about to end.
    open: Mutex<HashMap<u64, Option<Waker>>>,
    since: Instant,
    /// In which second somebody was last turned away, and that was said.
    complained: AtomicU64,
}

/// A connection's place among them.
struct Place {
    server: Arc<Server>,
    number: u64,
}

impl Connections {
    pub(super) fn new(most: usize) -> Connections {
        Connections {
            most,
            draining: AtomicBool::new(false),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            since: clock::now(),
            complained: AtomicU64::new(0),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Option<Waker>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At most once a second: whoever fills them up is not to fill the log, too.
    fn may_complain(&self) -> bool {
        let now = (clock::now() - self.since).as_secs() + 1;
        self.complained.swap(now, Ordering::Relaxed) != now
    }

    pub(super) fn count(&self) -> usize {
        self.open().len()
    }

    /// Every connection ends when the requests that it has begun are answered.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        let wakers: Vec<Waker> = self.open().values_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Place {
    /// `None`: there are too many.
    fn take(server: &Arc<Server>) -> Option<Place> {
        let connections = &server.connections;
        let mut open = connections.open();
        if open.len() >= connections.most {
            return None;
        }
        let number = connections.next.fetch_add(1, Ordering::Relaxed);
        open.insert(number, None);
        Some(Place { server: Arc::clone(server), number })
    }

    /// Says whether the program has begun to end. If not, the task is woken when it does.
    fn is_draining(&self, cx: &Context<'_>) -> bool {
        let connections = &self.server.connections;
        let mut open = connections.open();
        // Whoever drains sets the flag, and then takes the wakers under the lock.
        if connections.draining.load(Ordering::SeqCst) {
            return true;
        }
        open.insert(self.number, Some(cx.waker().clone()));
        false
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waker = self.server.connections.open().remove(&self.number);
        drop(waker);
    }
}

/// Takes a connection over.
pub(super) fn accept(server: &Arc<Server>, stream: TcpStream, cx: &mut Cx) {
    let Some(place) = Place::take(server) else {
        if server.connections.may_complain() {
            tracing::warn!(peer = %stream.peer_addr(), "there are too many connections");
        }
        return;
    };
    let color = cx.new_color();
    cx.spawn(&color, async move {
        let Some(peer) = stream.peer_addr().ip() else { return };
        if let Err(error) = serve(place, stream, peer).await {
            tracing::debug!(%peer, %error, "a connection ended");
        }
    })
    .detach();
}

async fn serve(place: Place, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let server = Arc::clone(&place.server);
    let handle = &server.handle;
    let stream = stream.into_async()?;
    // In a box, as it is large and only the begin of a connection.
    let accept = Box::pin(async {
        let mut first = [0; 5];
        let n = stream.peek(&mut first).await?;
        match first[..n].first().is_some_and(u8::is_ascii_uppercase) {
            // That of a method: TLS begins otherwise.
            true => tell_of_tls(stream, &first == b"HEAD ").await.map(|()| None),
            false => TlsStream::accept(stream, Arc::clone(&server.tls)).await.map(Some),
        }
    });
    let Some(stream) = handle.timeout(HANDSHAKE, accept).await?? else { return Ok(()) };
    let speaks_two = stream.connection().alpn_protocol() == Some(b"h2");
    let stream = TimeoutStream::new(stream, handle).write_limit(WRITE_SILENCE);
    let activity = Activity::new();
    let service = service_fn({
        let (server, activity) = (Arc::clone(&server), activity.clone());
        let visitor = Arc::new(Visitor::new(&server.login, peer.ip()));
        move |request: Request<Incoming>| {
            let (server, in_flight) = (Arc::clone(&server), activity.begin());
            let visitor = Arc::clone(&visitor);
            // Not a part of the future, which is moved several times.
            let (head, body) = request.into_parts();
            let (is_head, head) = (head.method == Method::HEAD, Arc::new(head));
            async move {
                let response = server.answer(head, body, &visitor).await;
                let response = if is_head { without_body(response) } else { response };
                Ok::<_, Infallible>(response.map(|body| in_flight.with(body)))
            }
        }
    });
    if speaks_two {
        let mut http = http2::Builder::new(OnColors::of(handle));
        http.timer(Timers::of(handle))
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(MOST_STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW)
            .max_header_list_size(MOST_HEAD as u32)
            .max_send_buf_size(MOST_BUFFERED);
        let connection = pin!(http.serve_connection(stream, service));
        to_its_end(&place, &activity, connection, |connection| connection.graceful_shutdown()).await
    } else {
        let mut http = http1::Builder::new();
        http.timer(Timers::of(handle))
            .header_read_timeout(server.idle)
            .max_header_size(MOST_HEAD)
            .max_buf_size(MOST_BUFFERED);
        let connection = pin!(http.serve_connection(stream, service));
        to_its_end(&place, &activity, connection, |connection| connection.graceful_shutdown()).await
    }
}

/// Somebody speaks plain HTTP.
async fn tell_of_tls(mut stream: AsyncStream, is_head: bool) -> io::Result<()> {
    let body = "This server speaks HTTPS: the address begins with https://\n";
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nDate: {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{}",
        date::format(clock::wall()),
        body.len(),
        if is_head { "" } else { body }
    );
    stream.write_all(response.as_bytes()).await?;
    stream.close().await?;
    // Closed with something unread, the connection would be reset, and the answer lost.
    let mut rest = [0; 1024];
    for _ in 0..MOST_HEAD / rest.len() {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Serves a connection until it ends; or, when the program is about to end, or nothing has been
/// asked for too long, until what was begun is answered. One that does not end then, or that takes
/// nothing of what it has asked for, is cut off.
async fn to_its_end<C>(
    place: &Place,
    activity: &Activity,
    mut connection: Pin<&mut C>,
    end: fn(Pin<&mut C>),
) -> io::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let server = &place.server;
    let (mut is_registered, mut is_ending) = (false, false);
    let mut look = server.handle.sleep(server.idle);
    std::future::poll_fn(move |cx| {
        // A task has one waker, so it is left once, and taken only to end.
        if !is_ending && (!is_registered || server.connections.draining.load(Ordering::SeqCst)) {
            is_registered = true;
            if place.is_draining(cx) {
                is_ending = true;
                end(connection.as_mut());
            }
        }
        while Pin::new(&mut look).poll(cx).is_ready() {
            match activity.state(clock::now(), server.idle) {
                // It has been told to end, and has not, and nobody waits for an answer.
                Doing::Nothing if is_ending => return Poll::Ready(Err(cut_off())),
                Doing::Nothing => {
                    is_ending = true;
                    end(connection.as_mut());
                }
                Doing::Stalled => return Poll::Ready(Err(cut_off())),
                Doing::Something => {}
            }
            let next = if is_ending { ENDING } else { server.idle.min(LOOKED_AT) };
            look.reset(later(clock::now(), next));
        }
        connection.as_mut().poll(cx).map_err(io::Error::other)
    })
    .await
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nothing was going on")
}

impl Server {
    async fn answer(&self, head: Arc<Parts>, body: Incoming, visitor: &Visitor) -> Response<Body> {
        if let Err(status) = check_head(&head) {
            return unusable(status, head.version);
        }
        let field = head.headers.get(header::AUTHORIZATION);
        match visitor.check(field).await {
            Ok(user) => self.dav.answer(head, body, &user).await,
            Err(refused) => {
                RequestBody::new(body, &head.headers, &self.handle).leave(MOST_LEFT);
                refuse(refused)
            }
        }
    }
}

/// The head of a response. Over HTTP/2 the library sends whatever body there is.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact()
        && length > 0
    {
        head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    Response::from_parts(head, Body::Empty)
}

/// A request whose end is not known for sure: what follows it is nothing to go by.
fn unusable(status: StatusCode, version: Version) -> Response<Body> {
    let mut response = Problem::from(status).into_response();
    if version != Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn refuse(refused: Refused) -> Response<Body> {
    let (status, name, value) = match refused {
        Refused::Unknown => {
            let challenge = HeaderValue::from_static("Basic realm=\"dapple\", charset=\"UTF-8\"");
            (StatusCode::UNAUTHORIZED, header::WWW_AUTHENTICATE, challenge)
        }
        Refused::Later(seconds) => {
            (StatusCode::TOO_MANY_REQUESTS, header::RETRY_AFTER, seconds.into())
        }
    };
    let text = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Body::text(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(name, value);
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
