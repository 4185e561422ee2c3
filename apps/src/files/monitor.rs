//! The dashboard of the server, for users who have logged in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dapple::{Handle, Recorder, clock};
use dapple_io::dashboard::Dashboard;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::common::https::body::Body;
use crate::common::https::connections::Connections;
use crate::common::monitor::{self, Below};

/// The dashboard and its figures. See the module.
pub(super) struct Monitor {
    dashboard: Dashboard,
    requests: Recorder,
    responses: Arc<[AtomicU64; 6]>,
    handle: Handle,
}

impl Monitor {
    pub(super) fn new(handle: &Handle, connections: &Arc<Connections>) -> Monitor {
        let responses: Arc<[AtomicU64; 6]> = Arc::default();
        let dashboard = Dashboard::builder(handle).title("dapple files");
        let dashboard = monitor::count_responses(dashboard, |class| {
            let responses = Arc::clone(&responses);
            move || responses[class].load(Ordering::Relaxed)
        });
        let open = Arc::clone(connections);
        let dashboard = dashboard.gauge("Connections open", move || open.count() as u64).build();
        let requests = handle.histogram("files_request");
        Monitor { dashboard, requests, responses, handle: handle.clone() }
    }

    /// Counts a response, and the time from the request's arrival `came` until now.
    pub(super) fn answered(&self, status: StatusCode, came: Instant) {
        self.responses[usize::from(status.as_u16() / 100)].fetch_add(1, Ordering::Relaxed);
        self.requests.record(clock::now() - came);
    }

    /// Answers a request for the dashboard. Returns `None` for any other request.
    pub(super) async fn answer(&self, head: &Parts) -> Option<Response<Body>> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return None;
        }
        let (below, query) = monitor::below(head.uri.path_and_query()?.as_str())?;
        if !below.is_of_dashboard() {
            return None; // the shared folder may have a file of that name
        }
        let Below::Name(name) = below else {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            let to = HeaderValue::from_static(monitor::PATH);
            response.headers_mut().insert(header::LOCATION, to);
            return Some(response);
        };
        let (name, query) = (name.to_owned(), query.map(str::to_owned));
        let dashboard = self.dashboard.clone();
        let made = self.handle.offload(move || dashboard.get(&name, query.as_deref())).await;
        made.ok()?.map(|response| response.map(|body| Body::text(body.into_owned())))
    }
}
