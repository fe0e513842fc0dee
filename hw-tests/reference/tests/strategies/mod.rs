//! Strategies for scenarios: structured, so that a failing one shrinks to a few readable packets.

use coxswain_reference::packet::{Action, Barriers, Packet};
use coxswain_reference::scenario::{Item, Program, QMANS, Scenario, Set, Setup, Step, fence_address};
use proptest::collection::vec;
use proptest::prelude::*;

fn barriers() -> impl Strategy<Value = Barriers> {
    let bits = |engine, register, message| Barriers { engine, register, message };
    prop_oneof![
        4 => Just(Barriers::default()),
        1 => (any::<bool>(), any::<bool>()).prop_map(move |(register, message)| bits(false, register, message)),
        1 => (any::<bool>(), any::<bool>()).prop_map(move |(register, message)| bits(true, register, message)),
    ]
}

fn predicate() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0u8), 1 => 0u8..32]
}

/// A fence counter of some stream.
fn counter() -> impl Strategy<Value = (usize, usize, usize)> {
    (0..QMANS.len(), 0usize..5, 0usize..3)
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        // SRAM, HBM, mapped host memory, sync objects.
        6 => (prop_oneof![Just(0x7F_F000_0080u64), Just(0x2000_0000), Just(1 << 48), Just(0x7F_FC4F_2000)], 0u64..64)
            .prop_map(|(base, index)| base + 4 * index),
        1 => prop_oneof![8 => (0u64..1 << 62).prop_map(|index| 4 * index), 1 => any::<u64>()],
        4 => counter().prop_map(|(qman, stream, id)| fence_address(QMANS[qman], stream, id)),
    ]
}

fn message() -> impl Strategy<Value = Action> {
    (any::<bool>(), address(), 0u32..32, prop_oneof![20 => Just(0u8), 2 => Just(1), 1 => 0u8..4])
        .prop_map(|(protected, address, value, operation)| Action::MessageLong { protected, address, value, operation })
}

fn short_message() -> impl Strategy<Value = Action> {
    (0u8..4, any::<u16>(), any::<u32>(), prop_oneof![20 => Just(0u8), 2 => Just(1), 1 => 0u8..4]).prop_map(
        |(base, offset, value, operation)| Action::MessageShort {
            base,
            offset: if offset % 64 == 1 { offset } else { offset & !3 },
            value,
            operation,
        },
    )
}

fn offset() -> impl Strategy<Value = u16> {
    prop_oneof![
        // Registers of a DMA core, its start register often; a TPC's start register.
        4 => (0u16..0x30).prop_map(|index| 4 * index),
        2 => Just(0x78u16),
        2 => Just(0x938u16),
        // Fence counters of this QMAN.
        2 => (0u16..20).prop_map(|index| 0x8308 + 4 * index),
        4 => (0u16..0x180).prop_map(|index| 0xA00 + 4 * index),
        1 => prop_oneof![8 => (0u16..0x400).prop_map(|index| 4 * index), 1 => any::<u16>()],
    ]
}

fn linear_dma() -> impl Strategy<Value = Action> {
    (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>()).prop_map(|(source, destination, size, control)| {
        Action::LinDma { source, destination, size, control: control & 0x00FF_FFFF }
    })
}

fn fence() -> impl Strategy<Value = Action> {
    (0u8..4, prop_oneof![3 => Just(0u8), 6 => 0u8..3, 1 => any::<u8>()], 0u8..16)
        .prop_map(|(id, target, decrement)| Action::Fence { id, target, decrement })
}

fn action(set: Set) -> BoxedStrategy<Action> {
    let mut all: Vec<(u32, BoxedStrategy<Action>)> = vec![
        (4, message().boxed()),
        (2, short_message().boxed()),
        (3, (offset(), any::<u32>()).prop_map(|(offset, value)| Action::WriteRegister { offset, value }).boxed()),
        (3, linear_dma().boxed()),
        (3, fence().boxed()),
        (2, Just(Action::Nop).boxed()),
    ];
    if set.bulk {
        let bulk =
            (offset(), vec(any::<u64>(), 0..12)).prop_map(|(offset, values)| Action::WriteBulk { offset, values });
        let long = (prop_oneof![Just(0xA00u16), Just(0x10), Just(0x900)], 100usize..400)
            .prop_map(|(offset, count)| Action::WriteBulk { offset, values: (0..count as u64).collect() });
        all.push((2, bulk.boxed()));
        all.push((1, long.boxed()));
    }
    if set.arbiter {
        let point = (any::<u8>(), any::<bool>())
            .prop_map(|(priority, release)| Action::ArbPoint { priority: priority & 3, release });
        all.push((1, point.boxed()));
    }
    if set.time {
        let wait = (0u8..3, 0u8..16, 0u32..0xFF_FFFF).prop_map(|(id, increment, cycles)| Action::Wait {
            id,
            increment,
            cycles,
        });
        all.push((1, wait.boxed()));
    }
    if set.load {
        let load = (any::<[bool; 4]>()).prop_map(|[scalars, load, execute, second]| Action::LoadAndExe {
            scalars,
            load: load && scalars,
            execute,
            second,
            source: 0,
        });
        all.push((1, load.boxed()));
    }
    prop::strategy::Union::new_weighted(all).boxed()
}

