//! The fuzz targets of `dapple files`.

use std::net::IpAddr;

use clap::ArgMatches;

#[cfg(dapple_fuzzing)]
pub use super::dav::fuzzing::verdict;
pub use super::dav::fuzzing::{if_field, request as dav_request, xml};
pub use crate::common::login::fuzzing::{authorization, users_file};

/// Checks command-line arguments that were accepted.
///
/// # Panics
///
/// Panics if a name or the prefix breaks a rule.
pub(crate) fn arguments(args: &ArgMatches) {
    if args.subcommand().is_some() {
        return;
    }
    for name in super::names(args, IpAddr::from([127, 0, 0, 1]), &[]) {
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()), "{name:?}");
    }
    if let Some(prefix) = args.get_one::<String>("prefix") {
        let is_path = prefix.is_empty() || (prefix.starts_with('/') && !prefix.ends_with('/'));
        assert!(is_path && !prefix.contains("//"), "{prefix:?}");
    }
}
