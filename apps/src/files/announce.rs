//! The text that the server prints when it is ready: its addresses, how to recognize it, and how to
//! mount it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::path::DavPath;
use crate::common::https::identity::Identity;
use crate::common::login::ONE_TIME_USER;
use crate::common::monitor;

/// The facts that the text contains.
pub(super) struct Ready<'a> {
    pub(super) share: &'a str,
    pub(super) address: SocketAddr,
    pub(super) name: &'a str,
    pub(super) addresses: &'a [IpAddr],
    pub(super) identity: &'a Identity,
    /// The one-time password, if there is one.
    pub(super) password: Option<&'a str>,
    pub(super) has_dashboard: bool,
}

/// Prints the text.
///
/// # Errors
///
/// Returns an error if `out` cannot be written to.
pub(super) fn announce(out: &mut impl Write, ready: &Ready<'_>) -> std::io::Result<()> {
    let Ready { share, address, name, addresses, identity, password, has_dashboard } = *ready;
    let host = match name.contains(':') {
        true => format!("[{name}]"),
        false => name.to_owned(),
    };
    let port = address.port();
    let place = format!("{host}:{port}");
    let prefix = DavPath::root().href(true);
    let url = format!("https://{place}{prefix}");
    let (pin, certificate) = (&identity.pin, identity.certificate.display());
    let user = if password.is_some() { ONE_TIME_USER } else { "USER" };
    writeln!(out, "Serving {share} at {url}")?;
    for address in addresses {
        let also = SocketAddr::new(*address, port);
        writeln!(out, "  also at      https://{also}{prefix}")?;
    }
    writeln!(out, "  pin          {pin}")?;
    writeln!(out, "  certificate  {certificate}")?;
    writeln!(out, "  SHA-256      {}", identity.fingerprint)?;
    match password {
        Some(password) => {
            writeln!(out, "  user         {ONE_TIME_USER}")?;
            writeln!(out, "  password     {password}  (until the server ends or has a user)")?;
        }
        None => writeln!(out, "  users        dapple files user list")?,
    }
    writeln!(out, "Mount it:")?;
    let mut mount = |with: &str, how: String| writeln!(out, "  {with:<8} {how}");
    mount("curl", format!("curl --pinnedpubkey '{pin}' -k -u {user} {url}"))?;
    mount(
        "rclone",
        format!(
            "rclone copy :webdav: DIR --webdav-url {url} --webdav-user {user} \
             --webdav-pass \"$(rclone obscure PASSWORD)\" --ca-cert {}",
            quoted(&certificate.to_string())
        ),
    )?;
    mount(
        "davfs2",
        format!("mount -t davfs {url} DIR   (asks for the user, and about the certificate)"),
    )?;
    mount(
        "GNOME",
        format!("gio mount davs://{user}@{place}{prefix}   (or: Files, Other Locations)"),
    )?;
    mount("KDE", format!("dolphin webdavs://{user}@{place}{prefix}"))?;
    mount("Finder", format!("Go, Connect to Server (Cmd-K): {url}"))?;
    if has_dashboard {
        writeln!(out, "Dashboard at https://{place}{}", monitor::PATH)?;
    }
    writeln!(out, "Ctrl-C stops it")?;
    out.flush()
}

/// Quotes a word for a shell, if necessary.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
