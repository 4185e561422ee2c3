//! Dates of HTTP.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of a version's modification, in whole seconds, as HTTP has it.
pub(in crate::web) fn of_nanos(nanos: i128) -> SystemTime {
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(0);
    // The last second of the year 9999, beyond which HTTP has no dates.
    UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799))
}

/// Appends the current date. It is made once a second on each thread; `stamp` says when to look at
/// the clock at all.
pub(in crate::web) fn write_now(out: &mut Vec<u8>, stamp: u64) {
    struct Now {
        stamp: u64,
        second: u64,
        text: String,
    }
    thread_local! {
        static NOW: RefCell<Now> =
            const { RefCell::new(Now { stamp: u64::MAX, second: 0, text: String::new() }) };
    }
    NOW.with_borrow_mut(|now| {
        if now.stamp != stamp {
            now.stamp = stamp;
            let time = SystemTime::now();
            let second = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            if now.second != second {
                now.second = second;
                now.text = httpdate::fmt_http_date(time);
            }
        }
        out.extend_from_slice(now.text.as_bytes());
    });
}
