//! Reads an interval log of HdrHistogram.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::Tagged;

/// Returns the histograms of a log by tag; histograms with the same tag are added up.
pub(super) fn read(bytes: &[u8]) -> Result<Tagged, String> {
    let (mut all, mut deserializer) = (Tagged::new(), Deserializer::new());
    for (number, entry) in (1..).zip(IntervalLogIterator::new(bytes)) {
        let entry = entry.map_err(|_| format!("entry {number} is not part of an interval log"))?;
        let LogEntry::Interval(interval) = entry else { continue };
        let damaged = |why: &dyn std::fmt::Display| format!("histogram {number} is damaged: {why}");
        let encoded = STANDARD.decode(interval.encoded_histogram()).map_err(|e| damaged(&e))?;
        let histogram = deserializer.deserialize(&mut &encoded[..]).map_err(|e| damaged(&e))?;
        let tag = interval.tag().map_or(String::new(), |tag| tag.as_str().to_owned());
        match all.get_mut(&tag) {
            None => drop(all.insert(tag, histogram)),
            Some(sum) => {
                sum.auto(true);
                sum.add(&histogram).map_err(|e| damaged(&e))?;
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_runtime_has_written_is_read() {
        let rt = dapple::Runtime::new().unwrap();
        let recorder = rt.handle().histogram("request");
        (1..=100).for_each(|n| recorder.record(Duration::from_micros(n)));
        let (mut log, metrics) = (Vec::new(), rt.metrics());
        metrics.write_hlog(&mut log).unwrap();
        // Repeat the interval, so that its tag occurs twice.
        let interval = String::from_utf8(log.clone()).unwrap();
        let again = interval.lines().filter(|line| line.starts_with("Tag=")).collect::<Vec<_>>();
        log.extend_from_slice(again.join("\n").as_bytes());
        log.push(b'\n');
        let read = read(&log).unwrap();
        let histogram = &read["own/request"];
        assert_eq!(histogram.len(), 200);
        let own = metrics.own_histogram("request").unwrap();
        assert_eq!(histogram.value_at_quantile(0.5), own.value_at_quantile(0.5));
    }

    #[test]
    fn what_is_no_log_is_told() {
        assert!(read(b"").unwrap().is_empty());
        assert!(read(b"nonsense\n").unwrap_err().contains("entry 1"));
        assert!(read(b"0.1,1.0,1.0,AAAA\n").unwrap_err().contains("damaged"));
        assert!(read(b"0.1,1.0,1.0,!\n").unwrap_err().contains("damaged"));
    }
}
