//! Which jobs there are, at which sizes, and how one is run.

use super::bad_packets::{self, Bad};
use super::behaviour::Behaviour;
use super::bench::{Bench, JobError};
use super::copy::{self, Case, Direction};
use super::faults::{self, Fault};
use super::internal;
use super::kernel_faults::{self, KernelFault};
use super::many::{self, Measured, SLOT};
use super::packets::EXTERNAL_QUEUES;
use super::record::Record;
use crate::device::uapi::CB_LIMIT;
use std::time::Duration;

/// Sizes of the copies, in bytes: single bytes, around cache lines and pages, large ones. Sizes that are no multiple of
/// 64 are copied between unaligned addresses.
const SIZES: &[u64] = &[1, 3, 64, 4095, 4096, 65_539, 1 << 20, (1 << 20) + 13, 16 << 20, 64 << 20];
/// The same up to what SRAM holds.
const SRAM_SIZES: &[u64] = &[1, 3, 64, 4095, 4096, 65_539, 1 << 20, (1 << 20) + 13, 16 << 20];
const FILL_SIZES: &[u64] = &[8, 4096, 1 << 20];
const COUNTS: &[u64] = &[1000];
/// Submissions to one queue: also enough for its ring to wrap around twice and its indices once.
const RING_COUNTS: &[u64] = &[1000, 10_000];
/// Largest command buffer of an external queue.
const BUFFER_SIZES: &[u64] = &[CB_LIMIT as u64];
/// Largest lower buffer seen in practice, some 3 MiB (`submission-path.md` 13).
const LOWER_SIZES: &[u64] = &[3 << 20];
const FULL: &[u64] = &[0];

/// A job of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What it is run with when nothing else is asked for: bytes, or submissions.
    pub amounts: &'static [u64],
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    HostSram,
    HostHbm,
    SramHost,
    HbmHost,
    HbmHbm,
    SramHbm,
    FillHbm,
    Latency,
    Small,
    Streams,
    Full,
    Behaviour(Behaviour),
    Fault(Fault),
    Bad(Bad),
    Kernel(KernelFault),
}

/// An entry for a behaviour.
const fn behaviour(name: &'static str, about: &'static str, amounts: &'static [u64], what: Behaviour) -> Entry {
    Entry { name, about, amounts, kind: Kind::Behaviour(what) }
}

/// An entry for a wrong packet on an internal queue.
const fn bad(name: &'static str, about: &'static str, what: Bad) -> Entry {
    Entry { name, about, amounts: FULL, kind: Kind::Bad(what) }
}

/// An entry for a wrong kernel.
const fn kernel(name: &'static str, about: &'static str, what: KernelFault) -> Entry {
    Entry { name, about, amounts: FULL, kind: Kind::Kernel(what) }
}

