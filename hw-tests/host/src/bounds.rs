//! How long the host waits for what.

use crate::control::{PACKET_BOUND, SLOW_PACKET_BOUND};
use std::time::Duration;

/// How long the host waits. The default is the driver's (`boot-protocol.md` 16, `submission-path.md` 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// ROM ready.
    pub preboot: Duration,
    /// Every COMMS status.
    pub comms: Duration,
    /// Boot-fit ready.
    pub boot_fit: Duration,
    /// Control image running; queue handshake.
    pub control: Duration,
    /// Most control packets.
    pub packet: Duration,
    /// Control packets that fetch data.
    pub slow_packet: Duration,
    /// Each queue test.
    pub queue_test: Duration,
    /// Each job of the host itself.
    pub own_job: Duration,
    /// A job of [`crate::Host::run`].
    pub job: Duration,
    /// From HALT_MACHINE to the reset.
    pub halt: Duration,
    /// Boot manager idle after a reset.
    pub reset: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            preboot: Duration::from_millis(4000),
            comms: Duration::from_millis(30_000),
            boot_fit: Duration::from_millis(15_000),
            control: Duration::from_millis(30_000),
            packet: PACKET_BOUND,
            slow_packet: SLOW_PACKET_BOUND,
            queue_test: Duration::from_millis(100),
            own_job: Duration::from_millis(1000),
            job: Duration::from_millis(10_000),
            halt: Duration::from_millis(200),
            reset: Duration::from_millis(2000),
        }
    }
}

impl Bounds {
    /// The driver's bounds times `factor`, for machines that are slower than a card. The time that firmware has to halt is
    /// not stretched.
    #[must_use]
    pub fn scaled(factor: u32) -> Self {
        let own = Self::default();
        Self {
            preboot: own.preboot * factor,
            comms: own.comms * factor,
            boot_fit: own.boot_fit * factor,
            control: own.control * factor,
            packet: own.packet * factor,
            slow_packet: own.slow_packet * factor,
            queue_test: own.queue_test * factor,
            own_job: own.own_job * factor,
            job: own.job * factor,
            halt: own.halt,
            reset: own.reset * factor,
        }
    }
}
