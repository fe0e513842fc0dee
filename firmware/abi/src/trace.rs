//! The trace: what queue managers did and when, in reserved HBM, written by firmware and read by tools.
//!
//! One ring per core, [`STRIDE`] bytes apart from [`BASE`], which is above what the driver uses of its reserved part and
//! below what a reset of the card clears. A ring has a header of [`HEADER`] bytes and [`CAPACITY`] records of 16 bytes; a full
//! ring goes on at its start. Firmware writes it only when the board is strapped for it
//! ([`crate::soc::straps::TRACE`]).

/// Device address of core 0's ring.
pub const BASE: u64 = crate::regs::HBM_BASE + 0x0800_0000;
/// Distance between two cores' rings.
pub const STRIDE: u64 = 0x0100_0000;
/// Bytes of the header.
pub const HEADER: u64 = 64;
/// Records of a ring.
pub const CAPACITY: u64 = (STRIDE - HEADER) / 16;
/// Value of [`MAGIC`]: "CXTR".
pub const MAGIC_VALUE: u32 = 0x5254_5843;

/// u32 in the header: [`MAGIC_VALUE`], written last.
pub const MAGIC: u64 = 0x00;
/// u64 in the header: records written since the start; record `n` lies in slot `n % CAPACITY`.
pub const WRITTEN: u64 = 0x08;
/// u64 in the header: ticks of the time stamps in a second.
pub const FREQUENCY: u64 = 0x10;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A doorbell rang.
    Doorbell {
        /// QMAN number.
        qman: u8,
        /// Upper stream.
        stream: u8,
    },
    /// A stream got its turn.
    Begin {
        /// QMAN number.
        qman: u8,
        /// Stream 0..=4.
        stream: u8,
    },
    /// Its turn ended.
    End {
        /// QMAN number.
        qman: u8,
        /// Stream 0..=4.
        stream: u8,
        /// Why.
        state: State,
    },
    /// The jobs that an engine holds, after a turn that has started some or a completion.
    Jobs {
        /// QMAN number.
        qman: u8,
        /// Jobs.
        count: u16,
    },
    /// A fence counter was incremented.
    Fence {
        /// QMAN number.
        qman: u8,
        /// Stream 0..=4.
        stream: u8,
        /// Counter 0..=3.
        id: u8,
        /// Increment.
        increment: u8,
    },
    /// The core was woken by an interrupt.
    Wake,
    /// The core goes to sleep.
    Sleep,
}

/// What a stream does after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing to do.
    Idle,
    /// It had its share and can go on.
    Ready,
    /// Waits until counter `id` is `target`.
    Fence {
        /// Counter 0..=3.
        id: u8,
        /// Value.
        target: u8,
    },
    /// Waits for room in the engine.
    Engine,
    /// An engine barrier.
    Barrier,
    /// A request to the arbiter: earlier messages are on their way.
    Message,
    /// Waits for room in the lower CP's queue.
    LowerQueue,
    /// Waits for the arbiter.
    Arbiter,
    /// Too many WAIT packets are due.
    Timers,
    /// Stopped by the host.
    Stopped,
    /// Stopped by an error or a STOP packet.
    Failed,
}

impl State {
    const PLAIN: [Self; 10] = [
        Self::Idle,
        Self::Ready,
        Self::Engine,
        Self::Barrier,
        Self::Message,
        Self::LowerQueue,
        Self::Arbiter,
        Self::Timers,
        Self::Stopped,
        Self::Failed,
    ];
    const FENCE: u8 = 0xFF;

    fn code(self) -> (u8, u32) {
        match self {
            Self::Fence { id, target } => (Self::FENCE, u32::from(id) | u32::from(target) << 8),
            // PANIC: every other state is in the list.
            plain => (Self::PLAIN.iter().position(|state| *state == plain).unwrap_or(0) as u8, 0),
        }
    }

    fn from_code(code: u8, value: u32) -> Option<Self> {
        match code {
            Self::FENCE => Some(Self::Fence { id: value as u8, target: (value >> 8) as u8 }),
            plain => Self::PLAIN.get(usize::from(plain)).copied(),
        }
    }
}

impl Event {
    /// The second word of a record; the first is the time in ticks. `{kind [7:0], qman [15:8], stream [23:16], detail [31:24],
    /// value [63:32]}`.
    #[must_use]
    pub fn to_word(self) -> u64 {
        let word = |kind: u8, qman: u8, stream: u8, detail: u8, value: u32| {
            u64::from(kind)
                | u64::from(qman) << 8
                | u64::from(stream) << 16
                | u64::from(detail) << 24
                | u64::from(value) << 32
        };
        match self {
            Self::Doorbell { qman, stream } => word(1, qman, stream, 0, 0),
            Self::Begin { qman, stream } => word(2, qman, stream, 0, 0),
            Self::End { qman, stream, state } => {
                let (code, value) = state.code();
                word(3, qman, stream, code, value)
            }
            Self::Jobs { qman, count } => word(4, qman, 0, 0, count.into()),
            Self::Fence { qman, stream, id, increment } => word(5, qman, stream, id, increment.into()),
            Self::Wake => word(6, 0, 0, 0, 0),
            Self::Sleep => word(7, 0, 0, 0, 0),
        }
    }

    /// Decodes the second word of a record; `None` for what firmware never writes.
    #[must_use]
    pub fn from_word(word: u64) -> Option<Self> {
        let [kind, qman, stream, detail, ..] = word.to_le_bytes();
        let value = (word >> 32) as u32;
        Some(match kind {
            1 => Self::Doorbell { qman, stream },
            2 => Self::Begin { qman, stream },
            3 => Self::End { qman, stream, state: State::from_code(detail, value)? },
            4 => Self::Jobs { qman, count: value as u16 },
            5 => Self::Fence { qman, stream, id: detail, increment: value as u8 },
            6 => Self::Wake,
            7 => Self::Sleep,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_survives_its_record() {
        let states = State::PLAIN.into_iter().chain([State::Fence { id: 3, target: 200 }]);
        let ends = states.map(|state| Event::End { qman: 17, stream: 4, state });
        let others = [
            Event::Doorbell { qman: 1, stream: 2 },
            Event::Begin { qman: 9, stream: 3 },
            Event::Jobs { qman: 5, count: 65_535 },
            Event::Fence { qman: 2, stream: 1, id: 3, increment: 15 },
            Event::Wake,
            Event::Sleep,
        ];
        for event in ends.chain(others) {
            assert_eq!(Event::from_word(event.to_word()), Some(event));
        }
        assert_eq!(
            (Event::from_word(0), Event::from_word(0x0C_0000_0003)),
            (None, Some(Event::End { qman: 0, stream: 0, state: State::Idle }))
        );
    }
}
