//! The state that all connections share: the settings, and the parts that answer requests.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dapple::Handle;
use dapple_io::tcp::ConnOptions;

use super::answer::{Answer, AnswerOptions, Answers};
use super::figures::Figures;
use super::http::request::{MOST_HEAD, Request};
use super::log::Log;
use super::monitor::{FiguresFor, Monitor};
use super::pages::{Content, How, PageOptions, Pages, Waits};
use crate::common::https::connections::Connections;
use crate::common::login::Login;
use crate::common::per_address::PerAddress;

/// The settings of connections on the command line.
pub(super) struct Settings {
    pub(super) options: ConnOptions,
    pub(super) serial: bool,
    pub(super) figures_for: FiguresFor,
    /// Whether the server has a dashboard.
    pub(super) dashboard: bool,
    pub(super) max_connections: u64,
    /// The most connections from one address, or `None` if only the total is limited.
    pub(super) max_per_address: Option<usize>,
}

/// The state that all connections share.
pub(super) struct Server {
    pub(super) handle: Handle,
    pub(super) answers: Answers,
    pub(super) figures: Arc<Figures>,
    pub(super) monitor: Monitor,
    pub(super) settings: Settings,
    /// The connections over TLS, if the server uses it.
    pub(super) secure: OnceLock<Arc<Connections>>,
    pub(super) log: Option<Arc<Log>>,
    /// The users who may log in, or `None` if no login is required.
    pub(super) login: Option<Arc<Login>>,
    pub(super) open: AtomicU64,
    pub(super) per_address: Option<Arc<PerAddress>>,
    /// Whether the server is about to end.
    pub(super) draining: AtomicBool,
    /// Whether the server has been restarted, and the new process accepts connections.
    pub(super) has_successor: AtomicBool,
}

impl Server {
    pub(super) fn new(
        handle: &Handle,
        site: Content,
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
            figures: Arc::new(Figures::new(handle.workers())),
            monitor: Monitor::new(handle, &settings),
            handle: handle.clone(),
            settings: Settings { options, ..settings },
            secure: OnceLock::new(),
            log: None,
            login: None,
            open: AtomicU64::new(0),
            per_address: settings.max_per_address.map(PerAddress::new),
            draining: AtomicBool::new(false),
            has_successor: AtomicBool::new(false),
        }
    }

    pub(super) fn open_connections(&self) -> u64 {
        let secure = self.secure.get().map_or(0, |secure| secure.count() as u64);
        self.open.load(Ordering::Acquire) + secure
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.handle
    }

    /// Answers a request from this peer.
    pub(super) fn answer(
        &self,
        request: &Request<'_>,
        peer: Option<IpAddr>,
        how: How,
    ) -> Result<Answer, Waits> {
        match self.monitor.answer(self, request, peer, how) {
            Some(answer) => answer,
            None => self.answers.answer(request, how),
        }
    }
}
