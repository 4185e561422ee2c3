//! MKCOL, DELETE, COPY and MOVE.

use std::io;

use http::StatusCode;
use hyper::body::{Body as _, Incoming};

use super::call::{Call, DepthField};
use super::problem::{Outcome, Problem};
use super::{Dav, empty};
use crate::files::meta::claims::Area;
use crate::files::meta::locks::{Change, Locks};
use crate::files::meta::store::Intent;
use crate::files::path::DavPath;
use crate::files::share::change::Trash;
use crate::files::share::{Found, Kind, Share};

/// What a change of the tree leaves to be done.
struct Changed {
    replaced: bool,
    trash: Trash,
    /// The store has changed, too.
    properties: bool,
}

impl Dav {
    pub(super) async fn mkcol(&self, call: Call, body: &mut Incoming) -> Outcome {
        if !body.is_end_stream() && self.next_bytes(body).await?.is_some() {
            return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE.into());
        }
        let areas = vec![Area::one(&call.path)];
        let make = move |dav: &Dav, locks: &std::sync::Arc<Locks>| {
            let found = dav.share.look_for(&call.path)?;
            if found.is_some() {
                return Err(StatusCode::METHOD_NOT_ALLOWED.into());
            }
            check_parent(&dav.share, &call.path)?;
            call.check(&dav.share, locks, None, &[Change::Existence(call.path.clone())])?;
            let properties = dav.meta.store().view()?.has_within(&call.path)?;
            if properties {
                dav.meta.store().forget(&call.path)?;
            }
            dav.share.make_folder(&call.path)?;
            Ok(properties)
        };
        self.change(areas, make, |dav, properties| async move {
            if properties {
                dav.meta.changed().await?;
            }
            Ok(empty(StatusCode::CREATED))
        })
        .await
    }

    pub(super) async fn delete(&self, call: Call) -> Outcome {
        if call.path.is_root() {
            return Err(StatusCode::FORBIDDEN.into());
        }
        if !matches!(call.depth()?, None | Some(DepthField::Infinity)) {
            return Err(StatusCode::BAD_REQUEST.into());
        }
        let path = call.path.clone();
        let delete = move |dav: &Dav, locks: &std::sync::Arc<Locks>| {
            let found = shown(&dav.share, &call.path)?;
            call.check(&dav.share, locks, Some(&found), &[Change::Existence(call.path.clone())])?;
            let properties = dav.meta.store().view()?.has_within(&call.path)?;
            let intent = Intent::Delete { path: call.path.clone(), inode: found.inode };
            let trash = dav.with_intent(properties.then_some(intent), || {
                dav.share.delete(&call.path, &found)
            })?;
            Ok(Changed { replaced: true, trash, properties })
        };
        self.change(vec![Area::all(&path)], delete, |dav, changed| async move {
            dav.settle(changed, move |locks| locks.remove_within(&path)).await
        })
        .await
    }

    /// COPY and MOVE.
    pub(super) async fn transfer(&self, call: Call) -> Outcome {
        let to = call.destination()?;
        let (is_move, depth, overwrite) =
            (call.method.as_str() == "MOVE", call.depth()?, call.overwrites()?);
        if to.is_private() {
            return Err(StatusCode::FORBIDDEN.into());
        }
        // One in the other cannot be, nor both the same.
        if to.is_within(&call.path) || call.path.is_within(&to) {
            return Err(StatusCode::FORBIDDEN.into());
        }
        let deep = match depth {
            None | Some(DepthField::Infinity) => true,
            Some(DepthField::Zero) if !is_move => false,
            _ => return Err(StatusCode::BAD_REQUEST.into()),
        };
        let (from, target) = (call.path.clone(), to.clone());
        let areas = vec![Area::all(&from), Area::all(&to)];
        let transfer = move |dav: &Dav, locks: &std::sync::Arc<Locks>| {
            let found = shown(&dav.share, &call.path)?;
            let replaced = dav.share.look_for(&to)?;
            if replaced.is_some_and(|old| old.kind == Kind::Hidden) {
                return Err(StatusCode::FORBIDDEN.into());
            }
            check_parent(&dav.share, &to)?;
            let comes = match replaced {
                // Who copies onto a file changes its contents.
                Some(old) if !is_move && !old.is_folder() && !found.is_folder() => {
                    Change::Contents(to.clone())
                }
                _ => Change::Existence(to.clone()),
            };
            let mut changes = vec![comes];
            if is_move {
                changes.push(Change::Existence(call.path.clone()));
            }
            if replaced.is_some() && !overwrite {
                return Err(StatusCode::PRECONDITION_FAILED.into());
            }
            call.check(&dav.share, locks, Some(&found), &changes)?;
            if is_move {
                dav.move_to(&call.path, &to, &found, replaced.as_ref())
            } else {
                dav.copy_to(&call.path, &to, replaced.as_ref(), deep)
            }
        };
        self.change(areas, transfer, move |dav, changed| async move {
            dav.settle(changed, move |locks| {
                if is_move {
                    // A lock does not move with what it was on, and goes with what was replaced.
                    locks.remove_within(&from);
                    locks.remove_within(&target);
                } else {
                    locks.remove_below(&target);
                }
            })
            .await
        })
        .await
    }

    fn copy_to(
        &self,
        from: &DavPath,
        to: &DavPath,
        replaced: Option<&Found>,
        deep: bool,
    ) -> Result<Changed, Problem> {
        let copied = self.share.copy(from, to, deep)?;
        let properties = self.have_properties(from, to)?;
        let intent =
            Intent::Copy { from: from.clone(), to: to.clone(), inode: copied.inode(), deep };
        let trash = self.with_intent(properties.then_some(intent), || {
            self.share.place_copy(copied, to, replaced)
        })?;
        Ok(Changed { replaced: replaced.is_some(), trash, properties })
    }

    fn move_to(
        &self,
        from: &DavPath,
        to: &DavPath,
        found: &Found,
        replaced: Option<&Found>,
    ) -> Result<Changed, Problem> {
        let properties = self.have_properties(from, to)?;
        // Two steps, of which the second is to follow whatever happens: they change places, and what was replaced goes.
        let two_steps = replaced.is_some_and(|old| old.is_folder() || found.is_folder());
        let mut intent = Intent::Move {
            from: from.clone(),
            to: to.clone(),
            inode: found.inode,
            replaced: replaced.filter(|_| two_steps).map(|old| old.inode),
        };
        let renamed = self.with_intent((properties || two_steps).then(|| intent.clone()), || {
            self.share.rename(from, to, replaced, found)
        });
        let trash = match renamed {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let copied = self.share.copy(from, to, true)?;
                if let Intent::Move { inode, replaced, .. } = &mut intent {
                    (*inode, *replaced) = (copied.inode(), None);
                }
                self.with_intent(properties.then_some(intent), || {
                    let trash = self.share.place_copy(copied, to, replaced)?;
                    self.share.delete(from, found)?.remove()?;
                    Ok(trash)
                })?
            }
            renamed => renamed?,
        };
        Ok(Changed { replaced: replaced.is_some(), trash, properties })
    }

    fn have_properties(&self, from: &DavPath, to: &DavPath) -> Result<bool, Problem> {
        let view = self.meta.store().view()?;
        Ok(view.has_within(from)? || view.has_within(to)?)
    }

    /// Changes the folder; an intent is written down first, and afterwards the properties follow.
    fn with_intent<T>(
        &self,
        intent: Option<Intent>,
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(intent) = intent else { return change() };
        let failed = |error: super::super::meta::store::StoreError| match error {
            super::super::meta::store::StoreError::Full => io::ErrorKind::StorageFull.into(),
            error => io::Error::other(error.to_string()),
        };
        let number = self.meta.store().intend(&intent).map_err(failed)?;
        let outcome = change();
        self.meta.store().settle(number, &intent, outcome.is_ok()).map_err(failed)?;
        outcome
    }

    /// Has the outcome of a change in the domain, and answers. What it left is taken apart after that.
    async fn settle(
        &self,
        changed: Changed,
        change: impl FnOnce(&mut Locks) + Send + 'static,
    ) -> Outcome {
        self.meta.change(move |state| change(state.locks_mut())).await?;
        if changed.properties {
            self.meta.changed().await?;
        }
        let trash = changed.trash;
        self.handle
            .offload(move || {
                if let Err(error) = trash.remove() {
                    tracing::warn!(%error, "what was deleted takes room until the next start");
                }
            })
            .detach();
        let status = if changed.replaced { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
        Ok(empty(status))
    }
}

/// What is at a path, if it is shown.
pub(super) fn shown(share: &Share, path: &DavPath) -> Result<Found, Problem> {
    let found = share.look(path)?;
    match found.kind {
        Kind::Hidden => Err(StatusCode::NOT_FOUND.into()),
        _ => Ok(found),
    }
}

/// Something can be made at a path only if the folder is there.
pub(super) fn check_parent(share: &Share, path: &DavPath) -> Result<(), Problem> {
    let Some(parent) = path.parent() else { return Err(StatusCode::FORBIDDEN.into()) };
    match share.look_for(&parent)? {
        Some(found) if found.is_folder() => Ok(()),
        _ => Err(StatusCode::CONFLICT.into()),
    }
}
