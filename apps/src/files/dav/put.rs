//! PUT: stores a whole file.
//!
//! The file is written where no client sees it, and takes its place when all of it is on the disk.
//! So a client that goes away, or a server that is killed, leaves the old file in place.
//!
//! While one piece is written on the blocking pool, the next one is received. When that one is
//! full, too, nothing more is read from the client.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use dapple::{Handle, JoinHandle};
use http::{HeaderValue, StatusCode};

use super::call::Call;
use super::problem::{Outcome, Problem};
use super::{Dav, Effort, empty, value};
use crate::common::date;
use crate::common::https::request_body::RequestBody;
use crate::files::meta::claims::Area;
use crate::files::meta::locks::{Change, Locks};
use crate::files::share::checksum::Checksum;
use crate::files::share::upload::Upload;
use crate::files::share::{Found, Kind, Location, Share, is_missing};

/// The approximate number of bytes that are written at once.
const PIECE: usize = 512 * 1024;

/// The size in bytes below which received pieces are copied together, because each may keep alive a
/// much larger buffer.
const LITTLE: usize = 32 * 1024;

/// A body that has been received.
enum Received {
    /// A whole small body, which is written when the change runs.
    Small(Gathered),
    /// A large body, which has been written to an unfinished file.
    Large(UploadGuard),
}

/// Bytes that have been received and are to be written.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    size: usize,
    /// The copy of the last small pieces, which still grows.
    little: BytesMut,
}

impl Gathered {
    fn push(&mut self, bytes: Bytes) {
        self.size += bytes.len();
        if bytes.len() < LITTLE {
            self.little.extend_from_slice(&bytes);
        } else {
            self.end_little();
            self.pieces.push(bytes);
        }
    }

    fn end_little(&mut self) {
        if !self.little.is_empty() {
            self.pieces.push(self.little.split().freeze());
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.end_little();
        self.size = 0;
        std::mem::take(&mut self.pieces)
    }
}

/// An unfinished file. If it is dropped, it is removed on the blocking pool, because it may be
/// large.
struct UploadGuard {
    upload: Option<Upload>,
    handle: Handle,
}

impl UploadGuard {
    fn take(mut self) -> io::Result<Upload> {
        self.upload.take().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.handle.offload(move || drop(upload)).detach();
        }
    }
}

