//! PUT: a file, whole. It grows where nobody sees it, and takes its place when all of it is on the disk: a client who goes away, or a
//! server that is killed, leaves the old one.
//!
//! While a piece is written beside the workers the next one is received; when that is full, too, nothing more is read from the client.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dapple::JoinHandle;
use http::{HeaderValue, StatusCode};
use hyper::body::{Body as _, Incoming};

use super::call::Call;
use super::problem::{Outcome, Problem};
use super::{Dav, empty, value};
use crate::files::meta::claims::Area;
use crate::files::meta::locks::{Change, Locks};
use crate::files::path::DavPath;
use crate::files::share::upload::Upload;
use crate::files::share::{Found, Kind, Share};

/// Bytes that are written at once, about.
const PIECE: usize = 512 * 1024;

/// What has been received.
enum Received {
    /// All of it, and little: it is written where it is put to its place.
    Small(Vec<Bytes>),
    Large(Upload),
}

impl Dav {
    pub(super) async fn put(&self, call: Call, body: &mut Incoming) -> Outcome {
        if call.path.is_root() || call.is_folder {
            return Err(StatusCode::METHOD_NOT_ALLOWED.into());
        }
        if call.field("content-range")?.is_some() {
            let why = "a part of a file cannot be written";
            return Err(Problem::Told(StatusCode::BAD_REQUEST, why));
        }
        let modified = modified(&call)?;
        let announced = body.size_hint().exact();
        let is_small = announced.is_some_and(|len| len <= PIECE as u64);
        if !is_small {
            // Nobody is to send gigabytes for nothing. It is decided when they are there.
            let locks = self.meta.read(|state| Arc::clone(&state.locks)).await?;
            let (dav, call) = (self.clone(), call.clone());
            self.handle.offload(move || look(&dav.share, &call, &locks).map(drop)).await??;
        }
        let received = self.receive(&call.path, body, is_small, announced).await?;
        let path = call.path.clone();
        self.change(
            vec![Area::one(&call.path)],
            move |dav, locks| {
                let old = look(&dav.share, &call, locks)?;
                let upload = match received {
                    Received::Large(upload) => upload,
                    Received::Small(pieces) => {
                        let mut upload = begin(&dav.share, &call.path)?;
                        upload.write(&pieces)?;
                        upload
                    }
                };
                if let Some(modified) = modified {
                    upload.set_modified(modified)?;
                }
                let mut forgotten = false;
                if old.is_none() && dav.meta.store().view()?.has_within(&call.path)? {
                    // Of a file that vanished behind our back.
                    dav.meta.store().forget(&call.path)?;
                    forgotten = true;
                }
                let new = dav.share.finish_upload(upload, &call.path, old.as_ref())?;
                Ok((old.is_some(), new, forgotten))
            },
            move |dav, (replaced, new, forgotten)| async move {
                if forgotten {
                    dav.meta.changed().await?;
                }
                let status = if replaced { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
                let mut response = empty(status);
                let headers = response.headers_mut();
                headers.insert("etag", value(&new.etag()));
                if modified.is_some() {
                    headers.insert("x-oc-mtime", HeaderValue::from_static("accepted"));
                }
                if !replaced {
                    headers.insert("location", value(&path.href(false)));
                }
                Ok(response)
            },
        )
        .await
    }

    /// Receives the body, and writes it if it is large.
    async fn receive(
        &self,
        path: &DavPath,
        body: &mut Incoming,
        is_small: bool,
        announced: Option<u64>,
    ) -> Result<Received, Problem> {
        let (mut pieces, mut size) = (Vec::new(), 0);
        let mut writing: Option<JoinHandle<Result<Upload, Problem>>> = None;
        while let Some(bytes) = self.next_bytes(body).await? {
            size += bytes.len();
            pieces.push(bytes);
            if is_small || size < PIECE {
                continue;
            }
            let upload = match writing.take() {
                Some(writing) => Some(writing.await??),
                None => None,
            };
            let full = std::mem::take(&mut pieces);
            size = 0;
            let (share, path) = (Arc::clone(&self.share), path.clone());
            writing = Some(self.handle.offload(move || {
                let mut upload = match upload {
                    Some(upload) => upload,
                    None => {
                        let upload = begin(&share, &path)?;
                        announced.map_or(Ok(()), |len| upload.reserve(len))?;
                        upload
                    }
                };
                upload.write(&full)?;
                Ok(upload)
            }));
        }
        let Some(writing) = writing else { return Ok(Received::Small(pieces)) };
        let mut upload = writing.await??;
        let last = move || upload.write(&pieces).map(|()| upload);
        Ok(Received::Large(self.handle.offload(last).await??))
    }
}

/// What is there now, if it can be replaced by this request; or nothing, if something can be put there.
fn look(share: &Share, call: &Call, locks: &Locks) -> Result<Option<Found>, Problem> {
    let found = share.look_for(&call.path)?;
    match found.map(|found| found.kind) {
        Some(Kind::Folder) => return Err(StatusCode::METHOD_NOT_ALLOWED.into()),
        Some(Kind::Hidden) => return Err(StatusCode::FORBIDDEN.into()),
        Some(Kind::File) | None => {}
    }
    let change = match found {
        Some(_) => Change::Contents(call.path.clone()),
        None => Change::Existence(call.path.clone()),
    };
    call.check(share, locks, found.as_ref(), &[change])?;
    if found.is_none() {
        super::tree::check_parent(share, &call.path)?;
    }
    Ok(found)
}

fn begin(share: &Share, path: &DavPath) -> Result<Upload, Problem> {
    share.begin_upload(path).map_err(|error| match crate::files::share::is_missing(&error) {
        true => StatusCode::CONFLICT.into(),
        false => error.into(),
    })
}

/// When the file was modified, as clients say that know ownCloud's way to say so: in seconds since 1970.
fn modified(call: &Call) -> Result<Option<SystemTime>, Problem> {
    let Some(field) = call.field("x-oc-mtime")? else { return Ok(None) };
    let seconds = field.split('.').next().unwrap_or_default().parse();
    let bad = |_| Problem::Told(StatusCode::BAD_REQUEST, "X-OC-Mtime is a number of seconds");
    let seconds: u32 = seconds.map_err(bad)?;
    Ok(Some(UNIX_EPOCH + Duration::from_secs(seconds.into())))
}