/// All jobs, in the order in which they run.
pub const ENTRIES: &[Entry] = &[
    Entry { name: "host-sram", about: "copy host to SRAM on DMA0", amounts: SRAM_SIZES, kind: Kind::HostSram },
    Entry { name: "host-hbm", about: "copy host to HBM on DMA0", amounts: SIZES, kind: Kind::HostHbm },
    Entry { name: "sram-host", about: "copy SRAM to host on DMA1", amounts: SRAM_SIZES, kind: Kind::SramHost },
    Entry { name: "hbm-host", about: "copy HBM to host on DMA1", amounts: SIZES, kind: Kind::HbmHost },
    Entry {
        name: "hbm-hbm",
        about: "copy HBM to HBM on internal queue DMA2, ordered by sync objects; time contains the way to the host",
        amounts: SIZES,
        kind: Kind::HbmHbm,
    },
    Entry { name: "sram-hbm", about: "the same from SRAM to HBM", amounts: SRAM_SIZES, kind: Kind::SramHbm },
    Entry { name: "fill-hbm", about: "fill HBM with a value on DMA0", amounts: FILL_SIZES, kind: Kind::FillHbm },
    Entry {
        name: "latency",
        about: "small copies on DMA0, each waited for; the amount is their number",
        amounts: COUNTS,
        kind: Kind::Latency,
    },
    Entry {
        name: "small",
        about: "small copies on DMA0, as many in flight as the driver takes; the amount is their number",
        amounts: RING_COUNTS,
        kind: Kind::Small,
    },
    Entry { name: "streams", about: "the same over all eight external streams", amounts: COUNTS, kind: Kind::Streams },
    Entry {
        name: "full-queue",
        about: "fill a blocked queue until the driver refuses, then release it",
        amounts: FULL,
        kind: Kind::Full,
    },
    behaviour("threads", "64 threads submit small copies at once over all streams", &[2000], Behaviour::Threads),
    behaviour("long-buffer", "the largest command buffer, of messages, on DMA0", BUFFER_SIZES, Behaviour::LongExternal),
    behaviour(
        "long-lower",
        "a large lower buffer of copies on DMA2, from host memory and from HBM",
        LOWER_SIZES,
        Behaviour::LongInternal,
    ),
    behaviour(
        "stream-fence",
        "two streams of DMA0 that wait for each other at fences",
        &[500],
        Behaviour::FenceBetween,
    ),
    behaviour("ping-pong", "DMA2 and DMA3 hand data to each other by sync objects", &[400], Behaviour::PingPong),
    behaviour(
        "arbiter-priority",
        "the arbiter of DMA0 by priority, in all orders; the amount is the grants per stream",
        &[3],
        Behaviour::Priority,
    ),
    behaviour(
        "arbiter-same-buffer",
        "the same, set in the buffer that then takes it",
        &[3],
        Behaviour::PrioritySameBuffer,
    ),
    behaviour("arbiter-weight", "the arbiter of DMA0 by weight", &[4], Behaviour::Weight),
    behaviour(
        "arbiter-slaves",
        "an arbiter of DMA2 that DMA3 and DMA4 follow; the amount is the grants per stream",
        &[3],
        Behaviour::Slaves,
    ),
    behaviour("strided", "five-dimensional copies on DMA0 and DMA1 by registers", &[5], Behaviour::Strided),
    behaviour("bulk", "the same on DMA3 by bulk writes, every other one switched off", &[20], Behaviour::Bulk),
    behaviour("predicates", "messages under 31 predicate tables from all memories", FULL, Behaviour::Predicates),
    behaviour("scalars", "packets executed from scalars on DMA2", FULL, Behaviour::Scalars),
    behaviour("delays", "delays and time stamps on DMA4", FULL, Behaviour::Delays),
    behaviour(
        "signal-wait",
        "the driver's signal and wait submissions over all streams",
        &[200],
        Behaviour::SignalWait,
    ),
    behaviour("encapsulated", "reserved signals, sent and waited for in parts", FULL, Behaviour::Encapsulated),
    behaviour("staged", "submissions in three stages", &[10], Behaviour::Staged),
    behaviour("first-of", "waiting for the first of several submissions", FULL, Behaviour::FirstOfSeveral),
    behaviour("tpc-axpb", "y = a * x + b over eight TPCs; the amount is the floats", &[1 << 24], Behaviour::Axpb),
    behaviour("tpc-objects", "the ten kernels of the public compiler over 1, 3 and 8 TPCs", FULL, Behaviour::Objects),
    behaviour("tpc-kernels", "our own kernels over 1, 3 and 8 TPCs", FULL, Behaviour::OwnKernels),
    behaviour("tpc-launches", "kernels on eight TPCs, each round waited for", &[1000], Behaviour::Launches),
    behaviour("tpc-queued", "kernels in a row on each of eight TPCs", &[100], Behaviour::QueuedLaunches),
    behaviour("tpc-streams", "kernels in a row on each stream of eight TPCs", &[50], Behaviour::KernelStreams),
    Entry {
        name: "fault-page",
        about: "fault: DMA0 reads an address that is not mapped",
        amounts: FULL,
        kind: Kind::Fault(Fault::Page),
    },
    Entry {
        name: "fault-opcode",
        about: "fault: an internal queue meets an undefined packet, and an external job waits for it",
        amounts: FULL,
        kind: Kind::Fault(Fault::Opcode),
    },
    Entry {
        name: "fault-message",
        about: "fault: a message to an address where nothing is, then a wait for what nobody signals",
        amounts: FULL,
        kind: Kind::Fault(Fault::Message),
    },
    bad("fault-lower-opcode", "fault: the lower processor of DMA2 meets an undefined packet", Bad::Opcode),
    bad("fault-truncated", "fault: its buffer ends inside a packet", Bad::Truncated),
    bad("fault-lower-message", "fault: its message goes to nowhere", Bad::Message),
    bad("fault-fetch", "fault: its buffer is not mapped", Bad::Fetch),
    bad("fault-register", "fault: it writes a register outside the engine's window", Bad::Register),
    bad("fault-fence-under", "fault: it decreases a fence counter below 0", Bad::FenceUnder),
    bad("fault-fence-over", "fault: it raises a fence counter beyond its limit", Bad::FenceOver),
    bad("fault-table", "fault: its predicate table is not mapped", Bad::Table),
    bad("fault-stop", "fault: it meets a packet that stops it", Bad::Stop),
    kernel("fault-tpc-instruction", "fault: a kernel on TPC5 that is no instruction", KernelFault::Instruction),
    kernel("fault-tpc-load", "fault: it loads from an address that is not mapped", KernelFault::Load),
    kernel("fault-tpc-store", "fault: it stores to one", KernelFault::Store),
    kernel("fault-tpc-local", "fault: it reads beyond its local memory", KernelFault::Local),
    kernel("fault-tpc-jump", "fault: it jumps out of the address space", KernelFault::Jump),
    kernel("fault-tpc-reg-read", "fault: it reads a register that is not there", KernelFault::RegisterRead),
    kernel("fault-tpc-reg-write", "fault: it writes one", KernelFault::RegisterWrite),
];

