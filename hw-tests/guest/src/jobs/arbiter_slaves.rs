//! One arbiter for several queue managers: a master decides, its slaves follow (`qman.md` 6.3).
//!
//! DMA2 is the master of DMA3 and DMA4. Streams 0..=2 of all three work several times between a request and a release; the
//! work is done by the lower command processor and pushes the stream's name onto a list of its engine. All three lists must
//! show the order that follows from the priorities at the master. Stream 3 holds the arbiter until the master's streams ask.
//!
//! In every other contest the slaves begin only when the master is done: then all its choices wait for them.

use super::arbiter::{
    BY_PRIORITY, FENCE, HOLDER, HOLDER_PRIORITY, NAME, PRIORITIES, STREAMS, order_by_priority, order_of, push_name,
};
use super::bench::{Bench, JobError};
use super::many::Measured;
use super::packets::{Packets, QUEUE_TO_DEVICE, fence_address, internal};
use super::programs::Programs;
use crate::device::{DeviceError, HostBuffer};
use coxswain_abi::regs::{CFG_BASE, qman};
use std::time::{Duration, Instant};

/// The engine whose queue manager decides.
const MASTER: usize = 2;
/// Those that follow; the position is a slave's number.
const SLAVES: [usize; 2] = [3, 4];
/// ARB_CFG_0: on, slave.
const SLAVE: u32 = 0x100;
/// The fence counter by which the lower command processor tells that the work is done.
const WORK: u32 = 3;
/// Bytes between the lists of the engines in HBM, and from a list to its spare place.
const STEP: u64 = 0x1_0000;
const SPARE: u64 = 0x8000;
/// Bytes of all programs.
const PROGRAMS: usize = 0x2_0000;

/// Engines, and the streams in the order of their grants there.
type Orders = Vec<(usize, Vec<usize>)>;

/// Sets a register of a queue manager.
fn set(packets: Packets, engine: usize, offset: u32, value: u32) -> Packets {
    packets.message(CFG_BASE + u64::from(qman::base(engine) + offset), value)
}

/// What makes the three one arbiter.
fn setting() -> Packets {
    let mut packets = Packets::new();
    for engine in [MASTER].into_iter().chain(SLAVES) {
        packets = set(packets, engine, qman::ARB_BASE_LO, CFG_BASE as u32);
        packets = set(packets, engine, qman::ARB_BASE_HI, (CFG_BASE >> 32) as u32);
    }
    for (number, slave) in (0..).zip(SLAVES) {
        let push = qman::base(slave) + qman::ARB_CHOISE_Q_PUSH;
        packets = set(packets, MASTER, qman::ARB_MST_CHOISE_PUSH_OFST_0 + 4 * number, push);
        packets = set(packets, slave, qman::ARB_SLV_ID, number);
        let credit = qman::base(MASTER) + qman::ARB_MST_CRED_INC;
        packets = set(packets, slave, qman::ARB_SLV_MASTER_INC_CRED_OFST, credit);
        packets = set(packets, slave, qman::ARB_CFG_0, SLAVE);
    }
    packets = set(packets, MASTER, qman::ARB_MST_SLAVE_EN, (1 << SLAVES.len()) - 1);
    set(packets, MASTER, qman::ARB_CFG_0, BY_PRIORITY)
}

/// What makes them three queue managers without arbiter again.
fn off() -> Packets {
    let packets = set(Packets::new(), MASTER, qman::ARB_MST_SLAVE_EN, 0);
    [MASTER].into_iter().chain(SLAVES).fold(packets, |packets, engine| set(packets, engine, qman::ARB_CFG_0, 0))
}

/// The streams of the master ask with different priorities, in all orders.
///
/// # Errors
/// A submission failed, or the order of one of the engines was another.
pub fn by_priority(bench: &Bench<'_>, grants: usize) -> Result<Measured, JobError> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    for (number, priorities) in PRIORITIES.into_iter().enumerate() {
        bench.run_external(QUEUE_TO_DEVICE, &setting())?;
        let (orders, time) = contest(bench, priorities, grants, number % 2 == 1)?;
        bench.run_external(QUEUE_TO_DEVICE, &off())?;
        let expected = order_by_priority(priorities, grants);
        for (engine, order) in orders {
            if order != expected {
                return Err(JobError::Claim(format!(
                    "priorities {priorities:?}, DMA{engine}: {order:?} instead of {expected:?}"
                )));
            }
        }
        samples.push(time);
    }
    Ok(Measured { samples, total: begun.elapsed() })
}

