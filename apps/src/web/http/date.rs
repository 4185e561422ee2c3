//! The date of a response.

use std::cell::RefCell;

use crate::common::date;
use dapple::clock;

struct Now {
    stamp: u64,
    second: i64,
    text: String,
}

/// Passes the current date to `f`. Each thread formats the date once per second, and reads the
/// clock only if `stamp` differs from the last call's.
fn with_now<R>(stamp: u64, f: impl FnOnce(&Now) -> R) -> R {
    thread_local! {
        static NOW: RefCell<Now> =
            const { RefCell::new(Now { stamp: u64::MAX, second: i64::MIN, text: String::new() }) };
    }
    NOW.with_borrow_mut(|now| {
        if now.stamp != stamp {
            now.stamp = stamp;
            let time = clock::wall();
            let second = date::seconds(time);
            if now.second != second {
                now.second = second;
                now.text = date::format(time);
            }
        }
        f(now)
    })
}

/// Appends the current date; for `stamp`, see [`with_now`].
pub(in crate::web) fn write_now(out: &mut Vec<u8>, stamp: u64) {
    with_now(stamp, |now| out.extend_from_slice(now.text.as_bytes()));
}

/// Returns `true` if a time, in seconds, is later than the date of a response.
pub(in crate::web) fn is_ahead(second: i64, stamp: u64) -> bool {
    with_now(stamp, |now| second > now.second)
}
