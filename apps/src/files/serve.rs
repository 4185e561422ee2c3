//! The service of `dapple files`: the login, and the answers to requests.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use dapple::{Handle, clock};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Version, header};
use hyper::body::Incoming;

use super::dav::Dav;
use super::dav::problem::Problem;
use super::monitor::Monitor;
use crate::common::https::body::Body;
use crate::common::https::request_body::{MOST_LEFT, RequestBody};
use crate::common::https::{Service, Streams, head as heads};
use crate::common::login::{Login, Refused, Visitor};

/// The state that all connections share.
pub(super) struct Server {
    pub(super) handle: Handle,
    pub(super) login: Arc<Login>,
    pub(super) dav: Dav,
    /// The dashboard, or `None` if it is off.
    pub(super) monitor: Option<Monitor>,
}

impl Service for Server {
    type Visitor = Visitor;

    // Some requests change files on the worker, and can block there.
    const STREAMS: Streams = Streams::OnColors;

    fn visitor(&self, peer: SocketAddr) -> Visitor {
        Visitor::new(&self.login, peer.ip())
    }

    fn answer(
        self: &Arc<Self>,
        head: Arc<Parts>,
        body: Incoming,
        visitor: &Visitor,
    ) -> impl Future<Output = Response<Body>> + Send {
        let monitored = self.monitor.as_ref().map(|monitor| (monitor, clock::now()));
        async move {
            let response = self.answer_as(head, body, visitor).await;
            if let Some((monitor, came)) = monitored {
                monitor.answered(response.status(), came);
            }
            response
        }
    }
}

impl Server {
    async fn answer_as(
        &self,
        head: Arc<Parts>,
        body: Incoming,
        visitor: &Visitor,
    ) -> Response<Body> {
        if let Err(status) = heads::check(&head) {
            return unusable(status, head.version);
        }
        let field = head.headers.get(header::AUTHORIZATION);
        match visitor.check(field).await {
            Ok(user) => {
                if let Some(monitor) = &self.monitor
                    && let Some(response) = monitor.answer(&head).await
                {
                    RequestBody::new(body, &head.headers, &self.handle).discard(MOST_LEFT);
                    return response;
                }
                self.dav.answer(head, body, &user).await
            }
            Err(refused) => {
                RequestBody::new(body, &head.headers, &self.handle).discard(MOST_LEFT);
                refuse(refused)
            }
        }
    }
}

/// Answers a request whose end is not certain. HTTP/1 connections are closed, because what follows
/// it cannot be trusted.
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
