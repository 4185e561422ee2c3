//! Code that several programs share.
//!
//! * [`cache`]: a cache of requested files.
//! * [`cached`]: reading files without waiting for a disk.
//! * [`chart`](self::chart): charts as SVG.
//! * [`columns`](self::columns): tables of text.
//! * [`conditions`]: If-Match, If-None-Match, If-Modified-Since, If-Range, Range.
//! * [`date`](self::date): HTTP dates.
//! * [`gate`]: a limit on the number of callers at one time.
//! * [`host`]: the host and the port of a request.
//! * [`https`](self::https): TLS, HTTP/1.1 and HTTP/2.
//! * [`listing`]: listings of folders, as pages show them.
//! * [`login`]: Basic authentication.
//! * [`media_type`]: the media type of a file.
//! * [`monitor`](self::monitor): the dashboard of a program.
//! * [`per_address`]: a limit on the connections from one address.
//! * [`pieces`](self::pieces): bodies that are made while they are sent.
//! * [`qr`]: the address of a server as a QR code.
//! * [`target`]: from a request's target to a path below a folder.
//! * [`time`]: times in the future.
//! * [`version`]: versions of files.
//! * [`zip`]: a folder as a zip.
//! * [`runtime`]: the runtime, as the command line configures it.
//! * [`process`]: signals and descriptors.

pub(crate) mod cache;
pub(crate) mod cached;
pub(crate) mod chart;
pub(crate) mod columns;
pub(crate) mod conditions;
pub(crate) mod date;
#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod gate;
pub(crate) mod host;
pub(crate) mod https;
pub(crate) mod listing;
pub(crate) mod login;
pub(crate) mod media_type;
pub(crate) mod monitor;
pub(crate) mod per_address;
pub(crate) mod pieces;
pub(crate) mod process;
pub(crate) mod qr;
pub(crate) mod runtime;
pub(crate) mod target;
pub(crate) mod time;
pub(crate) mod version;
pub(crate) mod zip;