/// A job and what to run it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The job.
    pub entry: &'static Entry,
    /// Bytes or submissions.
    pub amount: u64,
}

/// The requests that `NAME` or `NAME:AMOUNT` means.
///
/// # Errors
/// There is no such job, or the amount is not one.
pub fn parse(text: &str) -> Result<Vec<Request>, String> {
    let (name, amount) = match text.split_once(':') {
        Some((name, amount)) => (name, Some(amount)),
        None => (text, None),
    };
    let entry = ENTRIES
        .iter()
        .find(|entry| entry.name == name)
        .ok_or_else(|| format!("there is no job \"{name}\"; --list shows them"))?;
    match amount {
        None => Ok(entry.amounts.iter().map(|amount| Request { entry, amount: *amount }).collect()),
        Some(amount) => match amount.parse() {
            Ok(amount) if amount > 0 && amount <= 1 << 30 => Ok(vec![Request { entry, amount }]),
            _ => Err(format!("\"{amount}\" is not an amount from 1 to 2^30")),
        },
    }
}

/// The requests for several texts; when there is none, all jobs but faults.
///
/// # Errors
/// As [`parse`].
pub fn parse_all(texts: &[String]) -> Result<Vec<Request>, String> {
    let mut requests = Vec::new();
    if texts.is_empty() {
        for entry in ENTRIES.iter().filter(|entry| entry.is_default()) {
            requests.extend(parse(entry.name)?);
        }
    }
    for text in texts {
        requests.extend(parse(text)?);
    }
    Ok(requests)
}

impl Entry {
    /// True for a job that runs when none is named: not a fault.
    #[must_use]
    pub fn is_default(&self) -> bool {
        !self.is_fault()
    }

    /// True for a job that passes when the card is reset because of it: nothing can run behind it in the same process.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(self.kind, Kind::Fault(_) | Kind::Bad(_) | Kind::Kernel(_))
    }
}

/// Where and how often an amount is copied.
fn case(bytes: u64) -> Case {
    let aligned = bytes.is_multiple_of(64);
    let offset = |modulus: u64| if aligned { 0 } else { ((bytes % modulus) | 1) as usize };
    let repeat = match bytes {
        ..=0x1_0000 => 20,
        0x1_0001..=0x10_0000 => 5,
        _ => 2,
    };
    Case { bytes: bytes as usize, host_offset: offset(4093), device_offset: offset(1021), repeat }
}

