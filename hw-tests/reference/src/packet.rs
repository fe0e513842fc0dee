//! Packets as `qman.md` 5.1 lays them out: bytes to fields, fields to bytes, and a line of text for each.
//!
//! Written from the document for this crate alone. Decoding is total: every 8 bytes at the start of a packet are a packet or an
//! undefined command; only a buffer that ends inside a packet has no answer ([`Decoded::Truncated`]).

use std::fmt;

/// The three barrier bits of a control word (`qman.md` 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Barriers {
    /// EB: the engine is idle.
    pub engine: bool,
    /// RB: register writes are accepted.
    pub register: bool,
    /// MB: messages are answered.
    pub message: bool,
}

impl Barriers {
    fn from_control(control: u32) -> Self {
        Self { engine: control >> 29 & 1 == 1, register: control >> 30 & 1 == 1, message: control >> 31 & 1 == 1 }
    }

    fn to_control(self) -> u32 {
        u32::from(self.engine) << 29 | u32::from(self.register) << 30 | u32::from(self.message) << 31
    }
}

/// What a packet asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// WREG_32: `value` to the engine window at `offset`.
    WriteRegister {
        /// Byte offset in the 64 KiB window.
        offset: u16,
        /// The value.
        value: u32,
    },
    /// WREG_BULK: consecutive registers from `offset` on, low half of each value first.
    WriteBulk {
        /// Byte offset in the 64 KiB window.
        offset: u16,
        /// 64-bit values, at most 65535.
        values: Vec<u64>,
    },
    /// MSG_LONG, or MSG_PROT when `protected`.
    MessageLong {
        /// MSG_PROT.
        protected: bool,
        /// Device address.
        address: u64,
        /// The value.
        value: u32,
        /// 0 = the value, 1 = the device's time; 2 and 3 mean nothing.
        operation: u8,
    },
    /// MSG_SHORT: to a message base plus `offset`.
    MessageShort {
        /// Base 0..=3.
        base: u8,
        /// Byte offset.
        offset: u16,
        /// The value.
        value: u32,
        /// As in [`Action::MessageLong`].
        operation: u8,
    },
    /// CP_DMA: a buffer for the lower CP.
    CpDma {
        /// Device address of the buffer.
        source: u64,
        /// Its bytes.
        size: u32,
    },
    /// FENCE.
    Fence {
        /// Counter 0..=3.
        id: u8,
        /// The packet waits until the counter has this value.
        target: u8,
        /// Then this is subtracted, 0..=15.
        decrement: u8,
    },
    /// LIN_DMA.
    LinDma {
        /// Source address, or the pattern of a fill.
        source: u64,
        /// Destination as it stands in the packet, context number included.
        destination: u64,
        /// Bytes.
        size: u32,
        /// Control bits \[23:0\]; see `qman.md` 5.1.
        control: u32,
    },
    /// NOP.
    Nop,
    /// STOP.
    Stop,
    /// ARB_POINT.
    ArbPoint {
        /// 0..=255.
        priority: u8,
        /// A release; else a request.
        release: bool,
    },
    /// WAIT: a fence increment after a number of cycles.
    Wait {
        /// Counter 0..=3.
        id: u8,
        /// Increment 0..=15.
        increment: u8,
        /// Cycles of a 1 GHz clock, 24 bits.
        cycles: u32,
    },
    /// LOAD_AND_EXE.
    LoadAndExe {
        /// Into the scalars; else into the predicates.
        scalars: bool,
        /// Load from `source`.
        load: bool,
        /// Execute the packet in the scalars.
        execute: bool,
        /// That packet begins at R2; else at R0.
        second: bool,
        /// Device address.
        source: u64,
    },
    /// Anything else, REPEAT included (`qman.md` 10 #1): 8 bytes without a meaning.
    Undefined {
        /// Dword 0.
        value: u32,
        /// The control word without opcode and barriers.
        control: u32,
        /// The opcode.
        opcode: u8,
    },
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Barriers, which every packet has.
    pub barriers: Barriers,
    /// Predicate number 0..=31; 0 for packets that have none.
    pub predicate: u8,
    /// What it does.
    pub action: Action,
}

/// Result of [`Packet::decode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A packet and its length in bytes.
    Packet(Packet, u32),
    /// The bytes end inside the packet.
    Truncated,
}

