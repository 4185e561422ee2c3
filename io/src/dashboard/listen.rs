//! The dashboard as a server of its own, for this machine.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dapple::sync::{Arc, AtomicUsize, Ordering};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::Dashboard;
use crate::hyper::Timers;
use crate::listen::{Accepting, Listener};
use crate::{Io, TimeoutStream};

/// The maximum number of connections at once. Further ones are closed.
const MOST_CONNECTIONS: usize = 64;

/// The time limit for the header of a request, and for a client that takes nothing of an answer.
const PATIENCE: Duration = Duration::from_secs(60);

impl Dashboard {
    /// Serves the dashboard over HTTP, at `/`, to programs and browsers on this machine.
    ///
    /// The dashboard is served until the [`Listener`] is dropped. At most 64 connections are open
    /// at once, and further ones are closed. The [module](super) has an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the address is not one of this machine only (such as 127.0.0.1),
    /// as the page asks for no password. Otherwise, returns the error of [`Io::listen`].
    pub fn listen(&self, io: &Io, address: SocketAddr) -> io::Result<Listener> {
        if !address.ip().is_loopback() {
            let why =
                "the dashboard asks for no password, so it is served on 127.0.0.1 or [::1] only";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let (dashboard, handle) = (self.clone(), io.handle().clone());
        let open = Arc::new(AtomicUsize::new(0));
        io.listen(address, Accepting::PerWorker, move |stream, cx| {
            let Some(open) = Open::one_more(&open) else { return };
            let (dashboard, handle) = (dashboard.clone(), handle.clone());
            let timers = Timers::of(&handle);
            let color = handle.color_builder().label("dashboard").build();
            cx.spawn(&color, async move {
                let _open = open;
                let answer = service_fn(|request| {
                    let response = answer(&dashboard, &request);
                    async { Ok::<_, Infallible>(response) }
                });
                let mut http = http1::Builder::new();
                http.timer(timers).header_read_timeout(PATIENCE);
                let stream = TimeoutStream::new(stream.into_async()?, &handle);
                let stream = stream.write_limit(PATIENCE);
                http.serve_connection(stream, answer).await.map_err(io::Error::other)
            })
            .detach();
        })
    }
}

/// One of the connections that count for the maximum.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn one_more(open: &Arc<AtomicUsize>) -> Option<Open> {
        let counted = Open(Arc::clone(open));
        (open.fetch_add(1, Ordering::Relaxed) < MOST_CONNECTIONS).then_some(counted)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer<B>(dashboard: &Dashboard, request: &Request<B>) -> Response<String> {
    let plain = |status: StatusCode| {
        let mut response = Response::new(format!("{status}\n"));
        *response.status_mut() = status;
        response
    };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_local_host) {
        return plain(StatusCode::MISDIRECTED_REQUEST);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
        let allowed = header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allowed);
        return response;
    }
    let path = request.uri().path();
    match dashboard.get(path.strip_prefix('/').unwrap_or(path), request.uri().query()) {
        Some(response) => response.map(std::borrow::Cow::into_owned),
        None => plain(StatusCode::NOT_FOUND),
    }
}

/// Returns `true` if the `Host` of a request names this machine.
///
/// `localhost` and loopback addresses do, with or without a port. A host name that only resolves to
/// this machine does not: a web page from elsewhere can have its own name resolve to this machine
/// (DNS rebinding), and read the answers.
///
/// # Examples
///
/// ```
/// use dapple_io::dashboard::is_local_host;
/// assert!(["localhost:8080", "[::1]", "127.0.0.1:80"].into_iter().all(is_local_host));
/// assert!(!["example.org:8080", ""].into_iter().any(is_local_host));
/// ```
pub fn is_local_host(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    ip.map_or(host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
}
