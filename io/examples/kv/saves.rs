//! The file that SAVE writes, and that the next start reads.
//!
//! One save runs at a time. Whoever asks meanwhile shares the next one, so that many who ask cost
//! no more than two copies of what is stored.
#![allow(dead_code, reason = "each step is a program of its own, and uses some of it")]

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::resp::{Request, array, request};
use super::store::Store;

/// The last request of a file that is whole.
const END: &[u8] = b"END";

/// Somebody who gets a reply.
pub type Then = Box<dyn FnOnce(Vec<u8>) + Send>;

/// What the stores held at one time, and who wants it saved.
pub struct Snapshot {
    bytes: Vec<u8>,
    asked: Vec<Then>,
}

pub struct Saves {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    runs: bool,
    asked: Vec<Then>,
}

impl Saves {
    pub fn new(path: &Path) -> Self {
        Saves { path: path.to_owned(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The requests of the file; none if there is no file yet.
    pub fn load(&self) -> io::Result<Vec<Request>> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let (mut requests, mut at) = (Vec::new(), 0);
        while let Some((one, taken)) = request(&bytes[at..]) {
            at += taken;
            if one == [END] && at == bytes.len() {
                return Ok(requests);
            }
            requests.push(one);
        }
        let why = format!("{}: damaged from byte {at} on", self.path.display());
        Err(io::Error::new(ErrorKind::InvalidData, why))
    }

    /// Saves at once, for a caller that has all of the stores, and makes the reply.
    pub fn save<'a>(&self, stores: impl IntoIterator<Item = &'a Store>) -> Vec<u8> {
        self.replace(&bytes_of(stores))
    }

    /// Somebody wants what there is saved. True: no save runs, and the caller makes a snapshot.
    pub fn ask(&self, then: Then) -> bool {
        let mut state = self.state();
        state.asked.push(then);
        !std::mem::replace(&mut state.runs, true)
    }

    /// What the stores hold, for all who have asked by now. The caller has all of the stores.
    pub fn snapshot<'a>(&self, stores: impl IntoIterator<Item = &'a Store>) -> Snapshot {
        let asked = std::mem::take(&mut self.state().asked);
        Snapshot { bytes: bytes_of(stores), asked }
    }

    /// Writes a snapshot, and replies to those who have asked. True: others have asked meanwhile,
    /// and the caller makes one more.
    pub fn write(&self, snapshot: Snapshot) -> bool {
        let reply = self.replace(&snapshot.bytes);
        snapshot.asked.into_iter().for_each(|then| then(reply.clone()));
        let mut state = self.state();
        state.runs = !state.asked.is_empty();
        state.runs
    }

    /// Writes the file as a whole, or not at all, and makes the reply.
    fn replace(&self, bytes: &[u8]) -> Vec<u8> {
        match self.try_replace(bytes) {
            Ok(()) => b"+OK\r\n".to_vec(),
            Err(error) => format!("-ERR {error}\r\n").into_bytes(),
        }
    }

    fn try_replace(&self, bytes: &[u8]) -> io::Result<()> {
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

/// The requests that make stores such as these.
fn bytes_of<'a>(stores: impl IntoIterator<Item = &'a Store>) -> Vec<u8> {
    let mut bytes: Vec<u8> = stores.into_iter().flat_map(Store::to_bytes).collect();
    bytes.extend(array(&[END]));
    bytes
}
