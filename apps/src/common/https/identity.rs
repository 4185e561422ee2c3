//! The server's identity: a key that it makes once and keeps, and a certificate for the key.
//!
//! Clients can recognize the server by its key alone (a pin), which never changes, or by its
//! certificate. The certificate is renewed when it is about to expire, or when it has to contain
//! other names.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dapple::clock;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use sha2::{Digest, Sha256};

/// The validity of a certificate: 800 days, because Apple's systems accept at most 825 days.
const GOOD_FOR: Duration = Duration::from_secs(800 * 86_400);

/// The remaining validity, 60 days, below which a certificate is renewed.
const RENEWED_BEFORE: Duration = Duration::from_secs(60 * 86_400);

/// The versions of TLS that the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// TLS 1.3 only.
    Three,
    /// TLS 1.2 and 1.3. Windows 10 knows no later version than 1.2, and nginx speaks 1.2 to a
    /// server behind it by default.
    TwoAndThree,
}

/// A TLS configuration, and what a client can recognize the server by. See the module.
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    /// The hash of the key, in the form that curl's `--pinnedpubkey` takes.
    pub(crate) pin: String,
    /// The SHA-256 of the certificate, in the form that browsers show.
    pub(crate) fingerprint: String,
    /// The file of the certificate. The path is empty if there is no file.
    pub(crate) certificate: PathBuf,
}

impl Identity {
    /// Loads the server's own identity for these names and addresses, which is made in `state` at
    /// the first start.
    pub(crate) fn own(state: &Path, names: &[String], tls: Tls) -> Result<Identity, String> {
        let (key_file, certificate) = (state.join("key.pem"), state.join("cert.pem"));
        let key = own_key(&key_file)?;
        let is_good =
            fs::read_to_string(&certificate).is_ok_and(|text| is_good(&text, names, clock::wall()));
        if !is_good {
            let text = make_certificate(&key, names)
                .map_err(|e| format!("cannot make a certificate: {e}"))?;
            write_whole(&certificate, text.as_bytes(), 0o644)
                .map_err(|e| format!("cannot write {}: {e}", certificate.display()))?;
        }
        Identity::of_files(&certificate, &key_file, tls)
    }

    /// Loads an identity from a certificate file and a key file.
    pub(crate) fn of_files(certificate: &Path, key: &Path, tls: Tls) -> Result<Identity, String> {
        let bad = |file: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|e| bad(certificate, &e))?;
        if chain.is_empty() {
            return Err(bad(certificate, &"it has no certificate"));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|e| bad(key, &e))?;
        Identity::of(chain, private, tls, certificate).map_err(|problem| match problem {
            Problem::Key(e) => bad(key, &e),
            Problem::Certificate(e) => bad(certificate, &e),
        })
    }

    /// Makes an identity for these names and addresses that is stored nowhere, for trying things
    /// out.
    pub(crate) fn for_now(names: &[String], tls: Tls) -> Result<Identity, String> {
        let failed = |e: &dyn std::fmt::Display| format!("cannot make a certificate: {e}");
        let key = KeyPair::generate().map_err(|e| failed(&e))?;
        let text = make_certificate(&key, names).map_err(|e| failed(&e))?;
        let certificate =
            CertificateDer::from_pem_slice(text.as_bytes()).map_err(|e| failed(&e))?;
        let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())
            .map_err(|e| failed(&e))?;
        Identity::of(vec![certificate], private, tls, Path::new("")).map_err(|problem| {
            let (Problem::Key(e) | Problem::Certificate(e)) = problem;
            failed(&e)
        })
    }

    /// Creates an identity from a chain of at least one certificate. `file` is the file from which
    /// the chain was read.
    fn of(
        chain: Vec<CertificateDer<'static>>,
        private: PrivateKeyDer<'static>,
        tls: Tls,
        file: &Path,
    ) -> Result<Identity, Problem> {
        let fingerprint = hex_pairs(&Sha256::digest(chain.first().map_or(&[][..], |first| first)));
        let provider = Arc::new(provider());
        let signing = provider
            .key_provider
            .load_private_key(private.clone_key())
            .map_err(|e| Problem::Key(e.to_string()))?;
        let public =
            signing.public_key().ok_or(Problem::Key("it has no public part".to_owned()))?;
        let pin = format!("sha256//{}", STANDARD.encode(Sha256::digest(&public)));
        let versions = match tls {
            Tls::Three => vec![&TLS13],
            Tls::TwoAndThree => vec![&TLS13, &TLS12],
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|e| Problem::Certificate(e.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Two tickets are enough for a client that opens one more connection. With a ticket, a new
        // connection costs no signature.
        config.send_tls13_tickets = 2;
        let certificate = file.to_owned();
        Ok(Identity { config: Arc::new(config), pin, fingerprint, certificate })
    }
}

/// The part of an identity that is invalid, and the reason.
enum Problem {
    Key(String),
    Certificate(String),
}

#[cfg(feature = "aws-lc-rs")]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn own_key(file: &Path) -> Result<KeyPair, String> {
    let shown = file.display();
    match fs::read_to_string(file) {
        Ok(text) => {
            let mode =
                fs::metadata(file).map_err(|e| format!("{shown}: {e}"))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(format!(
                    "{shown} can be read by other users: chmod 600 it, or remove it to get a new \
                     key"
                ));
            }
            KeyPair::from_pem(&text).map_err(|e| format!("{shown}: {e}"))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(|e| format!("cannot make a key: {e}"))?;
            write_whole(file, key.serialize_pem().as_bytes(), 0o600)
                .map_err(|e| format!("cannot write {shown}: {e}"))?;
            Ok(key)
        }
        Err(e) => Err(format!("{shown}: {e}")),
    }
}

