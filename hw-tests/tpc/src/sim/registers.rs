//! Register files and the order in which results reach them (`tpc.md` 2.1, 8).
//!
//! Owns the rule that all slots of a bundle read before any result is written: operations append [`Write`]s, which are applied
//! together at the end of the bundle, field by field. An optional delay holds them back for a number of bundles, which finds
//! hand-written code that reads too early.

use std::collections::VecDeque;

use super::vector::{ByteMask, Vector};
use crate::operand::{ADDRESS_REGISTERS, INDEX_REGISTERS, PREDICATE_REGISTERS, SCALAR_REGISTERS, VECTOR_REGISTERS};

/// Dimensions of a coordinate register.
pub const DIMENSIONS: usize = 5;

/// One result.
// A bundle has few results and their list is reused: a box for each vector would cost an allocation per bundle.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug)]
pub enum Write {
    /// Scalar register.
    S(u8, u32),
    /// Scalar predicate.
    Sp(u8, bool),
    /// The masked bytes of a vector register.
    V(u8, Vector, ByteMask),
    /// The masked bits of a vector predicate.
    Vp(u8, ByteMask, ByteMask),
    /// One coordinate.
    I(u8, usize, i32),
    /// Global address.
    Ad(u8, u64),
}

/// All registers of an engine. Register numbers come from [`crate::operand::Operand`] and are in range.
#[derive(Clone, Debug)]
pub struct Registers {
    s: [u32; SCALAR_REGISTERS as usize],
    sp: [bool; PREDICATE_REGISTERS as usize],
    v: Vec<Vector>,
    vp: [ByteMask; PREDICATE_REGISTERS as usize],
    i: [[i32; DIMENSIONS]; INDEX_REGISTERS as usize],
    ad: [u64; ADDRESS_REGISTERS as usize],
    /// Results of the current bundle.
    pending: Vec<Write>,
    /// Results of earlier bundles that wait for their delay; the front is the oldest.
    delayed: VecDeque<Vec<Write>>,
    delay: usize,
}

impl Registers {
    /// Zero everywhere, no delay.
    pub(super) fn new() -> Self {
        Self {
            s: [0; SCALAR_REGISTERS as usize],
            sp: [false; PREDICATE_REGISTERS as usize],
            v: vec![Vector::ZERO; VECTOR_REGISTERS as usize],
            vp: [ByteMask::NONE; PREDICATE_REGISTERS as usize],
            i: [[0; DIMENSIONS]; INDEX_REGISTERS as usize],
            ad: [0; ADDRESS_REGISTERS as usize],
            pending: Vec::new(),
            delayed: VecDeque::new(),
            delay: 0,
        }
    }

    /// Scalar register, 0..36.
    #[must_use]
    pub fn s(&self, number: u8) -> u32 {
        self.s[usize::from(number)]
    }

    /// Scalar predicate, 0..16; SP0 is always true.
    #[must_use]
    pub fn sp(&self, number: u8) -> bool {
        number == 0 || self.sp[usize::from(number)]
    }

    /// Vector register, 0..40.
    #[must_use]
    pub fn v(&self, number: u8) -> &Vector {
        &self.v[usize::from(number)]
    }

    /// Vector predicate, 0..16; VP0 is always true.
    #[must_use]
    pub fn vp(&self, number: u8) -> ByteMask {
        if number == 0 { ByteMask::ALL } else { self.vp[usize::from(number)] }
    }

    /// Coordinate register, 0..32.
    #[must_use]
    pub fn i(&self, number: u8) -> &[i32; DIMENSIONS] {
        &self.i[usize::from(number)]
    }

    /// Global-address register, 0..8.
    #[must_use]
    pub fn ad(&self, number: u8) -> u64 {
        self.ad[usize::from(number)]
    }

    /// Sets a scalar register at once: launch arguments and loop counters.
    pub(super) fn set_s(&mut self, number: u8, value: u32) {
        self.s[usize::from(number)] = value;
    }

    /// Sets a coordinate register at once: the index space at launch.
    pub(super) fn set_i(&mut self, number: u8, value: [i32; DIMENSIONS]) {
        self.i[usize::from(number)] = value;
    }

    /// Holds every later result back for `bundles` bundles.
    pub(super) fn set_delay(&mut self, bundles: usize) {
        self.delay = bundles;
    }

    /// Adds a result of the current bundle.
    pub(super) fn push(&mut self, write: Write) {
        self.pending.push(write);
    }

    /// Ends a bundle: its results become visible, or wait.
    #[inline]
    pub(super) fn end_bundle(&mut self) {
        if self.delay == 0 && self.delayed.is_empty() {
            if self.pending.is_empty() {
                return;
            }
            let mut pending = core::mem::take(&mut self.pending);
            for write in &pending {
                self.apply(write);
            }
            pending.clear();
            self.pending = pending;
            return;
        }
        self.delayed.push_back(core::mem::take(&mut self.pending));
        while self.delayed.len() > self.delay {
            for write in self.delayed.pop_front().unwrap_or_default() {
                self.apply(&write);
            }
        }
    }

    /// Drops what a bundle that faults has produced.
    pub(super) fn discard_bundle(&mut self) {
        self.pending.clear();
    }

    /// Applies everything that waits: the pipeline is empty after the end of a kernel.
    pub(super) fn drain(&mut self) {
        while let Some(writes) = self.delayed.pop_front() {
            for write in &writes {
                self.apply(write);
            }
        }
    }

    fn apply(&mut self, write: &Write) {
        match *write {
            Write::S(number, value) => self.s[usize::from(number)] = value,
            Write::Sp(number, value) => self.sp[usize::from(number)] = value,
            Write::V(number, ref value, ref mask) => {
                let register = &mut self.v[usize::from(number)];
                if *mask == ByteMask::ALL {
                    *register = *value;
                } else {
                    register.blend(value, mask);
                }
            }
            Write::Vp(number, ref value, ref mask) => {
                let register = &mut self.vp[usize::from(number)];
                let kept = register.zip(mask, |old, mask| old & !mask);
                *register = value.zip(mask, |new, mask| new & mask).zip(&kept, |new, kept| new | kept);
            }
            Write::I(number, dimension, value) => self.i[usize::from(number)][dimension] = value,
            Write::Ad(number, value) => self.ad[usize::from(number)] = value,
        }
    }
}
