//! `hyperfiles DIR ADDRESS`: a static file server on hyper and tokio, with which `dapple web` is
//! compared (`benches/scripts/web-versus.py`).
//!
//! The server reads the whole folder into memory when it starts, and never looks at the disk again.
//! Its cost is therefore a lower bound for any file server on hyper. It uses one thread.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;

type Files = HashMap<String, (Bytes, &'static str)>;

fn read(folder: &Path, below: &str, files: &mut Files) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read(&entry.path(), &path, files)?;
            continue;
        }
        let kind = match path.rsplit('.').next() {
            Some("html") => "text/html",
            Some("css") => "text/css",
            Some("js") => "text/javascript",
            _ => "application/octet-stream",
        };
        files.insert(path, (std::fs::read(entry.path())?.into(), kind));
    }
    Ok(())
}

fn answer(files: &Files, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let Some((bytes, kind)) = files.get(request.uri().path()) else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let mut response = Response::new(Full::new(bytes.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    // The same fields as the other servers send.
    let date = header::HeaderValue::from_static("Mon, 30 Nov 2026 12:00:00 GMT");
    headers.insert(header::LAST_MODIFIED, date);
    headers.insert(header::ETAG, header::HeaderValue::from_static("\"674b0f00-258\""));
    headers.insert(header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes"));
    response
}

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, address] = &args[..] else {
        eprintln!("hyperfiles: usage: hyperfiles DIR ADDRESS");
        std::process::exit(2);
    };
    let mut files = Files::new();
    read(Path::new(folder), "", &mut files)?;
    let files = Arc::new(files);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let files = Arc::clone(&files);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let response = answer(&files, &request);
                    async { Ok::<_, Infallible>(response) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}