/// Packets that end a stream; rare, so that most programs come to their end.
fn bad_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Stop),
        (any::<u32>(), any::<u32>(), prop_oneof![Just(0u8), Just(6), Just(0xE), 0x10u8..0x20])
            .prop_map(|(value, control, opcode)| Action::Undefined { value, control: control & 0xFF_FFFF, opcode }),
        (any::<u64>(), any::<u32>()).prop_map(|(source, size)| Action::CpDma { source, size }),
        (any::<u64>()).prop_map(|source| Action::LoadAndExe {
            scalars: true,
            load: true,
            execute: false,
            second: false,
            source
        }),
    ]
}

fn packet(set: Set) -> impl Strategy<Value = Packet> {
    let action = prop_oneof![150 => action(set), 1 => bad_action()];
    (action, barriers(), predicate()).prop_map(|(action, barriers, predicate)| Packet {
        barriers,
        predicate: predicate_of(&action, predicate),
        action,
    })
}

/// Packets without a predicate have predicate 0.
fn predicate_of(action: &Action, predicate: u8) -> u8 {
    match action {
        Action::Nop
        | Action::Stop
        | Action::MessageShort { .. }
        | Action::LinDma { .. }
        | Action::Wait { .. }
        | Action::Undefined { .. } => 0,
        _ => predicate,
    }
}

fn item(set: Set, depth: u32) -> BoxedStrategy<Item> {
    let mut all: Vec<(u32, BoxedStrategy<Item>)> = vec![(12, packet(set).prop_map(Item::Packet).boxed())];
    if depth != 0 {
        let call = (program(set, depth - 1), barriers(), predicate())
            .prop_map(|(body, barriers, predicate)| Item::Call { body, barriers, predicate });
        all.push((3, call.boxed()));
    }
    if set.load {
        let table = (any::<u32>(), predicate(), prop_oneof![3 => Just(0u8), 1 => 0u8..8])
            .prop_map(|(table, predicate, misalignment)| Item::LoadPredicates { table, predicate, misalignment });
        let scalars = (packet(set), any::<bool>(), any::<bool>(), predicate()).prop_map(
            |(packet, second, execute, predicate)| Item::LoadScalars {
                packet: Box::new(packet),
                second,
                execute,
                predicate,
            },
        );
        all.push((1, table.boxed()));
        all.push((1, scalars.boxed()));
    }
    prop::strategy::Union::new_weighted(all).boxed()
}

fn program(set: Set, depth: u32) -> impl Strategy<Value = Program> {
    let misalignment = prop_oneof![3 => Just(0u8), 1 => 0u8..8];
    let cut = prop_oneof![40 => Just(0u32), 1 => 1u32..32];
    (
        prop_oneof![3 => vec(item(set, depth), 0..10), 1 => vec(item(set, depth), 10..60)],
        misalignment,
        cut,
        prop::bool::weighted(0.01),
    )
        .prop_map(|(items, misalignment, cut, missing)| Program { items, misalignment, cut, missing })
}

fn submit(set: Set) -> impl Strategy<Value = Step> {
    (any::<usize>(), 0usize..4, program(set, 1), prop::bool::weighted(0.9))
        .prop_map(|(qman, stream, program, rings)| Step::Submit { qman, stream, program, rings })
}

