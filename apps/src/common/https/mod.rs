//! HTTPS for programs: TLS, and HTTP/1.1 or HTTP/2 as the client chooses, on hyper.
//!
//! * [`identity`]: the server's key and certificate.
//! * [`connections`]: the limit on connections, and how they end with the program.
//! * [`activity`]: the requests and bodies in progress on a connection.
//! * [`gathered`]: a stream that sends small writes together.
//! * [`head`] and [`request_body`]: requests.
//! * [`body`]: bodies of responses.
//!
//! Every connection is a task with a color of its own. The streams of an HTTP/2 connection run as
//! [`Streams`] says.

pub(crate) mod activity;
pub(crate) mod body;
pub(crate) mod connections;
mod gathered;
pub(crate) mod head;
pub(crate) mod identity;
pub(crate) mod request_body;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use dapple::clock;
use dapple::{Cx, Handle};
use dapple_io::TimeoutStream;
use dapple_io::hyper::{AtOnce, OnColors, Timers};
use dapple_io::tcp::{AsyncStream, TcpStream};
use dapple_io::tls::TlsStream;
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use http::request::Parts;
use http::{Method, Request, Response, header};
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use rustls::ServerConfig;

use self::activity::{Activity, Doing};
use self::body::Body;
use self::connections::{Connections, OpenConnection};
use self::gathered::Gathered;
use super::date;
use super::per_address::PerAddress;
use super::time::later;

/// The time limit of a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The maximum number of bytes that hyper buffers for a connection in each direction, besides one
/// piece of a body.
const MOST_BUFFERED: usize = 128 * 1024;

/// The maximum number of bytes that are read from a client that does not speak TLS.
const MAX_DRAINED: usize = 64 * 1024;

/// The maximum number of concurrent requests on an HTTP/2 connection.
const MOST_STREAMS: u32 = 32;

/// The number of bytes that a client may send ahead on an HTTP/2 stream.
const WINDOW: u32 = 1024 * 1024;

/// The maximum time between two checks of a connection's activity.
const LOOKED_AT: Duration = Duration::from_secs(60);

/// The time that a client which has connected, but has not sent a request, has for its request when
/// the program ends.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// The time that a connection has to end after it was told to.
const ENDING: Duration = Duration::from_secs(5);

/// The application that answers the requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// The state that is kept for the client at the other end of a connection.
    type Visitor: Send + Sync + 'static;

    /// How the requests of an HTTP/2 connection are answered.
    const STREAMS: Streams;

    /// Creates the state for a new connection.
    fn visitor(&self, peer: SocketAddr) -> Self::Visitor;

    /// Answers a request. A HEAD request is answered as GET, because the caller removes the body.
    fn answer(
        self: &Arc<Self>,
        head: Arc<Parts>,
        body: Incoming,
        visitor: &Self::Visitor,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// How the requests of an HTTP/2 connection are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// On the color of the connection, one after the other, as far as an answer need not wait.
    AtOnce,
    /// On a color for each request, so on all cores.
    OnColors,
}

/// The executor on which hyper's tasks run.
#[derive(Clone)]
struct Tasks {
    streams: Streams,
    handle: Handle,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        match self.streams {
            Streams::AtOnce => AtOnce::of(&self.handle).execute(future),
            Streams::OnColors => OnColors::of(&self.handle).execute(future),
        }
    }
}

/// The state that all connections share.
pub(crate) struct Https<S> {
    pub(crate) handle: Handle,
    pub(crate) tls: ArcSwap<ServerConfig>,
    pub(crate) site: Arc<S>,
    pub(crate) connections: Arc<Connections>,
    /// The limit on connections from one address, or `None` if only the total is limited.
    pub(crate) per_address: Option<Arc<PerAddress>>,
    /// The time after which a connection without a request is ended.
    pub(crate) idle: Duration,
    /// The time for which a client may take nothing of a response.
    pub(crate) write_silence: Duration,
    /// The maximum size of a request's head, in bytes.
    pub(crate) most_head: usize,
}

/// Takes over a connection that was accepted, unless there are too many.
pub(crate) fn accept<S: Service>(server: &Arc<Https<S>>, stream: TcpStream, cx: &mut Cx) {
    let Some(place) = OpenConnection::take(&server.connections) else {
        if server.connections.may_complain() {
            tracing::warn!(peer = %stream.peer_addr(), "too many connections");
        }
        return;
    };
    let Some(peer) = stream.peer_addr().ip() else { return };
    let counted = server.per_address.as_ref().map(|all| all.enter(peer.ip()));
    if let Some(None) = counted {
        return;
    }
    let (color, server) = (cx.new_color(), Arc::clone(server));
    cx.spawn(&color, async move {
        let _counted = counted;
        if let Err(error) = serve(&server, place, stream, peer).await {
            tracing::debug!(%peer, %error, "a connection ended");
        }
    })
    .detach();
}

