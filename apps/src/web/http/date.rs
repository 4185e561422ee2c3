//! Dates of HTTP.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of the year 9999, the last that the format can tell.
const LAST_SECOND: u64 = 253_402_300_799;

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
                // A clock that is wrong by so much is told as the last day that can be.
                let second = second.min(LAST_SECOND);
                now.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            }
        }
        out.extend_from_slice(now.text.as_bytes());
    });
}
