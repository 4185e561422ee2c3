//! A page that shows a runtime at work.
//!
//! It shows how busy each worker is, how long events wait and run, what they cost by posting site,
//! and which events and domains do not go on.
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
//! A program that serves HTTP itself can show the page at a path of its own, to those who may see
//! it: see [`Dashboard::get`].
//!
//! The figures are read once a second on the blocking pool, and kept for ten minutes, even while
//! nobody looks at the page. The events themselves pay nothing for it. The durations are those that
//! the runtime samples ([`dapple::Builder::histograms`]), and the program's own
//! ([`dapple::Handle::histogram`]), such as those of its requests.

// `history`: the last ten minutes. `data`: the history as JSON. `log`: the history as a file.
// `page/`: what runs in the browser. `listen`: the dashboard as a server of its own.

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

use self::data::{About, OwnName, Query};
use self::history::{History, Kind, SECONDS};

pub use self::listen::is_local_host;

/// The time between two readings.
const SECOND: Duration = Duration::from_secs(1);

/// The maximum number of domains that the page shows.
const MOST_DOMAINS: usize = 20;

/// The files of the page: name, media type, contents.
const FILES: [(&str, &str, &str); 3] = [
    ("", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("dashboard.css", "text/css; charset=utf-8", include_str!("page/dashboard.css")),
    ("dashboard.js", "text/javascript; charset=utf-8", include_str!("page/dashboard.js")),
];

/// The names of the files that are made for each request.
const DATA: &str = "data.json";
const LOG: &str = "histograms.hlog";

/// The content security policy of the page: what it may load, and that no other page may embed it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One of the program's own figures.
struct Own {
    group: String,
    name: String,
    kind: Kind,
    read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Own {
    fn name(&self) -> OwnName<'_> {
        OwnName { group: &self.group, name: &self.name, is_gauge: self.kind == Kind::Gauge }
    }
}

/// A builder of a [`Dashboard`].
///
/// [`Dashboard::builder`] has an example.
#[must_use = "call `build` to create the dashboard"]
pub struct DashboardBuilder {
    handle: Handle,
    title: String,
    own: Vec<Own>,
}

impl DashboardBuilder {
    /// Sets the title of the page. The default is `dapple`.
    pub fn title(mut self, title: &str) -> Self {
        self.title = title.to_owned();
        self
    }

    /// Adds a counter of the program's own, such as the number of responses with some status.
    ///
    /// A counter only grows. The page shows the counters of one group together, per second.
    /// `read` is called once in [`build`](Self::build), and then once a second on the blocking
    /// pool. See [`Dashboard::builder`] for an example.
    pub fn counter(
        self,
        group: &str,
        name: &str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.own(group, name, Kind::Counter, Box::new(read))
    }

    /// Adds a gauge: a figure of the program's own that is shown as it is.
    ///
    /// An example is the number of open connections. `read` is called once in
    /// [`build`](Self::build), and then once a second on the blocking pool.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// use dapple_io::dashboard::Dashboard;
    ///
    /// static OPEN: AtomicU64 = AtomicU64::new(0);
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let dashboard = Dashboard::builder(&rt.handle())
    ///     .gauge("Open connections", || OPEN.load(Relaxed))
    ///     .build();
    /// OPEN.fetch_add(1, Relaxed);      // a connection begins
    /// let data = dashboard.get("data.json", None).expect("it is a file of the page");
    /// assert!(data.body().contains("Open connections"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn gauge(self, name: &str, read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.own("", name, Kind::Gauge, Box::new(read))
    }

    fn own(
        mut self,
        group: &str,
        name: &str,
        kind: Kind,
        read: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Self {
        self.own.push(Own { group: group.to_owned(), name: name.to_owned(), kind, read });
        self
    }

    /// Creates the dashboard, which begins to record at once.
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

/// The dashboard of a runtime; see the [module](self).
///
/// Its history is kept as long as a clone of the dashboard, or a listener of
/// [`listen`](Self::listen), exists.
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
        let kinds: Vec<Kind> = self.own.iter().map(|own| own.kind).collect();
        self.history().add(metrics, own, &kinds);
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
    /// Creates a dashboard without figures of the program's own.
    #[track_caller]
    pub fn new(handle: &Handle) -> Dashboard {
        Dashboard::builder(handle).build()
    }

    /// Returns a builder of a dashboard.
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

    /// Answers a GET or HEAD request of a program that serves HTTP itself.
    ///
    /// `path` is what follows the path of the page, which ends with a slash. `query` is the query
    /// of the request. Returns `None` if there is nothing at `path`.
    ///
    /// The page is for those who run the program: it tells a stranger what the machine does, and
    /// where its weak points are. Ask for a password, or serve the page to this machine only. In
    /// the latter case, check that the `Host` of the request [is this machine](is_local_host).
    /// Otherwise a web page from elsewhere can read the figures through the browser of a user of
    /// this machine.
    ///
    /// An answer has up to ten minutes of figures, and may take some milliseconds to make. A
    /// callback that must return sooner can [`offload`](dapple::Handle::offload) it.
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
        let query = parse(query.unwrap_or_default());
        match path {
            DATA => Some(response("application/json", self.data(query).into())),
            LOG => Some(self.download(query)),
            _ => {
                let (_, kind, body) = FILES.iter().find(|(name, ..)| *name == path)?;
                Some(response(kind, Cow::Borrowed(body)))
            }
        }
    }

    /// Returns `true` if [`get`](Self::get) answers for this path.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_io::dashboard::Dashboard;
    /// assert!(Dashboard::has("") && Dashboard::has("data.json"));
    /// assert!(!Dashboard::has("index.html"));
    /// ```
    pub fn has(path: &str) -> bool {
        matches!(path, DATA | LOG) || FILES.iter().any(|(name, ..)| *name == path)
    }

    fn data(&self, query: Query) -> String {
        let Shared { handle, title, own, started, .. } = &*self.0.shared;
        let domains = handle.open_domains(MOST_DOMAINS);
        let history = self.0.shared.history();
        let about = About {
            title,
            own: own.iter().map(Own::name).collect(),
            domains,
            stalls: history.latest().latest_stalls(),
            started: *started,
            now: clock::wall(),
        };
        data::json(&history, query, &about)
    }

    fn download(&self, query: Query) -> Response<Cow<'static, str>> {
        let shared = &self.0.shared;
        let log = log::write(&shared.history(), query.last, query.until);
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

/// Parses a query. Parts that are not understood are ignored.
fn parse(query: &str) -> Query {
    let mut parsed = Query { after: 0, last: SECONDS, until: None };
    for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
        let Ok(value) = value.parse::<u64>() else { continue };
        match name {
            "after" => parsed.after = value,
            "last" => parsed.last = value.min(SECONDS as u64) as usize,
            "until" => parsed.until = Some(value),
            _ => {}
        }
    }
    parsed
}
