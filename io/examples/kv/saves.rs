//! The file that SAVE writes and that the next start reads.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::resp::{Request, array, request};
use super::store::Store;

/// The last request of a complete file.
const END: &[u8] = b"END";

pub struct Saves {
    path: PathBuf,
}

impl Saves {
    pub fn new(path: &Path) -> Self {
        Saves { path: path.to_owned() }
    }

    /// Returns the requests of the file, or none if there is no file yet.
    pub fn load(&self) -> io::Result<Vec<Request>> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let (mut requests, mut at) = (Vec::new(), 0);
        while let Some((one, taken)) = request(&bytes[at..]) {
            if one == [END] {
                at += taken;
                break;
            }
            requests.push(one);
            at += taken;
        }
        if at == bytes.len() && bytes.ends_with(&array(&[END])) {
            return Ok(requests);
        }
        let why = format!("{}: damaged at byte {at}", self.path.display());
        Err(io::Error::new(ErrorKind::InvalidData, why))
    }

    /// Writes the file as a whole or not at all, and returns the reply.
    pub fn save(&self, bytes: &[u8]) -> Vec<u8> {
        match self.replace(bytes) {
            Ok(()) => b"+OK\r\n".to_vec(),
            Err(error) => format!("-ERR {error}\r\n").into_bytes(),
        }
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let mut new = File::create(&name)?;
        new.write_all(bytes)?;
        new.sync_all()?;
        fs::rename(&name, &self.path)?;
        // The rename is durable once the folder has been synced.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Returns the contents of the file for these stores.
pub fn to_bytes<'a>(stores: impl IntoIterator<Item = &'a Store>) -> Vec<u8> {
    let mut bytes: Vec<u8> = stores.into_iter().flat_map(Store::to_bytes).collect();
    bytes.extend(array(&[END]));
    bytes
}
