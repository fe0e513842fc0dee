//! Bundles per second of the simulator, on one core and on two: `cargo bench -p coxswain-kernels`. Reported, never asserted.

// A program for developers: a kernel that is not there is a panic.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use coxswain_kernels::cases::{Case, Numbers, built, compiled};
use coxswain_kernels::dispatch::CODE_ALIGNMENT;
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

    /// Bundles executed in the time.
    fn run(mut self) -> f64 {
        let mut tpc = Tpc::new();
        let begun = Instant::now();
        let mut bundles = 0;
        while begun.elapsed() < TIME {
            tpc.start(&self.launch);
            assert_eq!(tpc.run(&mut self.memory, u64::MAX), Outcome::Halted);
            bundles += tpc.retired();
        }
        bundles as f64 / begun.elapsed().as_secs_f64()
    }
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
    println!("{:<20} {:>16} {:>16}", "million bundles/s", "1 core", "2 cores");
    for case in &cases {
        let one = Ready::new(case).run();
        let two: f64 = std::thread::scope(|scope| {
            let both = [0, 1].map(|_| scope.spawn(|| Ready::new(case).run()));
            both.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        println!("{:<20} {:>16.1} {:>16.1}", case.kernel.name(), one / 1e6, two / 1e6);
    }
}
