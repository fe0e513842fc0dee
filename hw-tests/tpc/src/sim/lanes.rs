//! Moves across lanes: groups of 32 bytes, dual groups of 64 bytes (`tpc.md` 9.2).

use super::registers::Write;
use super::spu::element_of;
use super::vector::{ByteMask, VECTOR_BYTES, Vector, lane_bytes};
use super::{Tpc, Trap};
use crate::bundle::Field;
use crate::decode::Operation;
use crate::forms::Bits;
use crate::opcodes::VpuOp as Op;

/// Bytes of a group.
const GROUP: usize = 32;
/// Bytes of a dual group.
const DUAL_GROUP: usize = 2 * GROUP;
/// Dual groups of a vector.
const DUAL_GROUPS: usize = VECTOR_BYTES / DUAL_GROUP;

impl Tpc {
    /// SHUFFLE, PACK, UNPACK, MOV_DUAL_GROUP, MOV_GROUP. Lanes that the operation does not name keep the destination's content.
    pub(super) fn move_lanes(&mut self, operation: &Operation<Op>, immediate: u32) -> Result<(), Trap> {
        let dest = self.vector_register(operation, Field::Dest)?;
        let typed = matches!(operation.op, Op::Shuffle | Op::Pack | Op::Unpack);
        // Chosen: a vector predicate of a move without type is read byte by byte.
        let width = if typed { lane_bytes(element_of(operation)?) } else { 1 };
        let Some(mask) = self.lane_mask(operation.predicate, width) else { return Ok(()) };
        let source = *self.vector_source(operation, Field::A, width, immediate)?;
        let bits = |low, width| usize::from(operation.fields.bits(Bits::new(Field::B, low, width)));
        let mut moved = Moved { source, value: Vector::ZERO, written: ByteMask::NONE };
        match operation.op {
            Op::Shuffle => {
                let directions = self.vector_source(operation, Field::B, width, immediate)?;
                moved.shuffle(width, &directions);
            }
            Op::Pack => moved.pack(width, bits(0, 1), bits(1, 1) != 0),
            Op::Unpack => moved.unpack(width, bits(0, 1), bits(1, 1) != 0, bits(2, 1)),
            Op::MovDualGroup if operation.switch(0) => {
                let enables = operation.fields.get(Field::C);
                for dual_group in 0..DUAL_GROUPS {
                    // Chosen: bit 0 of the enables is the lower group.
                    let enable = usize::from(enables >> (2 * dual_group)) & 3;
                    moved.dual_group(bits(2 * dual_group as u32, 2), dual_group, enable, immediate);
                }
            }
            Op::MovDualGroup => moved.dual_group(bits(0, 2), bits(2, 2), bits(4, 2), immediate),
            Op::MovGroup => {
                for dual_group in (0..DUAL_GROUPS).filter(|dual_group| bits(2, 4) >> dual_group & 1 != 0) {
                    let base = dual_group * DUAL_GROUP;
                    // Chosen: bit 0 enables the lower group as destination.
                    for group in (0..2).filter(|group| bits(0, 2) >> group & 1 != 0) {
                        moved.group(base + (1 - group) * GROUP, base + group * GROUP, immediate);
                    }
                }
            }
            op => return Err(Trap::not_modelled(op.mnemonic())),
        }
        self.registers.push(Write::V(dest, moved.value, mask.zip(&moved.written, |a, b| a & b)));
        Ok(())
    }
}

/// A result in the making: bytes of the source at new places.
struct Moved {
    source: Vector,
    value: Vector,
    written: ByteMask,
}

impl Moved {
    fn lane(&mut self, width: usize, from: usize, to: usize) {
        self.value.set_lane(width, to, self.source.lane(width, from));
        self.written.set_lane(width, to, true);
    }

    /// Copies the bytes of a group that `byte_mask` selects; `from` and `to` are the groups' first bytes.
    fn group(&mut self, from: usize, to: usize, byte_mask: u32) {
        // PANIC: both groups lie inside the vector. Each group is the target once, so bytes that are not selected do no harm.
        self.value.0[to..to + GROUP].copy_from_slice(&self.source.0[from..from + GROUP]);
        self.written.0[to / 64] |= u64::from(byte_mask) << (to % 64);
    }

    /// Copies a dual group; bit 0 of `groups` enables the lower, bit 1 the upper group.
    fn dual_group(&mut self, from: usize, to: usize, groups: usize, byte_mask: u32) {
        for group in (0..2).filter(|group| groups >> group & 1 != 0) {
            self.group(from * DUAL_GROUP + group * GROUP, to * DUAL_GROUP + group * GROUP, byte_mask);
        }
    }

    /// Each lane takes a lane of its dual group: direction bits 4:0 element, 5 group, 7 enable.
    fn shuffle(&mut self, width: usize, directions: &Vector) {
        let group_lanes = GROUP / width;
        let dual_group_lanes = 2 * group_lanes;
        for lane in 0..VECTOR_BYTES / width {
            let direction = directions.lane(width, lane) as usize;
            if direction & 0x80 == 0 {
                continue;
            }
            // Chosen: element bits beyond the group are ignored.
            let element = (direction & 0x1F) % group_lanes + (direction >> 5 & 1) * group_lanes;
            self.lane(width, lane / dual_group_lanes * dual_group_lanes + element, lane);
        }
    }

    /// Spreads the elements of a group, or of a quarter of the dual group with stride 4, over every second or fourth lane.
    fn unpack(&mut self, width: usize, group: usize, stride_4: bool, half: usize) {
        for (packed, spread) in spread_lanes(width, group, stride_4, half) {
            self.lane(width, packed, spread);
        }
    }

    /// The inverse of `unpack`. Chosen: with stride 4 the elements go to the first half of the group.
    fn pack(&mut self, width: usize, group: usize, stride_4: bool) {
        for (packed, spread) in spread_lanes(width, group, stride_4, 0) {
            self.lane(width, spread, packed);
        }
    }
}

/// Pairs of lanes (packed, spread) that PACK and UNPACK connect.
fn spread_lanes(width: usize, group: usize, stride_4: bool, half: usize) -> impl Iterator<Item = (usize, usize)> {
    let group_lanes = GROUP / width;
    let stride = if stride_4 { 4 } else { 2 };
    let count = 2 * group_lanes / stride;
    let first = group * group_lanes + if stride_4 { half * count } else { 0 };
    (0..DUAL_GROUPS).flat_map(move |dual_group| {
        let base = dual_group * 2 * group_lanes;
        (0..count).map(move |index| (base + first + index, base + index * stride))
    })
}
