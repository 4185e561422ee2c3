//! The contents of a zip of a folder.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::common::date;
use crate::common::gate::Pass;
use crate::common::zip::{Tree, ZipMember};
use crate::files::path::DavPath;
use crate::files::share::walk::{Depth, Walk};
use crate::files::share::{Found, How, Share, is_missing};

/// A walk through a folder, whose members are put into a zip.
pub(super) struct Walked {
    share: Arc<Share>,
    folder: DavPath,
    walk: Walk,
    _pass: Pass,
}

impl Walked {
    pub(super) fn begin(share: Arc<Share>, folder: &DavPath, pass: Pass) -> io::Result<Walked> {
        let walk = share.walk(folder, Depth::All)?;
        Ok(Walked { share, folder: folder.clone(), walk, _pass: pass })
    }

    fn entry(&self, path: &DavPath, found: &Found) -> ZipMember {
        let below = path.as_bytes().strip_prefix(self.folder.as_bytes());
        let below = below.unwrap_or(path.as_bytes());
        ZipMember {
            path: below.strip_prefix(b"/").unwrap_or(below).to_vec(),
            is_folder: found.is_folder(),
            is_executable: found.is_executable(),
            size: found.version.size,
            modified: date::seconds(found.version.modified_time()),
        }
    }
}

impl Tree for Walked {
    fn next(&mut self) -> io::Result<Option<ZipMember>> {
        let next = self.walk.next(&self.share);
        Ok(next.map(|(path, found)| self.entry(&path, &found)))
    }

    fn open(&mut self, path: &[u8]) -> io::Result<Option<(File, ZipMember)>> {
        let path =
            path.split(|byte| *byte == b'/').fold(self.folder.clone(), |at, name| at.join(name));
        match self.share.open_file(&path, How::Blocking) {
            Ok((file, found)) if !found.is_folder() => Ok(Some((file, self.entry(&path, &found)))),
            Ok(_) => Ok(None),
            Err(error) if is_missing(&error) || error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::debug!(?path, %error, "a file was left out of a zip");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
