//! A page that shows a runtime at work: how busy each worker is, how long events wait and run, what
//! they cost by the place that posts them, and what stands still.
//!
//! ```
//! use dapple_io::dashboard::Dashboard;
//!
//! let rt = dapple_io::runtime().build()?;
//! let io = dapple_io::Io::of(&rt.handle());
//! let dashboard = Dashboard::new(&rt.handle());
//! let listener = dashboard.listen(&io, "127.0.0.1:0".parse().unwrap())?;
//! println!("The dashboard is at http://{}/", listener.local_addr());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A program that serves HTTP anyway shows it at a path of its own, to those who may see it: see
//! [`Dashboard::get`].
//!
//! The figures are read once a second on the blocking pool, and kept for ten minutes, also while
//! nobody looks. The events themselves pay nothing for it. Durations are those that the runtime
//! samples ([`dapple::Builder::histograms`]), and the program's own
//! ([`dapple::Handle::histogram`]), such as those of its requests.

// `history`: the last ten minutes. `data`: what of it is shown. `log`: it as a file. `page/`: what
// runs in the browser. `listen`: the dashboard as a server of its own.

mod data;
mod history;
mod listen;
mod log;

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use dapple::sync::{Arc, Mutex, PoisonError, Weak};
use dapple::{Handle, JoinHandle, clock};
use http::{HeaderValue, Response, StatusCode, header};

use self::data::{About, Asked, OwnName};
use self::history::{History, SECONDS};

pub use self::listen::is_local_host;

/// Time between two readings.
const SECOND: Duration = Duration::from_secs(1);

/// Domains that are shown.
const MOST_DOMAINS: usize = 20;

/// The files of the page: name, media type, contents.
const FILES: [(&str, &str, &str); 3] = [
    ("", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("dashboard.css", "text/css; charset=utf-8", include_str!("page/dashboard.css")),
    ("dashboard.js", "text/javascript; charset=utf-8", include_str!("page/dashboard.js")),
];

/// Names of what is made for each request.
const DATA: &str = "data.json";
const LOG: &str = "histograms.hlog";

/// What the page may load, and who may show it within theirs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A figure of the program's own.
struct Own {
    group: String,
    name: String,
    is_gauge: bool,
    read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Own {
    fn name(&self) -> OwnName<'_> {
        OwnName { group: &self.group, name: &self.name, is_gauge: self.is_gauge }
    }
}

/// Configures a [`Dashboard`].
#[must_use = "it is made by `build`"]
pub struct DashboardBuilder {
    handle: Handle,
    title: String,
    own: Vec<Own>,
}

impl DashboardBuilder {
    /// What is written above; `dapple` without.
    pub fn title(mut self, title: &str) -> Self {
        self.title = title.to_owned();
        self
    }

    /// A counter of the program's own, which only grows, such as that of its responses with a
    /// status. Counters of one group are shown together, by the second. `read` is called once a
    /// second on the blocking pool.
    pub fn counter(
        self,
        group: &str,
        name: &str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.own(group, name, false, Box::new(read))
    }

    /// A figure of the program's own that is shown as it is, such as how many connections are open.
    pub fn gauge(self, name: &str, read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.own("", name, true, Box::new(read))
    }

    fn own(
        mut self,
        group: &str,
        name: &str,
        is_gauge: bool,
        read: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Self {
        self.own.push(Own { group: group.to_owned(), name: name.to_owned(), is_gauge, read });
        self
    }

    /// Makes it. The record of what happens begins now.
    #[track_caller]
    pub fn build(self) -> Dashboard {
        let DashboardBuilder { handle, title, own } = self;
        let metrics = handle.metrics();
        let started = metrics.taken().checked_sub(metrics.uptime());
        let first = own.iter().map(|own| (own.read)()).collect();
        let shared = Arc::new(Shared {
            title,
            own,
            started: started.unwrap_or(SystemTime::UNIX_EPOCH),
            history: Mutex::new(History::new(metrics, first)),
            handle: handle.clone(),
        });
        let color = handle.color_builder().label("dashboard").build();
        let recording = handle.spawn(&color, record(Arc::downgrade(&shared), handle.clone()));
        Dashboard(Arc::new(Recorded { shared, recording }))
    }
}

impl fmt::Debug for DashboardBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DashboardBuilder").field("title", &self.title).finish_non_exhaustive()
    }
}

/// The dashboard of a runtime; see the [module](self). What it shows is kept as long as one of its
/// clones, or a listener of [`listen`](Self::listen).
#[derive(Clone)]
pub struct Dashboard(Arc<Recorded>);

struct Recorded {
    shared: Arc<Shared>,
    recording: JoinHandle<()>,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.recording.abort();
    }
}

struct Shared {
    handle: Handle,
    title: String,
    own: Vec<Own>,
    started: SystemTime,
    history: Mutex<History>,
}

impl Shared {
    fn read(&self) {
        let metrics = self.handle.metrics();
        let own = self.own.iter().map(|own| (own.read)()).collect();
        let is_gauge: Vec<bool> = self.own.iter().map(|own| own.is_gauge).collect();
        self.history().add(metrics, own, &is_gauge);
    }