/// Length in bytes of the packet that begins with these two dwords.
#[must_use]
pub fn length(value: u32, control: u32) -> u32 {
    match control >> 24 & 0x1F {
        0x02 => 8 + 8 * (value & 0xFFFF),
        0x03 | 0x05 | 0x07 | 0x0F => 16,
        0x09 => 24,
        _ => 8,
    }
}

fn has_predicate(opcode: u32) -> bool {
    // All but NOP, STOP, MSG_SHORT, LIN_DMA, WAIT; an undefined command has no fields.
    matches!(opcode, 0x01 | 0x02 | 0x03 | 0x05 | 0x07 | 0x08 | 0x0C | 0x0F)
}

fn dword(bytes: &[u8], index: usize) -> Option<u32> {
    let slice = bytes.get(4 * index..4 * index + 4)?;
    Some(slice.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

fn qword(bytes: &[u8], index: usize) -> Option<u64> {
    Some(u64::from(dword(bytes, index)?) | u64::from(dword(bytes, index + 1)?) << 32)
}

impl Packet {
    /// A packet without predicate.
    #[must_use]
    pub fn new(action: Action, barriers: Barriers) -> Self {
        Self { barriers, predicate: 0, action }
    }

    /// Decodes the packet at the start of `bytes`.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Decoded {
        Self::decode_fields(bytes).unwrap_or(Decoded::Truncated)
    }

    fn decode_fields(bytes: &[u8]) -> Option<Decoded> {
        let (value, control) = (dword(bytes, 0)?, dword(bytes, 1)?);
        let length = length(value, control);
        if (bytes.len() as u64) < u64::from(length) {
            return None;
        }
        let opcode = control >> 24 & 0x1F;
        let operation = (control >> 20 & 3) as u8;
        let offset = (control >> 8) as u16;
        let action = match opcode {
            0x01 => Action::WriteRegister { offset, value },
            0x02 => {
                let count = (value & 0xFFFF) as usize;
                let values = (0..count).map(|index| qword(bytes, 2 + 2 * index)).collect::<Option<_>>()?;
                Action::WriteBulk { offset, values }
            }
            0x03 | 0x07 => {
                Action::MessageLong { protected: opcode == 0x07, address: qword(bytes, 2)?, value, operation }
            }
            0x04 => Action::MessageShort { base: (control >> 22 & 3) as u8, offset: control as u16, value, operation },
            0x05 => Action::CpDma { source: qword(bytes, 2)?, size: value },
            0x08 => {
                Action::Fence { id: (value >> 30) as u8, target: (value >> 16) as u8, decrement: (value & 0xF) as u8 }
            }
            0x09 => Action::LinDma {
                source: qword(bytes, 2)?,
                destination: qword(bytes, 4)?,
                size: value,
                control: control & 0x00FF_FFFF,
            },
            0x0A => Action::Nop,
            0x0B => Action::Stop,
            0x0C => Action::ArbPoint { priority: value as u8, release: value >> 31 == 1 },
            0x0D => Action::Wait {
                id: (value >> 28 & 3) as u8,
                increment: (value >> 24 & 0xF) as u8,
                cycles: value & 0x00FF_FFFF,
            },
            0x0F => Action::LoadAndExe {
                scalars: value & 1 == 1,
                load: value >> 8 & 1 == 1,
                execute: value >> 9 & 1 == 1,
                second: value >> 10 & 1 == 1,
                source: qword(bytes, 2)?,
            },
            _ => Action::Undefined { value, control: control & 0x00FF_FFFF, opcode: opcode as u8 },
        };
        let predicate = if has_predicate(opcode) { (control & 0x1F) as u8 } else { 0 };
        Some(Decoded::Packet(Self { barriers: Barriers::from_control(control), predicate, action }, length))
    }

    /// The packet's bytes. Fields beyond their width are cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut words: Vec<u32> = vec![0, 0];
        let mut quads: Vec<u64> = vec![];
        let bits = |flag: bool, position: u32| u32::from(flag) << position;
        let (opcode, value, mut control) = match &self.action {
            Action::WriteRegister { offset, value } => (0x01, *value, u32::from(*offset) << 8),
            Action::WriteBulk { offset, values } => {
                quads.extend(values);
                (0x02, values.len() as u32 & 0xFFFF, u32::from(*offset) << 8)
            }
            Action::MessageLong { protected, address, value, operation } => {
                quads.push(*address);
                (if *protected { 0x07 } else { 0x03 }, *value, u32::from(*operation & 3) << 20)
            }
            Action::MessageShort { base, offset, value, operation } => {
                let control = u32::from(*base & 3) << 22 | u32::from(*operation & 3) << 20 | u32::from(*offset);
                (0x04, *value, control)
            }
            Action::CpDma { source, size } => {
                quads.push(*source);
                (0x05, *size, 0)
            }
            Action::Fence { id, target, decrement } => {
                (0x08, u32::from(*id & 3) << 30 | u32::from(*target) << 16 | u32::from(*decrement & 0xF), 0)
            }
            Action::LinDma { source, destination, size, control } => {
                quads.extend([*source, *destination]);
                (0x09, *size, *control & 0x00FF_FFFF)
            }
            Action::Nop => (0x0A, 0, 0),
            Action::Stop => (0x0B, 0, 0),
            Action::ArbPoint { priority, release } => (0x0C, u32::from(*priority) | bits(*release, 31), 0),
            Action::Wait { id, increment, cycles } => {
                let value = u32::from(*id & 3) << 28 | u32::from(*increment & 0xF) << 24 | cycles & 0x00FF_FFFF;
                (0x0D, value, 0)
            }
            Action::LoadAndExe { scalars, load, execute, second, source } => {
                quads.push(*source);
                (0x0F, bits(*scalars, 0) | bits(*load, 8) | bits(*execute, 9) | bits(*second, 10), 0)
            }
            Action::Undefined { value, control, opcode } => (u32::from(*opcode & 0x1F), *value, *control & 0x00FF_FFFF),
        };
        control |= opcode << 24 | self.barriers.to_control();
        if has_predicate(opcode) {
            control |= u32::from(self.predicate & 0x1F);
        }
        words[0] = value;
        words[1] = control;
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(quads.iter().flat_map(|quad| quad.to_le_bytes()));
        bytes
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::WriteRegister { offset, value } => write!(f, "WREG_32 [{offset:#06x}] = {value:#x}")?,
            Action::WriteBulk { offset, values } => {
                write!(f, "WREG_BULK [{offset:#06x}..] = {} values", values.len())?;
            }
            Action::MessageLong { protected, address, value, operation } => {
                let name = if *protected { "MSG_PROT" } else { "MSG_LONG" };
                write!(f, "{name} [{address:#x}] = {value:#x}{}", operation_text(*operation))?;
            }
            Action::MessageShort { base, offset, value, operation } => {
                write!(f, "MSG_SHORT [base{base} + {offset:#x}] = {value:#x}{}", operation_text(*operation))?;
            }
            Action::CpDma { source, size } => write!(f, "CP_DMA {size:#x} bytes at {source:#x}")?,
            Action::Fence { id, target, decrement } => write!(f, "FENCE {id} target {target} decrement {decrement}")?,
            Action::LinDma { source, destination, size, control } => {
                write!(f, "LIN_DMA {size:#x} bytes {source:#x} -> {destination:#x} control {control:#x}")?;
            }
            Action::Nop => write!(f, "NOP")?,
            Action::Stop => write!(f, "STOP")?,
            Action::ArbPoint { release: true, .. } => write!(f, "ARB_POINT release")?,
            Action::ArbPoint { priority, .. } => write!(f, "ARB_POINT request {priority}")?,
            Action::Wait { id, increment, cycles } => write!(f, "WAIT {cycles} cycles fence {id} += {increment}")?,
            Action::LoadAndExe { scalars, load, execute, second, source } => {
                write!(f, "LOAD_AND_EXE")?;
                if *load {
                    write!(f, " load {} from {source:#x}", if *scalars { "scalars" } else { "predicates" })?;
                }
                if *execute {
                    write!(f, " execute R{}", if *second { 2 } else { 0 })?;
                }
            }
            Action::Undefined { value, control, opcode } => {
                write!(f, "UNDEFINED opcode {opcode:#x} value {value:#x} control {control:#x}")?;
            }
        }
        for (set, name) in [(self.barriers.engine, "EB"), (self.barriers.register, "RB"), (self.barriers.message, "MB")]
        {
            if set {
                write!(f, " {name}")?;
            }
        }
        if self.predicate != 0 {
            write!(f, " if P{}", self.predicate)?;
        }
        Ok(())
    }
}

fn operation_text(operation: u8) -> &'static str {
    match operation {
        0 => "",
        1 => " (time)",
        _ => " (bad operation)",
    }
}
