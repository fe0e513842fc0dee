//! Measuring through the driver, in a small extent: that it works, never how fast it is.

use std::time::Duration;

use coxswain_machine::bench::end_to_end::{Extent, Server};

use crate::rig::Rig;

#[test]
fn the_driver_is_measured_with_the_firmware_and_with_the_interpreter_at_the_queues() {
    let rig = Rig::take();
    let extent = Extent {
        servers: vec![Server::CeilingAtOnce, Server::CeilingBeside, Server::QueueCores(1)],
        depths: vec![8],
        each: Duration::from_millis(20),
        rounds: 1,
    };
    let rows = rig.measure(&extent);
    assert_eq!(rows.len(), 9, "three kinds of work, each with three servers: {rows:?}");
    for row in &rows {
        assert!(row.submissions >= 100 && row.per_second > 0.0, "{row:?}");
        assert!(row.p50_us > 0.0 && row.p50_us <= row.p99_us, "{row:?}");
        assert!(row.ratio.is_some_and(|ratio| ratio > 0.0), "{row:?}");
    }
}
