//! The drawing is well-formed, and contains every record.

use super::super::Setup;
use super::super::percentiles::Percentiles;
use super::super::record::{Figures, Point};
use super::super::schedule::{Distribution, Keys};
use super::*;

fn record(system: &'static str, mean_us: u32, load: u32, latency: u64) -> Record {
    let (setup, distribution, keys) = (Setup::One, Distribution::Fixed, Keys::Uniform);
    let point = Point { setup, distribution, keys, mean_us, load };
    let latency =
        Percentiles { mean: 0.0, p50: latency, p99: latency * 3, p999: latency * 9, max: 0 };
    Record { point, system, requests: 100, runs: vec![Figures { latency, cost: None }] }
}

/// Panics unless every tag is closed in the right order.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>') && tag.matches('"').count().is_multiple_of(2), "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn a_grid_is_well_formed() {
    let mut records = Vec::new();
    for (i, (system, _)) in COLORS.into_iter().enumerate() {
        for mean in [10, 100] {
            for load in [10, 70, 110] {
                records.push(record(system, mean, load, u64::from(mean * load) + i as u64 * 100));
            }
        }
    }
    let svg = svg("a < b & c", &records.iter().collect::<Vec<_>>());
    assert_well_formed(&svg);
    assert!(svg.contains("a &lt; b &amp; c"));
    assert_eq!(svg.matches("<clipPath").count(), 2 * ROWS.len());
    assert_eq!(svg.matches("<circle").count(), records.len() * ROWS.len());
    assert!(COLORS.iter().all(|(name, _)| svg.contains(&format!(">{name}<"))));
}

#[test]
fn one_point_and_latencies_of_nothing_are_drawn() {
    assert_well_formed(&svg("one", &[&record("tokio", 10, 70, 10_000)]));
    assert_well_formed(&svg("overload only", &[&record("tokio", 10, 110, 10_000)]));
    assert_well_formed(&svg("nothing", &[&record("rayon", 10, 70, 0)]));
    assert_well_formed(&svg("none", &[]));
}

#[test]
fn every_system_has_a_color() {
    for (name, _) in super::super::systems::ALL {
        assert!(COLORS.iter().any(|(colored, _)| *colored == name), "{name}");
    }
}

#[test]
fn a_scale_has_ticks_whatever_its_range() {
    for (from, to) in [(0.9, 1.2), (1.0, 2.0), (1.0, 2.8), (1.0, 4.5)] {
        let scale = Scale { from, to };
        assert!((2..=9).contains(&scale.ticks().len()), "{:?}", scale.ticks());
    }
}

#[test]
fn numbers_are_readable() {
    assert_eq!([10.0, 1.2, 1_000.0, 20_000.0].map(number), ["10", "1.2", "1,000", "20,000"]);
}
