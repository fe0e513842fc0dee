//! The bus driver of the board-management I2C controller, for the part drivers that are written against `embedded-hal`.
//!
//! It owns the way to the controller for the length of one request and waits for each transfer. A transfer on a working bus
//! is over when its posted writes have been carried out; one that is not over within [`PATIENCE_US`] is given up, and the
//! [`Health`] of the bus keeps the next callers from waiting for it again for a while. Nothing here waits without end.

use coxswain_abi::regs::i2c as regs;
use coxswain_core::cpucp::telemetry::Access;
use coxswain_core::ports::{Clock, PostedWrites, Registers};
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

/// Microseconds until a transfer is given up.
pub const PATIENCE_US: u64 = 5_000;
/// Microseconds for which a bus that did not move is left alone.
pub const REST_US: u64 = 1_000_000;
/// Posted writes of a transfer beside its bytes.
const OVERHEAD: usize = 4;
/// Longest part of a transfer: what is posted before the driver looks whether it was carried out.
const CHUNK: usize = 64;

/// What is known about the bus from one request to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Clock value until which the bus is left alone.
    rest_until: Option<u64>,
    /// Transfers given up because the bus did not move.
    pub stuck: u32,
    /// Transfers that a part did not acknowledge.
    pub refused: u32,
}

/// Why a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusError {
    /// Nobody acknowledged the address.
    Address,
    /// A byte was not acknowledged.
    Data,
    /// The bus does not move, or did not a short while ago.
    Stuck,
    /// The posted-write ring has no room: the card does not take writes.
    NoRoom,
    /// More bytes than the controller can receive in one transfer.
    TooLong,
}

impl embedded_hal::i2c::Error for BusError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Address => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            Self::Data => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data),
            Self::Stuck => ErrorKind::Bus,
            Self::NoRoom | Self::TooLong => ErrorKind::Other,
        }
    }
}

/// The bus, for one request.
pub struct Bus<'a, 'b, R, P, C> {
    access: &'a mut Access<'b, R, P>,
    clock: &'a C,
    health: &'a mut Health,
}

impl<'a, 'b, R: Registers, P: PostedWrites, C: Clock> Bus<'a, 'b, R, P, C> {
    /// The bus behind `access`.
    pub fn new(access: &'a mut Access<'b, R, P>, clock: &'a C, health: &'a mut Health) -> Self {
        Self { access, clock, health }
    }

    fn post(&mut self, offset: u32, value: u32) {
        self.access.posts.post_register(offset, value);
    }

    /// Makes sure that `writes` can be posted.
    fn room(&mut self, writes: usize) -> Result<(), BusError> {
        let end = self.clock.now_us().saturating_add(PATIENCE_US);
        while self.access.posts.available() < writes {
            self.access.posts.flush();
            if self.clock.now_us() >= end {
                return Err(BusError::NoRoom);
            }
        }
        Ok(())
    }

    /// Waits until what was posted has been carried out as far as `is_done` says.
    fn wait(&mut self, is_done: impl Fn(&R) -> bool) -> Result<(), BusError> {
        self.access.posts.flush();
        let end = self.clock.now_us().saturating_add(PATIENCE_US);
        loop {
            let aborted = self.access.registers.read(regs::RAW_INTR_STAT) & regs::TX_ABRT != 0;
            if aborted {
                self.health.refused = self.health.refused.saturating_add(1);
                let source = self.access.registers.read(regs::TX_ABRT_SOURCE);
                return Err(if source & regs::ABRT_ADDRESS != 0 { BusError::Address } else { BusError::Data });
            }
            if is_done(self.access.registers) {
                return Ok(());
            }
            if self.clock.now_us() >= end {
                self.give_up();
                return Err(BusError::Stuck);
            }
        }
    }

    /// Gives the transfer up and leaves the bus alone for a while.
    fn give_up(&mut self) {
        self.health.stuck = self.health.stuck.saturating_add(1);
        self.health.rest_until = Some(self.clock.now_us().saturating_add(REST_US));
        if self.access.posts.available() >= 2 {
            self.post(regs::ENABLE, regs::ENABLE_ABORT);
            self.access.posts.flush();
        }
    }

    /// Carries the operations out as one transfer: START, a repeated START at every change of direction, STOP.
    fn transfer(&mut self, address: u8, operations: &mut [Operation]) -> Result<(), BusError> {
        let length = |operation: &Operation| match operation {
            Operation::Read(bytes) => bytes.len(),
            Operation::Write(bytes) => bytes.len(),
        };
        let total: usize = operations.iter().map(length).sum();
        let reads = operations.iter().filter(|operation| matches!(operation, Operation::Read(_)));
        let received: usize = reads.map(length).sum();
        if total == 0 {
            return Ok(());
        }
        if received > regs::RX_BYTES {
            return Err(BusError::TooLong);
        }
        self.room(OVERHEAD)?;
        self.post(regs::ENABLE, 0);
        self.post(regs::CLR_INTR, 0);
        self.post(regs::TAR, address.into());
        self.post(regs::ENABLE, 1);
        // The answer of an earlier transfer must be gone before this one is watched.
        self.wait(|registers| registers.read(regs::ENABLE) & 1 != 0 && registers.read(regs::RAW_INTR_STAT) == 0)?;
        let mut sent = 0_usize;
        let mut direction = None;
        for operation in operations.iter_mut() {
            let is_read = matches!(operation, Operation::Read(_));
            for index in 0..length(operation) {
                if sent.is_multiple_of(CHUNK) {
                    self.room(CHUNK)?;
                }
                sent = sent.saturating_add(1);
                let mut command = match operation {
                    Operation::Read(_) => regs::DATA_READ,
                    Operation::Write(bytes) => bytes.get(index).copied().unwrap_or(0).into(),
                };
                if direction.is_some_and(|before| before != is_read) {
                    command |= regs::DATA_RESTART;
                }
                direction = Some(is_read);
                if sent == total {
                    command |= regs::DATA_STOP;
                }
                self.post(regs::DATA_CMD, command);
            }
        }
        self.wait(|registers| registers.read(regs::RAW_INTR_STAT) & regs::STOP_DET != 0)?;
        if (self.access.registers.read(regs::RXFLR) as usize) < received {
            return Err(BusError::Data);
        }
        let mut window = (regs::RX_WINDOW..).step_by(4);
        for operation in operations {
            if let Operation::Read(bytes) = operation {
                for (byte, offset) in bytes.iter_mut().zip(window.by_ref()) {
                    *byte = self.access.registers.read(offset) as u8;
                }
            }
        }
        Ok(())
    }
}

impl<R, P, C> ErrorType for Bus<'_, '_, R, P, C> {
    type Error = BusError;
}

impl<R: Registers, P: PostedWrites, C: Clock> I2c for Bus<'_, '_, R, P, C> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        match self.health.rest_until {
            Some(until) if self.clock.now_us() < until => return Err(BusError::Stuck),
            _ => self.health.rest_until = None,
        }
        self.transfer(address, operations)
    }
}
