//! The file that SAVE writes, and that the next start reads.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::resp::{Request, request};
use super::store::Store;

/// What the stores held when it was made, as the requests that make stores such as these.
pub struct Snapshot {
    number: u64,
    bytes: Vec<u8>,
}

impl Snapshot {
    pub fn of<'a>(stores: impl IntoIterator<Item = &'a Store>) -> Self {
        static SNAPSHOTS: AtomicU64 = AtomicU64::new(1);
        // Whoever makes it has the stores, so a later state has a higher number.
        let number = SNAPSHOTS.fetch_add(1, Relaxed);
        Snapshot { number, bytes: stores.into_iter().flat_map(Store::to_bytes).collect() }
    }
}

pub struct Saves {
    path: PathBuf,
    /// The number of the snapshot that the file holds.
    written: Mutex<u64>,
}

impl Saves {
    pub fn new(path: &Path) -> Self {
        Saves { path: path.to_owned(), written: Mutex::new(0) }
    }

    /// The requests of the file; none if there is no file yet.
    pub fn load(&self) -> io::Result<Vec<Request>> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            bytes => bytes?,
        };
        let (mut requests, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let (one, taken) = request(&bytes[at..]).ok_or_else(|| {
                let why = format!("{}: damaged from byte {at} on", self.path.display());
                io::Error::new(ErrorKind::InvalidData, why)
            })?;
            requests.push(one);
            at += taken;
        }
        Ok(requests)
    }

    /// Writes the file as a whole, or not at all, and makes the reply. Several threads may save:
    /// one does at a time, and an older snapshot never replaces a newer one.
    pub fn save(&self, snapshot: &Snapshot) -> Vec<u8> {
        let mut written = self.written.lock().expect("nothing panics while it is locked");
        if *written < snapshot.number {
            if let Err(error) = self.write(&snapshot.bytes) {
                return format!("-ERR {error}\r\n").into_bytes();
            }
            *written = snapshot.number;
        }
        b"+OK\r\n".to_vec()
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let mut new = File::create(&name)?;
        new.write_all(bytes)?;
        new.sync_all()?;
        fs::rename(&name, &self.path)?;
        // The new name is on the disk when the folder is.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}
