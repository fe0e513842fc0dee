//! Bundles per second of the simulator: `cargo bench -p coxswain-kernels`. Reported, never asserted.
//!
//! "per core" counts the time that a thread had a processor, so that other work on the machine does not show; "2 cores" is what two
//! threads together reach by the clock on the wall.

// A program for developers: a kernel that is not there is a panic.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use coxswain_kernels::cases::{Case, Numbers, built, compiled};
use coxswain_kernels::dispatch::CODE_ALIGNMENT;
use rustix::time::{ClockId, clock_gettime};

use coxswain_tpc::{FlatMemory, Launch, Memory, Outcome, Tpc};

/// How long a figure is measured.
const TIME: Duration = Duration::from_millis(700);
/// Elements of dimension 0: enough that the begin of a kernel does not count.
const ELEMENTS: u32 = 1 << 20;

/// A kernel ready to run, as often as wanted.
struct Ready {
    memory: FlatMemory,
    launch: Launch,
}

impl Ready {
    fn new(case: &Case) -> Self {
        let mut at = case.kernel.code().len().next_multiple_of(CODE_ALIGNMENT as usize);
        let mut addresses = Vec::new();
        let tensors: Vec<_> = case.inputs.iter().chain([&case.output]).collect();
        for data in &tensors {
            addresses.push(at as u64);
            at += data.bytes.len().next_multiple_of(256);
        }
        let mut memory = FlatMemory::new(0, at);
        memory.write(0, case.kernel.code()).unwrap();
        for (data, address) in tensors.iter().zip(&addresses) {
            memory.write(*address, &data.bytes).unwrap();
        }
        let launch = case.dispatch(&addresses, 0, &[0]).unwrap().parts(0, None).unwrap().remove(0).launch;
        Self { memory, launch }
    }

    /// Bundles per second of processor time, and by the clock on the wall.
    fn run(mut self) -> [f64; 2] {
        let mut tpc = Tpc::new();
        let (begun, processor) = (Instant::now(), processor_seconds());
        let mut bundles = 0;
        while begun.elapsed() < TIME {
            tpc.start(&self.launch);
            assert_eq!(tpc.run(&mut self.memory, u64::MAX), Outcome::Halted);
            bundles += tpc.retired();
        }
        let bundles = bundles as f64;
        [bundles / (processor_seconds() - processor), bundles / begun.elapsed().as_secs_f64()]
    }
}

/// Time that this thread had a processor.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() {
    let mut numbers = Numbers::new(1);
    let dense = built::Layout::Dense;
    let mut cases = vec![
        compiled::axpb_f32(&mut numbers, &[ELEMENTS, 1]).unwrap(),
        built::relu_f32(&mut numbers, dense, &[ELEMENTS]),
        built::div_f32(&mut numbers, dense, &[ELEMENTS]),
        built::add_f32(&mut numbers, dense, &[ELEMENTS]),
        built::copy_5d_f32(&mut numbers, built::Layout::Scattered, &[ELEMENTS]),
        built::cast_bf16_f32(&mut numbers, dense, &[ELEMENTS]),
        built::softmax_f32(&mut numbers, dense, &[1 << 12, 1 << 7]),
    ];
    cases.extend(compiled::all(1).unwrap().into_iter().filter(|case| case.kernel.name() == "recip_newton_f32"));
    println!("{:<20} {:>16} {:>16}", "million bundles/s", "per core", "2 cores");
    for case in &cases {
        let [one, _] = Ready::new(case).run();
        let two: f64 = std::thread::scope(|scope| {
            let both = [0, 1].map(|_| scope.spawn(|| Ready::new(case).run()));
            both.into_iter().map(|thread| thread.join().unwrap()[1]).sum()
        });
        println!("{:<20} {:>16.1} {:>16.1}", case.kernel.name(), one / 1e6, two / 1e6);
    }
}