fn step(set: Set) -> BoxedStrategy<Step> {
    let qman = any::<usize>;
    let mut all: Vec<(u32, BoxedStrategy<Step>)> = vec![
        (12, submit(set).boxed()),
        (1, Just(Step::CheckDoorbells).boxed()),
        (
            5,
            (qman(), 0usize..5, 0usize..4, 0u8..16)
                .prop_map(|(qman, stream, id, increment)| Step::Fence { qman, stream, id, increment })
                .boxed(),
        ),
        (
            1,
            (qman(), 0usize..5, 0usize..4, prop_oneof![0u32..16, 0x3FF0u32..0x4000])
                .prop_map(|(qman, stream, id, value)| Step::SetFence { qman, stream, id, value })
                .boxed(),
        ),
        (
            1,
            (qman(), 0usize..2, 0x3FF8u32..0x4000)
                .prop_map(|(qman, stream, value)| Step::SetFence { qman, stream, id: 3, value })
                .boxed(),
        ),
        (
            1,
            (qman(), 0usize..2, 4u8..16)
                .prop_map(|(qman, stream, increment)| Step::Fence { qman, stream, id: 3, increment })
                .boxed(),
        ),
        (4, qman().prop_map(|qman| Step::Complete { qman }).boxed()),
        (2, (qman(), 0u8..32).prop_map(|(qman, streams)| Step::Stop { qman, streams }).boxed()),
        (3, qman().prop_map(|qman| Step::Stop { qman, streams: 0 }).boxed()),
        (2, (qman(), 0u8..32).prop_map(|(qman, streams)| Step::Pause { qman, streams }).boxed()),
        (1, (qman(), 0u8..16).prop_map(|(qman, streams)| Step::Enable { qman, streams }).boxed()),
        (1, (qman(), program(set, 0)).prop_map(|(qman, program)| Step::StartLower { qman, program }).boxed()),
        (4, (0u8..6, 0u8..40, 0u8..40).prop_map(|(rounds, writes, steps)| Step::Run { rounds, writes, steps }).boxed()),
        (2, Just(Step::Settle).boxed()),
        (
            1,
            prop_oneof![
                qman().prop_map(|qman| Step::FailEngine { qman }),
                (qman(), 0usize..5).prop_map(|(qman, stream)| Step::FailMessage { qman, stream }),
                (qman(), 0usize..4, 1u32..20).prop_map(|(qman, stream, excess)| Step::BadProducer {
                    qman,
                    stream,
                    excess
                }),
                (qman(), 0usize..4).prop_map(|(qman, stream)| Step::LoseRing { qman, stream }),
                (qman(), 0usize..5).prop_map(|(qman, stream)| Step::ClearCauses { qman, stream }),
            ]
            .boxed(),
        ),
    ];
    if set.time {
        all.push((2, (1u32..40).prop_map(|milliseconds| Step::Time { milliseconds }).boxed()));
    }
    prop::strategy::Union::new_weighted(all).boxed()
}

fn setups() -> impl Strategy<Value = Vec<Setup>> {
    let one =
        |number: usize| {
            (prop::bool::weighted(0.7), 1u32..4, 0u32..4).prop_map(move |(stop_on_error, engine_depth, ring_log2)| {
                Setup { number, stop_on_error, engine_depth, ring_log2 }
            })
        };
    prop::sample::subsequence(QMANS.to_vec(), 1..=QMANS.len())
        .prop_flat_map(move |numbers| numbers.into_iter().map(one).collect::<Vec<_>>())
}

fn scenario(set: Set, steps: impl Strategy<Value = Vec<Step>>) -> impl Strategy<Value = Scenario> {
    (setups(), steps, prop_oneof![1 => 128usize..256, 1 => Just(4096usize)], any::<bool>(), any::<u64>())
        .prop_map(move |(qmans, steps, room, strict, seed)| Scenario { qmans, steps, room, strict, seed }.repair(set))
}

/// Programs and happenings of all kinds, without arbiters.
pub fn scenarios(set: Set) -> impl Strategy<Value = Scenario> {
    let set = Set { arbiter: false, ..set };
    scenario(set, vec(step(set), 1..14))
}

fn section(set: Set) -> impl Strategy<Value = Vec<Item>> {
    let request = (0u8..4, any::<u8>()).prop_map(|(priority, wild)| Action::ArbPoint {
        priority: if wild > 250 { wild } else { priority },
        release: false,
    });
    let release = Just(Action::ArbPoint { priority: 0, release: true });
    let plain = |action: Action| Item::Packet(Packet::new(action, Barriers::default()));
    (request, vec(item(set, 1), 0..3), release, prop::bool::weighted(0.95)).prop_map(
        move |(request, items, release, releases)| {
            let mut all = vec![plain(request)];
            all.extend(items);
            if releases {
                all.push(plain(release));
            }
            all
        },
    )
}

/// Programs of critical sections for arbiters of all kinds.
pub fn arbitrations(set: Set) -> impl Strategy<Value = Scenario> {
    let qman = any::<usize>;
    let program =
        vec(section(set), 1..4).prop_map(|sections| Program { items: sections.concat(), ..Program::default() });
    let submit = (qman(), 0usize..4, program).prop_map(|(qman, stream, program)| Step::Submit {
        qman,
        stream,
        program,
        rings: true,
    });
    let arbiter = (
        qman(),
        any::<u8>(),
        prop_oneof![3 => Just(0u32), 1 => 0u32..16],
        any::<[u8; 4]>(),
        prop_oneof![2 => Just(0u8), 1 => 0u8..16],
    )
        .prop_map(|(qman, kind, mask, weights, slaves)| {
            let config = match kind % 8 {
                0..=2 => 0x110,
                3..=5 => 0x111,
                6 => 0x100,
                _ => 0,
            };
            Step::Arbiter { qman, config: config | mask << 12, weights: weights.map(|weight| weight & 3), slaves }
        });
    let step = prop_oneof![
        6 => submit,
        2 => arbiter.clone(),
        1 => (qman(), 0usize..4).prop_map(|(qman, stream)| Step::Choose { qman, stream }),
        1 => step(set),
        2 => Just(Step::Settle),
    ];
    let steps = (arbiter, vec(step, 1..14)).prop_map(|(first, mut steps)| {
        steps.insert(0, first);
        steps
    });
    scenario(set, steps)
}