/// The orders of the grants of all three engines, and the time.
fn contest(
    bench: &Bench<'_>,
    priorities: [u8; STREAMS],
    grants: usize,
    slaves_late: bool,
) -> Result<(Orders, Duration), JobError> {
    let begun = Instant::now();
    let mut first = Programs::new(bench, PROGRAMS)?;
    streams(bench, &mut first, MASTER, priorities, grants)?;
    let mut late = Programs::new(bench, PROGRAMS)?;
    for engine in SLAVES {
        streams(bench, if slaves_late { &mut late } else { &mut first }, engine, priorities, grants)?;
    }
    first.run(bench, &Packets::new())?;
    if slaves_late {
        late.run(bench, &Packets::new())?;
    }
    let time = begun.elapsed();
    let bytes = list_bytes(grants);
    let host = HostBuffer::new(bench.device, bytes as usize)?;
    let mut orders = Vec::new();
    for engine in [MASTER].into_iter().chain(SLAVES) {
        bench.download(list(bench, engine), host.address(0), bytes)?;
        orders.push((engine, order_of(&host, STREAMS * grants)?));
    }
    Ok((orders, time))
}

/// The list of an engine.
fn list(bench: &Bench<'_>, engine: usize) -> u64 {
    bench.layout.hbm + STEP * engine as u64
}

/// Bytes of a list.
const fn list_bytes(grants: usize) -> u32 {
    NAME * (STREAMS * grants) as u32
}

/// Adds what the streams of an engine do.
fn streams(
    bench: &Bench<'_>,
    programs: &mut Programs<'_>,
    engine: usize,
    priorities: [u8; STREAMS],
    grants: usize,
) -> Result<(), DeviceError> {
    for (stream, priority) in (0..).zip(priorities) {
        let done = fence_address(engine, stream, WORK);
        let place = list(bench, engine);
        let work = push_name(Packets::new(), stream as usize, place, place + SPARE, list_bytes(grants))
            .message_behind(done, 1);
        let (address, size) = programs.put(&work)?;
        let mut packets = Packets::new();
        if engine == MASTER {
            // Told before the first request: then this stream is one of those that ask.
            packets = packets.fence(FENCE, 1, 1).message(fence_address(MASTER, HOLDER, FENCE), 1);
        }
        for _ in 0..grants {
            packets = packets.request(priority).lower(address, size).fence(WORK, 1, 1).release();
        }
        programs.upper_to_end(internal(engine, stream), packets)?;
    }
    let mut holder = Packets::new().request(HOLDER_PRIORITY);
    if engine == MASTER {
        let gates = (0..STREAMS as u32).map(|stream| fence_address(MASTER, stream, FENCE));
        holder = gates.fold(holder, |packets, gate| packets.message(gate, 1));
        holder = holder.fence(FENCE, STREAMS as u8, STREAMS as u32);
    }
    programs.upper_to_end(internal(engine, HOLDER), holder.release())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `qman.md` 6.3: base, choice push of slaves 0 and 1, credit return, and the three configurations.
    #[test]
    fn the_registers_are_the_documented_ones() {
        let packets = setting();
        let writes: Vec<(u64, u32)> =
            packets.words().chunks(2).map(|packet| (packet[1] - 0x7F_FC00_0000, packet[0] as u32)).collect();
        for expected in [
            (0x54_8B54, 0xFC00_0000),
            (0x58_8B58, 0x7F),
            (0x54_8AA4, 0x56_8A04),
            (0x54_8AA8, 0x58_8A04),
            (0x58_8B3C, 1),
            (0x58_8B28, 0x54_8AA0),
            (0x54_8B2C, 3),
            (0x56_8A00, 0x100),
            (0x54_8A00, 0x110),
        ] {
            assert!(writes.contains(&expected), "{expected:x?}");
        }
        assert_eq!(writes.last(), Some(&(0x54_8A00, 0x110)), "the master is switched on last");
    }
}
