//! What all connections share: the settings, and who answers.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dapple::Handle;
use dapple_io::tcp::ConnOptions;

use super::answer::{Answer, AnswerOptions, Answers};
use super::figures::{self, Figures};
use super::http::head::Status;
use super::http::request::{MOST_HEAD, Method, Request};
use super::log::Log;
use super::pages::{How, PageOptions, Pages, Site, Waits};
use crate::common::https::connections::Connections;
use crate::common::login::Login;
use crate::common::per_address::PerAddress;
use crate::common::target;

/// What the command line says.
pub(super) struct Settings {
    pub(super) options: ConnOptions,
    pub(super) serial: bool,
    pub(super) figures_for: FiguresFor,
    pub(super) max_connections: u64,
    /// From one address; `None`: as many as there may be at all.
    pub(super) max_per_address: Option<usize>,
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
    pub(super) handle: Handle,
    pub(super) answers: Answers,
    pub(super) figures: Figures,
    pub(super) settings: Settings,
    /// The connections over TLS, if it is spoken.
    pub(super) secure: OnceLock<Arc<Connections>>,
    pub(super) log: Option<Arc<Log>>,
    /// Who may ask; `None`: everybody.
    pub(super) login: Option<Arc<Login>>,
    pub(super) open: AtomicU64,
    pub(super) per_address: Option<Arc<PerAddress>>,
    /// The program is about to end.
    pub(super) draining: AtomicBool,
}

impl Server {
    pub(super) fn new(
        handle: &Handle,
        site: Site,
        (paging, answering): (PageOptions, AnswerOptions),
        settings: Settings,
    ) -> Self {
        let only = settings.serial.then(|| handle.default_color());
        let options = ConnOptions { max_input: 2 * MOST_HEAD, ..settings.options };
        Server {
            answers: Answers::new(
                Pages::new(site, handle, only.as_ref(), paging),
                handle,
                answering,
            ),
            figures: Figures::new(handle.workers()),
            handle: handle.clone(),
            settings: Settings { options, ..settings },
            secure: OnceLock::new(),
            log: None,
            login: None,
            open: AtomicU64::new(0),
            per_address: settings.max_per_address.map(PerAddress::new),
            draining: AtomicBool::new(false),
        }
    }

    pub(super) fn open_connections(&self) -> u64 {
        let secure = self.secure.get().map_or(0, |secure| secure.count() as u64);
        self.open.load(Ordering::Acquire) + secure
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.handle
    }

    /// Answers a request of this peer.
    pub(super) fn answer(
        &self,
        request: &Request<'_>,
        peer: Option<IpAddr>,
        how: How,
    ) -> Result<Answer, Waits> {
        if !self.is_for_figures(request) {
            return self.answers.answer(request, how);
        }
        Ok(match self.shows_figures(request, peer) {
            true => figures::answer(&self.figures, self),
            false => Answer::status(Status::Forbidden),
        })
    }

    fn is_for_figures(&self, request: &Request<'_>) -> bool {
        self.settings.figures_for != FiguresFor::Nobody
            && matches!(request.method, Method::Get | Method::Head)
            && target::split(request.target).is_some_and(|(path, _)| path == figures::PATH)
    }

    /// Says whether the figures are for this peer.
    fn shows_figures(&self, request: &Request<'_>, peer: Option<IpAddr>) -> bool {
        match self.settings.figures_for {
            FiguresFor::Nobody => false,
            FiguresFor::Loopback => {
                // Not over IP: it is on this machine.
                !request.is_forwarded && peer.is_none_or(|peer| peer.to_canonical().is_loopback())
            }
            FiguresFor::Everybody => true,
        }
    }
}