/// Returns `true` if a certificate need not be renewed. The lines before the certificate say for
/// which names and until when it is valid. Programs that read certificates skip these lines.
fn is_good(text: &str, names: &[String], now: SystemTime) -> bool {
    let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let until = line("Until: ").and_then(|until| until.parse().ok()).map(Duration::from_secs);
    let needed = now.duration_since(UNIX_EPOCH).unwrap_or_default() + RENEWED_BEFORE;
    // A certificate with more names than are needed is kept, because every client would have to be
    // told of a new one.
    let has = |all: &str, name: &String| all.split(' ').any(|other| other == name);
    line("Names: ").is_some_and(|all| names.iter().all(|name| has(all, name)))
        && until.is_some_and(|u| u > needed)
}

fn make_certificate(key: &KeyPair, names: &[String]) -> Result<String, rcgen::Error> {
    let now = clock::wall();
    let until = now + GOOD_FOR;
    let mut params = CertificateParams::new(names)?;
    params.not_before = (now - Duration::from_secs(86_400)).into();
    params.not_after = until.into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "dapple");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let pem = params.self_signed(key)?.pem();
    let until = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(format!("Names: {}\nUntil: {until}\n{pem}", names.join(" ")))
}

/// Writes a file atomically: after a failure or a crash it has either its old contents or the new
/// ones.
pub(crate) fn write_whole(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = file.with_file_name(name);
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut new =
            options.write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        new.set_permissions(fs::Permissions::from_mode(mode))?;
        new.write_all(bytes)?;
        new.sync_all()?;
        fs::rename(&temporary, file)
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

fn hex_pairs(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_key_stays_and_the_certificate_follows_the_names() {
        let state = tempfile::tempdir().unwrap();
        let one =
            Identity::own(state.path(), &names(&["localhost", "127.0.0.1"]), Tls::Three).unwrap();
        assert!(one.pin.starts_with("sha256//") && one.pin.len() == 8 + 44, "{}", one.pin);
        let again =
            Identity::own(state.path(), &names(&["localhost", "127.0.0.1"]), Tls::Three).unwrap();
        assert_eq!((&one.pin, &one.fingerprint), (&again.pin, &again.fingerprint));
        let other = Identity::own(state.path(), &names(&["example.org"]), Tls::Three).unwrap();
        assert_eq!(one.pin, other.pin);
        assert_ne!(one.fingerprint, other.fingerprint);
        let mode = fs::metadata(state.path().join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_is_renewed_in_time() {
        let state = tempfile::tempdir().unwrap();
        let all = names(&["localhost"]);
        Identity::own(state.path(), &all, Tls::Three).unwrap();
        let text = fs::read_to_string(state.path().join("cert.pem")).unwrap();
        let now = SystemTime::now();
        assert!(is_good(&text, &all, now));
        assert!(!is_good(&text, &all, now + GOOD_FOR - RENEWED_BEFORE + Duration::from_secs(1)));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let all = names(&["localhost"]);
        Identity::own(state.path(), &all, Tls::Three).unwrap();
        let file = state.path().join("key.pem");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            Identity::own(state.path(), &all, Tls::Three).err().unwrap().contains("other users")
        );
        fs::write(&file, "no key").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Identity::own(state.path(), &all, Tls::Three).is_err());
    }
}