impl Request {
    /// Bytes that one submission of this request moves.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self.entry.kind {
            Kind::Latency | Kind::Small | Kind::Streams | Kind::Full => SLOT as u64,
            Kind::Behaviour(Behaviour::Threads) => SLOT as u64,
            Kind::Behaviour(Behaviour::LongExternal | Behaviour::LongInternal) => self.amount,
            // Read and written.
            Kind::Behaviour(Behaviour::Axpb) => 8 * self.amount,
            Kind::Fault(_) | Kind::Bad(_) | Kind::Kernel(_) | Kind::Behaviour(_) => 0,
            _ => self.amount,
        }
    }

    /// Runs the job. The flag is true when the card's state is unknown afterwards.
    #[must_use]
    pub fn run(self, bench: &Bench<'_>, seed: u64) -> (Record, bool) {
        let (name, bytes) = (self.entry.name, self.bytes());
        match self.measure(bench, seed) {
            Ok((samples, total)) => (Record::passed(name, bytes, seed, &samples, total), self.entry.is_fault()),
            Err(error) => (Record::failed(name, bytes, seed, error.to_string()), error.is_fatal()),
        }
    }

    fn measure(self, bench: &Bench<'_>, seed: u64) -> Result<(Vec<Duration>, Option<Duration>), JobError> {
        let layout = bench.layout;
        let case = case(self.amount);
        let fits = |bytes: u64| {
            // The source of an internal copy lies one byte further on.
            let needed = (case.window() + case.device_offset + 1) as u64;
            if needed <= bytes {
                Ok(())
            } else {
                Err(JobError::Claim(format!("{needed} bytes do not fit into {bytes}")))
            }
        };
        let count = self.amount as usize;
        let many = |measured: Measured| (measured.samples, Some(measured.total));
        let single = |samples: Vec<Duration>| (samples, None);
        match self.entry.kind {
            Kind::HostSram | Kind::SramHost | Kind::SramHbm => fits(layout.sram_bytes)?,
            Kind::HostHbm | Kind::HbmHost | Kind::HbmHbm | Kind::FillHbm => fits(layout.hbm_bytes)?,
            Kind::Latency | Kind::Small | Kind::Streams | Kind::Full => {}
            Kind::Behaviour(_) | Kind::Fault(_) | Kind::Bad(_) | Kind::Kernel(_) => {}
        }
        Ok(match self.entry.kind {
            Kind::HostSram => single(copy::copy(bench, Direction::ToDevice, layout.sram, case, seed)?),
            Kind::HostHbm => single(copy::copy(bench, Direction::ToDevice, layout.hbm, case, seed)?),
            Kind::SramHost => single(copy::copy(bench, Direction::ToHost, layout.sram, case, seed)?),
            Kind::HbmHost => single(copy::copy(bench, Direction::ToHost, layout.hbm, case, seed)?),
            Kind::HbmHbm => single(internal::copy(bench, layout.hbm, layout.hbm_second, case, seed)?),
            Kind::SramHbm => single(internal::copy(bench, layout.sram, layout.hbm_second, case, seed)?),
            Kind::FillHbm => single(copy::fill(bench, layout.hbm, case, seed)?),
            Kind::Latency => many(many::one_by_one(bench, count, seed)?),
            Kind::Small => many(many::in_flight(bench, count, 1, seed)?),
            Kind::Streams => many(many::in_flight(bench, count, EXTERNAL_QUEUES, seed)?),
            Kind::Full => many(many::full_queue(bench, seed)?),
            Kind::Behaviour(behaviour) => many(behaviour.run(bench, count, seed)?),
            Kind::Kernel(fault) => single(vec![kernel_faults::provoke(bench, fault)?]),
            Kind::Bad(bad) => single(vec![bad_packets::provoke(bench, bad)?]),
            Kind::Fault(fault) => single(vec![faults::provoke(bench, fault)?]),
        })
    }
}

/// The seed of request number `index`: differs from job to job, so that data left by one is wrong for the next.
#[must_use]
pub const fn seed_of(base: u64, index: usize) -> u64 {
    base.wrapping_add((index as u64 + 1).wrapping_mul(0xD1B5_4A32_D192_ED03))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_all_its_sizes_and_a_size_only_itself() {
        assert_eq!(parse("host-hbm").unwrap().len(), SIZES.len());
        let [request] = parse("host-hbm:4097").unwrap()[..] else { panic!("one request") };
        assert_eq!((request.entry.name, request.amount, request.bytes()), ("host-hbm", 4097, 4097));
        let [request] = parse("small:20000").unwrap()[..] else { panic!("one request") };
        assert_eq!((request.amount, request.bytes()), (20_000, 64));
    }

    #[test]
    fn no_name_means_every_job_but_the_faults_and_what_is_run_by_name() {
        let all = parse_all(&[]).unwrap();
        assert!(ENTRIES.iter().all(|entry| entry.is_default() == all.iter().any(|request| request.entry == entry)));
        assert!(ENTRIES.iter().all(|entry| !(entry.is_default() && entry.is_fault())));
        assert_eq!(parse_all(&["latency".into(), "small:5".into()]).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_a_job_is_refused_in_words() {
        assert!(parse("host-moon").unwrap_err().contains("--list"));
        for text in ["host-hbm:", "host-hbm:0", "host-hbm:-1", "host-hbm:1k", "small:99999999999"] {
            assert!(parse(text).unwrap_err().contains("is not an amount"), "{text}");
        }
    }

    #[test]
    fn odd_sizes_are_copied_between_unaligned_addresses() {
        assert_eq!((case(4096).host_offset, case(4096).device_offset), (0, 0));
        for bytes in [1, 3, 4095, 65_539, (1 << 20) + 13] {
            assert!(case(bytes).host_offset % 2 == 1 && case(bytes).device_offset % 2 == 1, "{bytes}");
        }
        assert_ne!(seed_of(1, 0), seed_of(1, 1));
    }

    #[test]
    fn names_are_unique() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert!(ENTRIES.iter().skip(index + 1).all(|other| other.name != entry.name));
        }
    }
}