    fn history(&self) -> impl std::ops::DerefMut<Target = History> + '_ {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the figures once a second.
async fn record(shared: Weak<Shared>, handle: Handle) {
    let mut due = clock::now();
    loop {
        due = clock::now().max(due + SECOND);
        handle.sleep_until(due).await;
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = handle.offload(move || shared.read()).await
            && error.is_cancelled()
        {
            return;
        }
    }
}

impl Dashboard {
    /// A dashboard without figures of the program's own.
    #[track_caller]
    pub fn new(handle: &Handle) -> Dashboard {
        Dashboard::builder(handle).build()
    }

    /// Configures a dashboard.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// use dapple_io::dashboard::Dashboard;
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let [good, bad] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    /// let reads = |counter: &Arc<AtomicU64>| {
    ///     let counter = Arc::clone(counter);
    ///     move || counter.load(Ordering::Relaxed)
    /// };
    /// let dashboard = Dashboard::builder(&rt.handle())
    ///     .title("A server")
    ///     .counter("Responses", "good", reads(&good))
    ///     .counter("Responses", "bad", reads(&bad))
    ///     .build();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn builder(handle: &Handle) -> DashboardBuilder {
        DashboardBuilder { handle: handle.clone(), title: "dapple".to_owned(), own: Vec::new() }
    }

    /// Answers a GET or HEAD of a program that serves HTTP: `path` is what follows the path of the
    /// page, which ends with a slash; `None`: there is nothing. `query` is that of the request.
    ///
    /// The page is for those who run the program: it tells a stranger what the machine does, and
    /// where its weak places are. Ask for a password, or serve it to this machine only; and then
    /// see that the `Host` of the request [is this machine](is_local_host), or a web page from
    /// elsewhere could read it through the browser of somebody who sits there.
    ///
    /// It writes up to ten minutes of figures, which may take some milliseconds: in a callback that
    /// is in a hurry, [`offload`](dapple::Handle::offload) it.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_io::dashboard::Dashboard;
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let dashboard = Dashboard::new(&rt.handle());
    /// let respond = |path: &str| match path.strip_prefix("/dashboard/") {
    ///     Some(rest) => dashboard.get(rest, None),
    ///     None => None,
    /// };
    /// let page = respond("/dashboard/").unwrap();
    /// assert!(page.body().starts_with("<!doctype html>"));
    /// let data = respond("/dashboard/data.json").unwrap();
    /// assert_eq!(data.headers()["content-type"], "application/json");
    /// assert!(respond("/dashboard/elsewhere").is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn get(&self, path: &str, query: Option<&str>) -> Option<Response<Cow<'static, str>>> {
        let asked = asked(query.unwrap_or_default());
        match path {
            DATA => Some(response("application/json", self.data(asked).into())),
            LOG => Some(self.download(asked)),
            _ => {
                let (_, kind, body) = FILES.iter().find(|(name, ..)| *name == path)?;
                Some(response(kind, Cow::Borrowed(body)))
            }
        }
    }

    /// Says whether [`get`](Self::get) answers for this path.
    pub fn has(path: &str) -> bool {
        matches!(path, DATA | LOG) || FILES.iter().any(|(name, ..)| *name == path)
    }

    fn data(&self, asked: Asked) -> String {
        let Shared { handle, title, own, started, .. } = &*self.0.shared;
        let metrics = handle.metrics();
        let about = About {
            title,
            own: own.iter().map(Own::name).collect(),
            domains: handle.open_domains(MOST_DOMAINS),
            stalls: metrics.latest_stalls(),
            started: *started,
            now: metrics.taken(),
        };
        data::json(&self.0.shared.history(), asked, &about)
    }

    fn download(&self, asked: Asked) -> Response<Cow<'static, str>> {
        let shared = &self.0.shared;
        let log = log::write(&shared.history(), asked.last, asked.until);
        let Ok(log) = log.map(|log| String::from_utf8_lossy(&log).into_owned()) else {
            let mut response = response("text/plain; charset=utf-8", "".into());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        };
        let mut response = response("text/plain; charset=utf-8", log.into());
        let name = HeaderValue::from_static("attachment; filename=\"dapple.hlog\"");
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
        response
    }
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dashboard").field("title", &self.0.shared.title).finish_non_exhaustive()
    }
}

fn response(kind: &'static str, body: Cow<'static, str>) -> Response<Cow<'static, str>> {
    let mut response = Response::new(body);
    let fields = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What a query asks for. What is not understood counts as not said.
fn asked(query: &str) -> Asked {
    let mut asked = Asked { after: 0, last: SECONDS, until: None };
    for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
        let Ok(value) = value.parse::<u64>() else { continue };
        match name {
            "after" => asked.after = value,
            "last" => asked.last = value.min(SECONDS as u64) as usize,
            "until" => asked.until = Some(value),
            _ => {}
        }
    }
    asked
}
