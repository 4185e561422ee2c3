//! What the server shows of itself below `/_dapple/`: figures and the dashboard, and who may see
//! them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use dapple::{Handle, Recorder, clock};
use dapple_io::dashboard::{Dashboard, is_local_host};

use super::answer::{Answer, Text};
use super::figures;
use super::http::head::Status;
use super::http::request::{Method, Request};
use super::pages::{How, Waits};
use super::server::{Server, Settings};
use crate::common::monitor::{self, Below};

/// The clients that may see the live figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FiguresFor {
    /// There are no figures: the path belongs to the served folder.
    Nobody,
    /// Clients on this machine that ask for themselves, and not as a proxy for others.
    Loopback,
    Everybody,
}

/// The figures and the dashboard of a server; see the module.
pub(super) struct Monitor {
    pub(super) figures_for: FiguresFor,
    dashboard: OnceLock<Dashboard>,
    /// The durations of requests, or `None` if nobody could see them.
    requests: Option<Recorder>,
}

impl Monitor {
    /// Creates a monitor without a dashboard; [`show_dashboard`](Monitor::show_dashboard) adds it.
    /// Requests are timed if the settings show their times to anybody.
    pub(super) fn new(handle: &Handle, settings: &Settings) -> Monitor {
        let figures_for = settings.figures_for;
        let is_measured = settings.dashboard || figures_for != FiguresFor::Nobody;
        let requests = is_measured.then(|| handle.histogram("web_request"));
        Monitor { figures_for, dashboard: OnceLock::new(), requests }
    }

    /// Starts the dashboard of a server.
    pub(super) fn show_dashboard(server: &Arc<Server>) {
        let dashboard = Dashboard::builder(&server.handle).title("dapple web");
        let dashboard = monitor::count_responses(dashboard, |class| {
            let figures = Arc::clone(&server.figures);
            move || figures.responses(class)
        });
        let (figures, open) = (Arc::clone(&server.figures), Arc::downgrade(server));
        let dashboard = dashboard
            .counter("", "Connections accepted", move || figures.connections())
            .gauge("Connections open", move || {
                open.upgrade().map_or(0, |server| server.open_connections())
            })
            .build();
        let _ = server.monitor.dashboard.set(dashboard);
    }

    /// Returns the start time of a request, if requests are timed.
    #[inline]
    pub(super) fn begin(&self) -> Option<Instant> {
        self.requests.as_ref().map(|_| clock::now())
    }

    /// Records the duration of a request, if it was timed.
    #[inline]
    pub(super) fn end(&self, begun: Option<Instant>) {
        if let Some((requests, begun)) = self.requests.as_ref().zip(begun) {
            requests.record(clock::now() - begun);
        }
    }

    /// Answers a request for the server's own pages; returns `None` for any other request.
    pub(super) fn answer(
        &self,
        server: &Server,
        request: &Request<'_>,
        peer: Option<IpAddr>,
        how: How,
    ) -> Option<Result<Answer, Waits>> {
        let dashboard = self.dashboard.get();
        let is_off = dashboard.is_none() && self.figures_for == FiguresFor::Nobody;
        if is_off || !matches!(request.method, Method::Get | Method::Head) {
            return None;
        }
        let (below, query) = monitor::below(request.target)?;
        if below == Below::Name(figures::NAME) && self.figures_for != FiguresFor::Nobody {
            return Some(Ok(match self.shows_figures(request, peer) {
                true => figures::answer(server),
                false => Answer::status(Status::Forbidden),
            }));
        }
        let dashboard = dashboard?;
        if !below.is_of_dashboard() {
            return None; // the served folder may have a file of that name
        }
        if !shows_dashboard(server, request, peer) {
            return Some(Ok(Answer::status(Status::Forbidden)));
        }
        let Below::Name(name) = below else {
            let location = format!("Location: {}\r\n", monitor::PATH);
            return Some(Ok(Answer::status_with(Status::MovedPermanently, location)));
        };
        Some(match how {
            How::AtOnce(_) => Err(Waits::Disk),
            How::Blocking => Ok(of_dashboard(dashboard, name, query)),
        })
    }

    /// Returns `true` if the peer may see the figures.
    fn shows_figures(&self, request: &Request<'_>, peer: Option<IpAddr>) -> bool {
        match self.figures_for {
            FiguresFor::Nobody => false,
            FiguresFor::Loopback => is_of_this_machine(request, peer),
            FiguresFor::Everybody => true,
        }
    }
}

/// Returns `true` if the client is on this machine and asks for itself, under a local host name.
fn is_of_this_machine(request: &Request<'_>, peer: Option<IpAddr>) -> bool {
    // A peer that is not on IP is on this machine. It is no browser, so the host is not checked.
    let is_local = |peer: IpAddr| peer.to_canonical().is_loopback() && has_local_host(request);
    !request.is_forwarded && peer.is_none_or(is_local)
}

/// Returns `true` if the client may see the dashboard. If a login is required, every user may.
/// Otherwise only a client on this machine may, and only over IP, because a client on a Unix socket
/// is usually a proxy.
fn shows_dashboard(server: &Server, request: &Request<'_>, peer: Option<IpAddr>) -> bool {
    server.login.is_some() || is_of_this_machine(request, peer) && peer.is_some()
}

/// Returns `true` if the request names this machine by a local host name. A page of another site
/// can have its own name resolve to this machine, to read the answers (DNS rebinding). Its requests
/// have that name.
fn has_local_host(request: &Request<'_>) -> bool {
    let host = request.host.and_then(|host| std::str::from_utf8(host).ok());
    host.is_some_and(is_local_host)
}

fn of_dashboard(dashboard: &Dashboard, name: &str, query: Option<&str>) -> Answer {
    let Some(response) = dashboard.get(name, query) else {
        return Answer::status(Status::NotFound);
    };
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Answer::status(Status::InternalError);
    }
    let (mut fields, mut kind) = (String::new(), Cow::Borrowed(""));
    for (name, value) in &head.headers {
        let value = value.to_str().unwrap_or_default();
        match name.as_str() {
            "content-type" => kind = value.to_owned().into(),
            name => fields.push_str(&format!("{name}: {value}\r\n")),
        }
    }
    Answer::Text(Box::new(Text {
        status: Status::Ok,
        fields,
        kind,
        body,
        pass: None,
        is_own: true,
    }))
}
