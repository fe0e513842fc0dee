//! A host for the interpreter alone: rings, doorbells, and the card's part of fence increments by message.

use std::collections::BTreeMap;

use coxswain_abi::regs::qman as regs;
use coxswain_reference::differential::configure;
use coxswain_reference::machine::{Data, Description, Machine, Waiting};
use coxswain_reference::scenario::Setup;

/// Interpreter and host.
pub struct Bench {
    pub machine: Machine,
    producers: BTreeMap<(usize, usize), u32>,
    next: u64,
}

impl Bench {
    /// These QMANs, configured and enabled as the driver does, with engines that hold two jobs.
    pub fn new(numbers: &[usize]) -> Self {
        Self::with_stop_on_error(numbers, true)
    }

    pub fn with_stop_on_error(numbers: &[usize], stop_on_error: bool) -> Self {
        let descriptions: Vec<_> =
            numbers.iter().map(|number| Description { number: *number, engine_depth: 2 }).collect();
        let mut bench = Self { machine: Machine::new(&descriptions), producers: BTreeMap::new(), next: 0x2000_0000 };
        let setups: Vec<_> = numbers
            .iter()
            .map(|number| Setup { number: *number, stop_on_error, engine_depth: 2, ring_log2: 3 })
            .collect();
        for (identity, setup) in (0..).zip(&setups) {
            for (offset, value) in configure::registers(setup, identity, &setups) {
                bench.machine.set_register(setup.number, offset, value);
            }
            for stream in 0..4 {
                bench.machine.memory.put(configure::ring(setup.number, stream), vec![0; 128]);
            }
            bench.machine.write_register(setup.number, regs::GLBL_CFG0, configure::enables(setup, 0xF));
        }
        bench
    }

    /// Stores bytes; their address.
    pub fn store(&mut self, bytes: Vec<u8>) -> u64 {
        let address = self.next;
        self.next += 0x10_0000;
        self.machine.memory.put(address, bytes);
        address
    }

    /// Submits dwords to a stream and lets everything go on until it rests.
    pub fn submit(&mut self, number: usize, stream: usize, dwords: &[u32]) {
        let bytes: Vec<u8> = dwords.iter().flat_map(|dword| dword.to_le_bytes()).collect();
        let size = bytes.len() as u32;
        let address = self.store(bytes);
        self.submit_buffer(number, stream, address, size);
        self.rest();
    }

    /// Queues a buffer and rings, nothing more.
    pub fn submit_buffer(&mut self, number: usize, stream: usize, address: u64, size: u32) {
        let producer = self.producers.entry((number, stream)).or_insert(0);
        let slot = configure::ring(number, stream) + 16 * u64::from(*producer % 8);
        *producer = (*producer + 1) % 16;
        let entry = [address.to_le_bytes(), u64::from(size).to_le_bytes()].concat();
        self.machine.memory.write(slot, &entry);
        self.machine.write_register(number, regs::PQ_PI_0 + 4 * stream as u32, *producer);
    }

    /// Until everything waits.
    pub fn rest(&mut self) {
        self.machine.run_to_rest(&mut |_| 0);
    }

    /// Adds to a fence counter and goes on.
    pub fn fence(&mut self, number: usize, stream: usize, id: u32, increment: u32) {
        let offset = regs::CP_FENCE0_RDATA_0 + regs::FENCE_STRIDE * id + 4 * stream as u32;
        self.machine.write_register(number, offset, increment);
        self.rest();
    }

    /// A job completes; goes on.
    pub fn complete(&mut self, number: usize) {
        self.machine.engine_done(number);
        self.rest();
    }

    /// Takes the bus writes as address and value; a time stamp is `None`.
    pub fn writes(&mut self) -> Vec<(u64, Option<u32>)> {
        let value = |data| match data {
            Data::Value(value) => Some(value),
            Data::Time => None,
        };
        self.machine.take_writes().into_iter().map(|write| (write.address, value(write.data))).collect()
    }

    /// Takes the values of the bus writes.
    pub fn values(&mut self) -> Vec<u32> {
        self.writes().into_iter().filter_map(|(_, value)| value).collect()
    }

    pub fn waiting(&self, number: usize, stream: usize) -> Option<Waiting> {
        self.machine.waiting(number, stream)
    }

    pub fn status(&self, number: usize, offset: u32) -> u32 {
        self.machine.status(number).get(&offset).copied().expect("a status register")
    }
}
