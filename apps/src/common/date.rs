//! HTTP dates (RFC 9110, section 5.6.7), from the year 0 to 9999.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime, Time};

/// The first and the last second that the format can express, counted from 1970.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Returns the time this number of seconds after 1970 (or before it), limited to what an HTTP date
/// can express.
pub(crate) fn of_seconds(seconds: i64) -> SystemTime {
    let seconds = seconds.clamp(FIRST, LAST);
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// Returns the whole seconds of a time since 1970, rounded down.
pub(crate) fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            -seconds - i64::from(before.subsec_nanos() > 0)
        }
    }
}

/// Formats a time as an HTTP date.
pub(crate) fn format(time: SystemTime) -> String {
    let seconds = seconds(time).clamp(FIRST, LAST);
    if seconds >= 0 {
        // `httpdate` does not support dates before 1970, but is faster.
        return httpdate::fmt_http_date(of_seconds(seconds));
    }
    let Ok(t) = OffsetDateTime::from_unix_timestamp(seconds) else { return String::new() };
    let day = DAYS[usize::from(t.weekday().number_days_from_monday())];
    let month = MONTHS[usize::from(u8::from(t.month())) - 1];
    let (hour, minute, second) = t.to_hms();
    format!("{day}, {:02} {month} {:04} {hour:02}:{minute:02}:{second:02} GMT", t.day(), t.year())
}

/// Formats a time as RFC 3339 does, such as `1994-11-06T08:49:37Z`. Returns `None` outside of the
/// years 0 to 9999.
pub(crate) fn iso(seconds: i64) -> Option<String> {
    let t = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let (year, month, day) = (t.year(), u8::from(t.month()), t.day());
    let (hour, minute, second) = t.to_hms();
    let is_written = (0..=9_999).contains(&year);
    is_written.then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// Formats a time as logs of web servers do, such as `06/Nov/1994:08:49:37 +0000`.
pub(crate) fn of_logs(seconds: i64) -> String {
    let Ok(t) = OffsetDateTime::from_unix_timestamp(seconds) else { return "-".to_owned() };
    let month = MONTHS[usize::from(u8::from(t.month())) - 1];
    let (hour, minute, second) = t.to_hms();
    format!("{:02}/{month}/{}:{hour:02}:{minute:02}:{second:02} +0000", t.day(), t.year())
}

/// Parses a date in any of the three forms that HTTP allows.
pub(crate) fn parse(text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    // `httpdate` does not support dates before 1970.
    httpdate::parse_http_date(text).ok().or_else(|| parse_usual(text))
}

/// Parses the usual form: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_usual(text: &str) -> Option<SystemTime> {
    let rest = text.split_once(", ").filter(|(day, _)| DAYS.contains(day))?.1;
    let [day, month, year, time, "GMT"] = rest.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let number = |text: &str, len: usize| match text.len() == len {
        true if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<u16>().ok(),
        _ => None,
    };
    let byte = |text: &str| number(text, 2).and_then(|n| u8::try_from(n).ok());
    let [hour, minute, second] = time.split(':').collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = Month::try_from(u8::try_from(month).ok()? + 1).ok()?;
    let date = Date::from_calendar_date(number(year, 4)?.into(), month, byte(day)?).ok()?;
    let time = Time::from_hms(byte(hour)?, byte(minute)?, byte(second)?).ok()?;
    Some(of_seconds(date.with_time(time).assume_utc().unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_for_programs() {
        assert_eq!(iso(784_111_777).as_deref(), Some("1994-11-06T08:49:37Z"));
        assert_eq!(iso(FIRST).as_deref(), Some("0000-01-01T00:00:00Z"));
        assert_eq!(of_logs(784_111_777), "06/Nov/1994:08:49:37 +0000");
        assert_eq!((iso(FIRST - 1), iso(LAST + 1), iso(i64::MAX)), (None, None, None));
    }

    #[test]
    fn dates_of_all_years() {
        for (seconds, date) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
            (-2_208_988_800, "Mon, 01 Jan 1900 00:00:00 GMT"),
            (4_294_967_296, "Sun, 07 Feb 2106 06:28:16 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (FIRST, "Sat, 01 Jan 0000 00:00:00 GMT"),
        ] {
            let time = of_seconds(seconds);
            assert_eq!(format(time), date);
            assert_eq!(parse(date.as_bytes()), Some(time), "{date}");
            assert_eq!(super::seconds(time), seconds);
        }
        assert_eq!(of_seconds(i64::MAX), of_seconds(LAST));
        assert_eq!(of_seconds(i64::MIN), of_seconds(FIRST));
        let half = UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(super::seconds(half), -1);
    }

    #[test]
    fn other_forms_and_what_is_none() {
        let time = Some(of_seconds(784_111_777));
        assert_eq!(parse(b"Sunday, 06-Nov-94 08:49:37 GMT"), time);
        assert_eq!(parse(b"Sun Nov  6 08:49:37 1994"), time);
        for bad in ["", "yesterday", "Sun, 06 Nov 1969 08:49:37", "Sun, 31 Feb 1960 08:49:37 GMT"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