impl Dav {
    pub(super) async fn put(&self, call: Call, body: &mut RequestBody) -> Outcome {
        if call.path.is_root() || call.is_folder {
            return Err(Problem::Exists { is_folder: true });
        }
        if call.field("content-range")?.is_some() {
            let why = "a part of a file cannot be written";
            return Err(Problem::Told(StatusCode::BAD_REQUEST, why));
        }
        let (modified, checksum) = (modified(&call), checksum(&call)?);
        let pass = self.gates.uploads.enter(&call.client.user).await;
        let _pass = pass.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let announced = body.announced();
        let received = if announced.is_some_and(|len| len <= PIECE as u64) {
            let mut pieces = Gathered::default();
            while let Some(bytes) = body.next().await? {
                pieces.push(bytes);
            }
            Received::Small(pieces)
        } else {
            Received::Large(self.receive(&call, body, announced, checksum.clone()).await?)
        };
        let (path, user) = (call.path.clone(), Arc::clone(&call.client.user));
        let effort = match &received {
            Received::Small(pieces) if pieces.size <= LITTLE => Effort::Small(call.path.clone()),
            _ => Effort::Any,
        };
        self.change_with(
            effort,
            &user,
            vec![Area::one(&call.path)],
            move |dav, locks| {
                let (old, at) = look(&dav.share, &call, locks)?;
                let mut upload = match received {
                    Received::Large(kept) => kept.take()?,
                    Received::Small(mut pieces) => {
                        let mut upload = begin(&dav.share, &at)?;
                        upload.expect(checksum);
                        upload.write(&pieces.take())?;
                        upload
                    }
                };
                let is_dated = modified.is_some_and(|modified| upload.set_modified(modified));
                if !upload.is_as_expected()? {
                    let why = "the content does not match OC-Checksum";
                    return Err(Problem::Told(StatusCode::BAD_REQUEST, why));
                }
                let forgotten = old.is_none() && dav.meta.store().forget(&call.path);
                let new = dav.share.finish_upload(upload, &at, old.as_ref())?;
                Ok((old.is_some(), new, is_dated, forgotten))
            },
            move |dav, (replaced, new, is_dated, forgotten)| async move {
                if forgotten {
                    dav.meta.changed().await?;
                }
                let status = if replaced { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
                let mut response = empty(status);
                let headers = response.headers_mut();
                headers.insert("etag", value(&new.etag()));
                if is_dated {
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

    /// Receives a large body, and writes it at the same time.
    async fn receive(
        &self,
        call: &Call,
        body: &mut RequestBody,
        announced: Option<u64>,
        checksum: Option<Checksum>,
    ) -> Result<UploadGuard, Problem> {
        // The request is checked before the body is received, so that no client sends gigabytes in
        // vain. It is checked again, with effect, when the body has arrived.
        let locks = self.meta.read(|state| Arc::clone(&state.locks)).await?;
        let (dav, call) = (self.clone(), call.clone());
        let begin = move || {
            let (_, at) = look(&dav.share, &call, &locks)?;
            let mut upload = begin(&dav.share, &at)?;
            upload.expect(checksum);
            announced.map_or(Ok(()), |len| upload.reserve(len))?;
            Ok::<_, Problem>(UploadGuard { upload: Some(upload), handle: dav.handle.clone() })
        };
        let mut kept = self.handle.offload(begin).await??;
        let mut pieces = Gathered::default();
        let mut writing: Option<JoinHandle<io::Result<UploadGuard>>> = None;
        while let Some(bytes) = body.next().await? {
            pieces.push(bytes);
            if pieces.size < PIECE {
                continue;
            }
            if let Some(writing) = writing.take() {
                kept = writing.await??;
            }
            writing = Some(self.write(kept, pieces.take()));
            kept = UploadGuard { upload: None, handle: self.handle.clone() };
        }
        if let Some(writing) = writing {
            kept = writing.await??;
        }
        Ok(self.write(kept, pieces.take()).await??)
    }

    fn write(
        &self,
        mut kept: UploadGuard,
        pieces: Vec<Bytes>,
    ) -> JoinHandle<io::Result<UploadGuard>> {
        self.handle.offload(move || {
            if let Some(upload) = &mut kept.upload {
                upload.write(&pieces)?;
            }
            Ok(kept)
        })
    }
}

/// Returns the file that this request would replace, if there is one, and its location. Returns an
/// error if the request cannot put a file there.
fn look<'a>(
    share: &Share,
    call: &'a Call,
    locks: &Locks,
) -> Result<(Option<Found>, Location<'a>), Problem> {
    let at = match share.locate(&call.path) {
        Ok(at) => Some(at),
        Err(error) if is_missing(&error) => None,
        Err(error) => return Err(error.into()),
    };
    let found = at.as_ref().map_or(Ok(None), |at| share.look_in(at))?;
    match found.map(|found| found.kind) {
        Some(Kind::Folder) => return Err(Problem::Exists { is_folder: true }),
        Some(Kind::Hidden) => return Err(StatusCode::FORBIDDEN.into()),
        Some(Kind::File) | None => {}
    }
    let change = match found {
        Some(_) => Change::Contents(call.path.clone()),
        None => Change::Existence(call.path.clone()),
    };
    call.check(share, locks, found.as_ref(), &[change])?;
    Ok((found, at.ok_or(StatusCode::CONFLICT)?))
}

fn begin(share: &Share, at: &Location<'_>) -> Result<Upload, Problem> {
    share.begin_upload(at).map_err(|error| match is_missing(&error) {
        true => StatusCode::CONFLICT.into(),
        false => error.into(),
    })
}

/// Returns the file's time of modification from ownCloud's X-OC-Mtime field, in seconds since 1970.
/// The field is a hint, so a malformed one is ignored.
pub(super) fn modified(call: &Call) -> Option<SystemTime> {
    let field = call.field("x-oc-mtime").ok()??;
    field.split('.').next().unwrap_or_default().parse().ok().map(date::of_seconds)
}

/// Returns the checksum of the contents from ownCloud's OC-Checksum field. A checksum of an unknown
/// kind cannot be checked, and is ignored.
pub(super) fn checksum(call: &Call) -> Result<Option<Checksum>, Problem> {
    let field = call.field("oc-checksum")?.unwrap_or_default();
    let bad = |_| Problem::Told(StatusCode::BAD_REQUEST, "OC-Checksum is not well-formed");
    Checksum::parse(field).map_err(bad)
}
