//! `/_dapple/metrics`: the figures of the runtime and of the server.
//!
//! Each worker has its own counters. A counter has only one writer, so counting is a load and a
//! store.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use dapple::Handle;
use dapple_io::tcp::CloseReason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::answer::{Answer, Text};
use super::http::head::Status;
use super::server::Server;

/// The counters of all workers.
#[derive(Debug)]
pub(super) struct Figures(Box<[CachePadded<OfWorker>]>);

/// The counters of one worker.
#[derive(Debug, Default)]
pub(super) struct OfWorker {
    connections: AtomicU64,
    timeouts: AtomicU64,
    /// Responses by the first digit of their status: index 2 counts 2xx.
    responses: [AtomicU64; 6],
}

fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl OfWorker {
    pub(super) fn connection(&self) {
        count(&self.connections);
    }

    /// Counts a response with this status.
    pub(super) fn response(&self, status: u16) {
        if let Some(of_class) = self.responses.get(usize::from(status / 100)) {
            count(of_class);
        }
    }

    pub(super) fn closed(&self, reason: &CloseReason) {
        use CloseReason::*;
        if matches!(reason, IdleTimeout | FrameTimeout | WriteTimeout) {
            count(&self.timeouts);
        }
    }
}

impl Figures {
    pub(super) fn new(workers: usize) -> Self {
        Figures((0..workers).map(|_| CachePadded::default()).collect())
    }

    pub(super) fn worker(&self, worker: usize) -> &OfWorker {
        &self.0[worker]
    }

    /// Returns the counters of the current worker, or of the first worker on a thread outside the
    /// runtime.
    pub(super) fn here(&self, handle: &Handle) -> &OfWorker {
        self.worker(handle.current_worker().unwrap_or_default())
    }

    /// Returns the number of accepted connections.
    pub(super) fn connections(&self) -> u64 {
        self.sum(|w| &w.connections)
    }

    /// Returns the number of responses whose status begins with the digit `class`.
    pub(super) fn responses(&self, class: usize) -> u64 {
        self.sum(|w| &w.responses[class])
    }

    fn sum(&self, pick: impl Fn(&OfWorker) -> &AtomicU64) -> u64 {
        self.0.iter().map(|w| pick(w).load(Ordering::Relaxed)).sum()
    }
}

/// One reading of all counters, for the encoder.
#[derive(Debug)]
struct Reading {
    open: u64,
    connections: u64,
    timeouts: u64,
    responses: [u64; 6],
}

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(self.open as i64);
        gauge.encode(encoder.encode_descriptor(
            "web_connections_open",
            "Connections that are open now",
            None,
            MetricType::Gauge,
        )?)?;
        let counters = [
            ("web_connections", "Connections accepted", self.connections),
            ("web_timeouts", "Connections closed by a timeout", self.timeouts),
        ];
        for (name, help, value) in counters {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(encoder)?;
        }
        let mut family = encoder.encode_descriptor(
            "web_responses",
            "Responses by class of their status",
            None,
            MetricType::Counter,
        )?;
        for (class, value) in self.responses.iter().enumerate().skip(2) {
            let label = [("class", format!("{class}xx"))];
            ConstCounter::new(*value).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }
}

/// The name of the figures below `/_dapple/`.
pub(super) const NAME: &str = "metrics";

/// Answers a request for the figures.
pub(super) fn answer(server: &Server) -> Answer {
    let figures = &server.figures;
    let reading = Reading {
        open: server.open_connections(),
        connections: figures.connections(),
        timeouts: figures.sum(|w| &w.timeouts),
        responses: std::array::from_fn(|class| figures.responses(class)),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(server.runtime().metrics()));
    registry.register_collector(Box::new(reading));
    let mut body = String::new();
    if prometheus_client::encoding::text::encode(&mut body, &registry).is_err() {
        return Answer::status(Status::InternalError);
    }
    Answer::Text(Box::new(Text {
        status: Status::Ok,
        fields: "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n".to_owned(),
        kind: "application/openmetrics-text; version=1.0.0; charset=utf-8".into(),
        body: body.into(),
        pass: None,
        is_own: true,
    }))
}
