//! MKCOL, DELETE, COPY and MOVE.

use std::io;
use std::sync::Arc;

use http::StatusCode;

use super::call::{Call, DepthField};
use super::problem::{Outcome, Problem};
use super::{Dav, Effort, empty};
use crate::common::https::request_body::RequestBody;
use crate::files::meta::State;
use crate::files::meta::claims::Area;
use crate::files::meta::locks::{Change, Locks};
use crate::files::meta::store::{Intent, Leftover, StoreError};
use crate::files::path::DavPath;
use crate::files::share::copy::What;
use crate::files::share::remove::Trash;
use crate::files::share::{Found, Kind, Share};

/// The result of a change of the tree, and what remains to be done for it.
struct Changed {
    replaced: bool,
    /// The deleted data, which is still to be removed.
    trash: Trash,
    /// Whether the store has changed, too.
    properties: bool,
}

impl Dav {
    pub(super) async fn mkcol(&self, call: Call, body: &mut RequestBody) -> Outcome {
        if !body.is_empty() && body.next().await?.is_some() {
            return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE.into());
        }
        let (areas, user) = (vec![Area::one(&call.path)], Arc::clone(&call.client.user));
        let make = move |dav: &Dav, locks: &Arc<Locks>| {
            let found = dav.share.look_for(&call.path)?;
            if let Some(found) = found {
                return Err(Problem::Exists { is_folder: found.is_folder() });
            }
            check_parent(&dav.share, &call.path)?;
            call.check(&dav.share, locks, None, &[Change::Existence(call.path.clone())])?;
            let forgotten = dav.meta.store().forget(&call.path);
            dav.share.make_folder(&call.path)?;
            Ok(forgotten)
        };
        self.change(&user, areas, make, |dav, forgotten| async move {
            if forgotten {
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
        let is_whole = matches!(call.depth()?, None | Some(DepthField::Infinity));
        let (path, user) = (call.path.clone(), Arc::clone(&call.client.user));
        let delete = move |dav: &Dav, locks: &Arc<Locks>| {
            let found = shown(&dav.share, &call)?;
            // A file has nothing below it, so the depth does not matter.
            if found.is_folder() && !is_whole {
                return Err(StatusCode::BAD_REQUEST.into());
            }
            call.check(&dav.share, locks, Some(&found), &[Change::Existence(call.path.clone())])?;
            let intent = Intent::Delete { path: call.path.clone(), inode: found.inode };
            // Even if the store is full, the file is deleted, to make room. Its properties are
            // forgotten as soon as that can be written to the store.
            let store = dav.meta.store();
            let has_properties = store.has_within(&call.path);
            let number = match has_properties {
                Ok(false) => None,
                Ok(true) | Err(_) => store.intend(&intent).ok(),
            };
            let deleted = dav.share.delete(&call.path, &found);
            if !matches!(has_properties, Ok(false)) && number.is_none() && deleted.is_ok() {
                store.forget(&call.path);
            }
            let trash = dav.settled(number, &intent, deleted)?;
            Ok(Changed { replaced: true, trash, properties: !matches!(has_properties, Ok(false)) })
        };
        self.change(&user, vec![Area::all(&path)], delete, |dav, changed| async move {
            dav.conclude(changed, move |locks| locks.remove_within(&path)).await
        })
        .await
    }

    /// Answers COPY and MOVE.
    pub(super) async fn transfer(&self, call: Call) -> Outcome {
        let (to, to_folder) = call.destination()?;
        let (is_move, depth, overwrite) =
            (call.method().as_str() == "MOVE", call.depth()?, call.overwrites()?);
        if to.is_private() {
            return Err(StatusCode::FORBIDDEN.into());
        }
        // Nothing can be copied or moved onto itself, into itself, or onto a folder around it.
        if to.is_within(&call.path) || call.path.is_within(&to) {
            return Err(StatusCode::FORBIDDEN.into());
        }
        let deep = matches!(depth, None | Some(DepthField::Infinity));
        // A copy may leave out the members of a folder. A move cannot.
        let is_whole = deep || (depth == Some(DepthField::Zero) && !is_move);
        let (from, target, user) = (call.path.clone(), to.clone(), Arc::clone(&call.client.user));
        let areas = vec![Area::all(&from), Area::all(&to)];
        let transfer = move |dav: &Dav, locks: &Arc<Locks>| {
            let found = shown(&dav.share, &call)?;
            if found.is_folder() && !is_whole {
                return Err(StatusCode::BAD_REQUEST.into());
            }
            let replaced = dav.share.look_for(&to)?;
            // An existing folder may be replaced by a file, and its URL may have a slash.
            let names_folder = replaced.as_ref().is_some_and(Found::is_folder);
            if to_folder && !names_folder && !found.is_folder() {
                let why = "the name of a file does not end with a slash";
                return Err(Problem::Told(StatusCode::CONFLICT, why));
            }
            if replaced.is_some_and(|old| old.kind == Kind::Hidden) {
                return Err(StatusCode::FORBIDDEN.into());
            }
            check_parent(&dav.share, &to)?;
            let comes = match replaced {
                // A copy onto a file changes that file's contents.
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
        // Copying a large tree takes long, and occupies a thread of the blocking pool.
        let effort = if is_move { Effort::Any } else { self.large_effort() };
        self.change_with(effort, &user, areas, transfer, move |dav, changed| async move {
            dav.conclude(changed, move |locks| {
                if is_move {
                    // A lock does not move with its resource, and the locks of the replaced
                    // resource end.
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
        if let Some(replaced) = replaced {
            self.share.check_not_in(from, replaced)?;
        }
        let properties = self.has_properties(from)? || self.has_properties(to)?;
        let copied = self.share.copy(from, to, if deep { What::Shown } else { What::Itself })?;
        let intent =
            Intent::Copy { from: from.clone(), to: to.clone(), inode: copied.inode(), deep };
        let number = if properties { Some(self.meta.store().intend(&intent)?) } else { None };
        let placed = self.share.place_copy(copied, to, replaced);
        let trash = self.settled(number, &intent, placed)?;
        Ok(Changed { replaced: replaced.is_some(), trash, properties })
    }

    fn move_to(
        &self,
        from: &DavPath,
        to: &DavPath,
        found: &Found,
        replaced: Option<&Found>,
    ) -> Result<Changed, Problem> {
        let properties = self.has_properties(from)? || self.has_properties(to)?;
        // A replaced folder needs two steps: the resources change places, and then the replaced one
        // is removed. The second step has to follow even after a crash.
        let exchanged = replaced.filter(|old| old.is_folder() || found.is_folder());
        let intent = |inode, left: Option<&Found>| Intent::Move {
            from: from.clone(),
            to: to.clone(),
            inode,
            left: left.map(Leftover::of),
        };
        let intended = intent(found.inode, exchanged);
        let is_needed = properties || exchanged.is_some();
        let number = if is_needed { Some(self.meta.store().intend(&intended)?) } else { None };
        let renamed = self.share.rename(from, to, replaced, found);
        let trash = match self.settled(number, &intended, renamed) {
            Err(Problem::Failed(error)) if error.kind() == io::ErrorKind::CrossesDevices => {
                // Both paths are the same file, seen through two mounts, so there is nothing to
                // move.
                if replaced.is_some_and(|old| old.is_same_as(found)) {
                    return Err(StatusCode::FORBIDDEN.into());
                }
                let copied = self.share.copy(from, to, What::Everything)?;
                let intended = intent(copied.inode(), Some(found));
                let number = Some(self.meta.store().intend(&intended)?);
                let placed = self.share.place_copy(copied, to, replaced);
                let moved = placed.inspect(|_| {
                    // The move has happened. An error here only leaves a part of the source behind.
                    if let Err(error) = self.share.delete(from, found).and_then(Trash::remove) {
                        tracing::error!(%error, ?from, "the source of a move cannot be removed");
                    }
                });
                self.settled(number, &intended, moved)?
            }
            renamed => renamed?,
        };
        Ok(Changed { replaced: replaced.is_some(), trash, properties })
    }

    fn has_properties(&self, path: &DavPath) -> Result<bool, StoreError> {
        self.meta.store().has_within(path)
    }

    /// Makes the properties follow a change of the files, if it was made. If that cannot be written
    /// to the store now, it is written later.
    fn settled(
        &self,
        number: Option<u64>,
        intent: &Intent,
        outcome: io::Result<Trash>,
    ) -> Result<Trash, Problem> {
        if let Some(number) = number
            && let Err(error) = self.meta.store().settle(number, intent, outcome.is_ok())
        {
            tracing::error!("{error}");
        }
        Ok(outcome?)
    }

    /// Puts the outcome of a change into the domain, and returns the response. Afterwards the
    /// deleted data is removed.
    async fn conclude(
        &self,
        changed: Changed,
        change: impl FnOnce(&mut Locks) + Send + 'static,
    ) -> Outcome {
        let change = move |state: &mut State| {
            if !state.locks.is_empty() {
                change(state.locks_mut());
            }
        };
        self.meta.change(change).await?;
        if changed.properties {
            self.meta.changed().await?;
        }
        self.reaper.take(changed.trash, &self.handle);
        let status = if changed.replaced { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
        Ok(empty(status))
    }
}

/// Returns the resource at the path of a request, if it is shown to clients.
pub(super) fn shown(share: &Share, call: &Call) -> Result<Found, Problem> {
    let found = share.look(&call.path)?;
    call.check_kind(Some(&found))?;
    match found.kind {
        Kind::Hidden => Err(StatusCode::NOT_FOUND.into()),
        _ => Ok(found),
    }
}

/// Checks that the folder in which a resource is to be made exists.
pub(super) fn check_parent(share: &Share, path: &DavPath) -> Result<(), Problem> {
    let Some(parent) = path.parent() else { return Err(StatusCode::FORBIDDEN.into()) };
    match share.look_for(&parent)? {
        Some(found) if found.is_folder() => Ok(()),
        _ => Err(StatusCode::CONFLICT.into()),
    }
}
