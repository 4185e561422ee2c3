//! An axum application on dapple: HTTP/1.1 and HTTP/2 on one port, without another runtime.
//!
//! `cargo run --release -p dapple-io --example axum -- 127.0.0.1:8080`, and then `curl
//! http://127.0.0.1:8080/hello?name=world`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use dapple::{Domain, Handle};
use dapple_io::Io;
use dapple_io::hyper::{OnColors, Timers};
use dapple_io::tcp::{Accepting, AsyncStream};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;

/// A key-value store that all requests share. Reads run in parallel with each other, and with the
/// write that follows them.
#[derive(Clone)]
struct Store {
    entries: Domain<Arc<std::collections::BTreeMap<String, String>>>,
    handle: Handle,
}

#[derive(serde::Deserialize)]
struct Hello {
    name: Option<String>,
}

async fn hello(Query(hello): Query<Hello>) -> String {
    format!("hello, {}\n", hello.name.as_deref().unwrap_or("stranger"))
}

async fn read(State(store): State<Store>, Path(key): Path<String>) -> Result<String, StatusCode> {
    let value = store.entries.spawn_anon(move |n| async move {
        let a = n.anon().await?;
        let value = a.state().get(&key).cloned();
        a.commit().await?;
        Ok::<_, dapple::JoinError>(value)
    });
    let value =
        value.await.and_then(|value| value).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    value.ok_or(StatusCode::NOT_FOUND)
}

async fn write(State(store): State<Store>, Path(key): Path<String>, value: String) -> StatusCode {
    let written = store.entries.spawn(move |n| async move {
        let section = n.global(move |g| Arc::make_mut(g.state_mut()).insert(key, value).is_some());
        let (existed, a) = section.await?;
        a.commit().await?;
        Ok::<_, dapple::JoinError>(existed)
    });
    match written.await.and_then(|existed| existed) {
        Ok(true) => StatusCode::NO_CONTENT,
        Ok(false) => StatusCode::CREATED,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Computes a sum on the blocking pool, so that the colors of connections and streams stay free.
async fn sum(State(store): State<Store>, Path(n): Path<u64>) -> String {
    match store.handle.offload(move || (1..=n).fold(0, u64::wrapping_add)).await {
        Ok(sum) => format!("{sum}\n"),
        Err(error) => format!("{error}\n"),
    }
}

async fn slow(State(store): State<Store>) -> &'static str {
    store.handle.sleep(Duration::from_millis(100)).await;
    "after 100 ms\n"
}

async fn serve(stream: AsyncStream, app: Router, handle: Handle) {
    let mut builder = auto::Builder::new(OnColors::of(&handle));
    builder.http1().timer(Timers::of(&handle)).header_read_timeout(Duration::from_secs(10));
    builder.http2().timer(Timers::of(&handle)).keep_alive_interval(Duration::from_secs(20));
    let peer = stream.peer_addr();
    let served = builder.serve_connection(stream, TowerToHyperService::new(app)).await;
    if let Err(error) = served {
        eprintln!("{peer}: {error}");
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let address = address.parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let rt = dapple_io::runtime().build()?;
    let handle = rt.handle();
    let store =
        Store { entries: Domain::snapshot(&handle, Arc::default()), handle: handle.clone() };
    let app = Router::new()
        .route("/hello", get(hello))
        .route("/entries/{key}", get(read).put(write))
        .route("/sum/{n}", post(sum))
        .route("/slow", get(slow))
        .with_state(store);
    let listener = Io::of(&handle).listen(address, Accepting::PerWorker, move |stream, cx| {
        let (app, handle, color) = (app.clone(), handle.clone(), cx.new_color());
        match stream.into_async() {
            Ok(stream) => cx.spawn(&color, serve(stream, app, handle)).detach(),
            Err(error) => eprintln!("cannot serve a connection: {error}"),
        }
    })?;
    println!("listening on http://{}", listener.local_addr());
    loop {
        std::thread::park();
    }
}