async fn serve<S: Service>(
    server: &Arc<Https<S>>,
    place: OpenConnection,
    stream: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    let handle = &server.handle;
    let stream = stream.into_async()?;
    // The future is boxed because it is large, and needed only at the start of a connection.
    let accept = Box::pin(async {
        let mut first = [0; 5];
        let n = stream.peek(&mut first).await?;
        match first[..n].first().is_some_and(u8::is_ascii_uppercase) {
            // The first letter of a method. A TLS connection begins with another byte.
            true => tell_of_tls(stream, &first == b"HEAD ").await.map(|()| None),
            false => TlsStream::accept(stream, server.tls.load_full()).await.map(Some),
        }
    });
    let Some(stream) = handle.timeout(HANDSHAKE, accept).await?? else { return Ok(()) };
    let speaks_two = stream.connection().alpn_protocol() == Some(b"h2");
    let stream = TimeoutStream::new(stream, handle).write_limit(server.write_silence);
    let stream = Gathered::new(stream);
    let activity = Activity::new();
    let service = service_fn({
        let (server, activity) = (Arc::clone(server), activity.clone());
        let visitor = Arc::new(server.site.visitor(peer));
        move |request: Request<Incoming>| {
            let (server, in_flight) = (Arc::clone(&server), activity.begin());
            let visitor = Arc::clone(&visitor);
            // The head and the body are split here because the future, which is moved several
            // times, is then smaller.
            let (head, body) = request.into_parts();
            let (is_head, head) = (head.method == Method::HEAD, Arc::new(head));
            async move {
                let response = server.site.answer(head, body, &visitor).await;
                let response = if is_head { without_body(response) } else { response };
                Ok::<_, Infallible>(response.map(|body| in_flight.with(body)))
            }
        }
    });
    if speaks_two {
        let mut http = http2::Builder::new(Tasks { streams: S::STREAMS, handle: handle.clone() });
        http.timer(Timers::of(handle))
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(MOST_STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW)
            .max_header_list_size(u32::try_from(server.most_head).unwrap_or(u32::MAX))
            .max_send_buf_size(MOST_BUFFERED);
        let connection = pin!(http.serve_connection(stream.clone(), service));
        to_its_end(server, &place, &activity, (connection, &stream), |connection| {
            connection.graceful_shutdown()
        })
        .await
    } else {
        let mut http = http1::Builder::new();
        http.timer(Timers::of(handle))
            .header_read_timeout(server.idle)
            .max_header_size(server.most_head)
            .max_buf_size(MOST_BUFFERED);
        let connection = pin!(http.serve_connection(stream.clone(), service));
        to_its_end(server, &place, &activity, (connection, &stream), |connection| {
            connection.graceful_shutdown()
        })
        .await
    }
}

/// Answers a client that speaks plain HTTP.
async fn tell_of_tls(mut stream: AsyncStream, is_head: bool) -> io::Result<()> {
    let body = "This server speaks HTTPS: use an address that begins with https://\n";
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nDate: {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{}",
        date::format(clock::wall()),
        body.len(),
        if is_head { "" } else { body }
    );
    stream.write_all(response.as_bytes()).await?;
    stream.close().await?;
    // If the connection were closed with unread data, the kernel would reset it, and the answer
    // would be lost.
    let mut rest = [0; 1024];
    for _ in 0..MAX_DRAINED / rest.len() {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Serves a connection until it ends.
///
/// When the program is about to end, or when there was no request for the idle time, the connection
/// ends after the requests that have begun are answered. A connection that does not end then is cut
/// off, and so is one whose client takes nothing of a response. When the program ends, a client
/// that has just connected may still send one request.
async fn to_its_end<C, S, T>(
    server: &Https<S>,
    place: &OpenConnection,
    activity: &Activity,
    (mut connection, stream): (Pin<&mut C>, &Gathered<T>),
    end: fn(Pin<&mut C>),
) -> io::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
    T: hyper::rt::Write + Unpin,
{
    let (mut is_registered, mut is_ending, mut drains) = (false, false, None);
    let mut look = server.handle.sleep(server.idle);
    std::future::poll_fn(move |cx| {
        // A task has one waker. It is registered once, and the next call takes it back only to end
        // the connection.
        if !is_ending && (!is_registered || server.connections.are_draining()) {
            is_registered = true;
            if place.is_draining(cx) {
                let now = clock::now();
                let since = *drains.get_or_insert_with(|| {
                    look.reset(later(now, GRACE));
                    now
                });
                if activity.has_begun() || now - since >= GRACE {
                    is_ending = true;
                    end(connection.as_mut());
                }
            }
        }
        while Pin::new(&mut look).poll(cx).is_ready() {
            match activity.state(clock::now(), server.idle) {
                // The connection was told to end and has not ended, and no request is open.
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
        let mut polled = connection.as_mut().poll(cx);
        if polled.is_pending() && !is_ending && drains.is_some() && activity.has_begun() {
            // The first request has arrived, and is the last one that is answered.
            is_ending = true;
            end(connection.as_mut());
            polled = connection.as_mut().poll(cx);
        }
        match polled {
            Poll::Ready(ended) => {
                // After an error, too, the responses before it are sent.
                if ended.is_err() {
                    let _ = stream.send(cx);
                }
                Poll::Ready(ended.map_err(io::Error::other))
            }
            Poll::Pending => match stream.send(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                // If the stream cannot take the bytes now, it wakes this task later.
                _ => Poll::Pending,
            },
        }
    })
    .await
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the connection was idle or stalled")
}

/// Removes the body of a response to a HEAD request. Over HTTP/2, hyper would send the body.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact()
        && length > 0
    {
        head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    Response::from_parts(head, Body::Empty)
}
