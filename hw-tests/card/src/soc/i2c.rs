//! The I2C controller of the board-management bus (`coxswain_abi::regs::i2c`).
//!
//! For: byte-wise transfers with the parts of [`super::board`]. Owns: the transfer under way and what it received. Never:
//! knows what a part measures. A byte is transferred when its command is written; on a bus that is held nothing is, and the
//! transfer stays under way until it is given up.

use coxswain_abi::regs::i2c as regs;

use super::board::Board;
use super::register_file::RegisterFile;

/// The controller. Used under the bus lock.
#[derive(Debug, Default)]
pub(super) struct Controller {
    enabled: bool,
    target: u8,
    /// A START was sent and no STOP since: the part that is addressed, and whether it is read.
    addressed: Option<(u8, bool)>,
    /// A transfer has begun and not ended.
    active: bool,
    interrupts: u32,
    abort_source: u32,
    received: Vec<u8>,
}

impl Controller {
    /// A bus write inside the block.
    pub fn write(&mut self, offset: u32, value: u32, board: &mut Board, registers: &RegisterFile) {
        match offset {
            regs::TAR => self.target = (value & 0x7F) as u8,
            regs::DATA_CMD => self.command(value, board),
            regs::CLR_INTR => {
                self.interrupts = 0;
                self.abort_source = 0;
                self.received.clear();
            }
            regs::ENABLE => {
                if value & regs::ENABLE_ABORT != 0 && self.active {
                    self.abort(regs::ABRT_USER);
                }
                self.enabled = value & 1 != 0;
                if !self.enabled {
                    self.end();
                }
            }
            _ => {}
        }
        self.show(registers);
    }

    fn command(&mut self, command: u32, board: &mut Board) {
        // After an abort the rest of the transfer is dropped until software has seen it.
        if !self.enabled || self.interrupts & regs::TX_ABRT != 0 {
            return;
        }
        self.active = true;
        if board.world.stuck {
            return;
        }
        let read = command & regs::DATA_READ != 0;
        let restart = command & regs::DATA_RESTART != 0 || self.addressed.is_none_or(|(_, before)| before != read);
        let address = match self.addressed {
            Some((address, _)) if !restart => address,
            _ => self.target,
        };
        let Some((part, world)) = board.part(address) else { return self.abort(regs::ABRT_ADDRESS) };
        let index = usize::from(address & 1);
        if restart {
            part.start(read);
            self.addressed = Some((address, read));
        }
        if read {
            if self.received.len() < regs::RX_BYTES {
                self.received.push(part.read(index, world));
            }
        } else if !part.write(index, command as u8, world) {
            return self.abort(regs::ABRT_DATA);
        }
        if command & regs::DATA_STOP != 0 {
            self.interrupts |= regs::STOP_DET;
            self.end();
        }
    }

    fn abort(&mut self, source: u32) {
        self.abort_source |= source;
        self.interrupts |= regs::TX_ABRT;
        self.end();
    }

    fn end(&mut self) {
        self.active = false;
        self.addressed = None;
    }

    /// Publishes the registers, as after every reset.
    pub fn show(&self, registers: &RegisterFile) {
        registers.write(regs::TAR, self.target.into());
        registers.write(regs::ENABLE, self.enabled.into());
        registers.write(regs::STATUS, if self.active { regs::ACTIVITY } else { 0 });
        registers.write(regs::RAW_INTR_STAT, self.interrupts);
        registers.write(regs::TX_ABRT_SOURCE, self.abort_source);
        registers.write(regs::RXFLR, self.received.len() as u32);
        for (offset, byte) in (regs::RX_WINDOW..).step_by(4).zip(&self.received) {
            registers.write(offset, (*byte).into());
        }
    }
}

/// True for a register of the block.
pub(super) fn contains(offset: u32) -> bool {
    (regs::BASE..regs::BASE + regs::SIZE).contains(&offset)
}
