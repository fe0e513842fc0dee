//! The instrumented turn of a stream: the same as the plain one, with records around it.

use coxswain_abi::trace::{Event, State};

use super::QueuePorts;
use super::qman::Qman;
use super::stream::{Activity, Blocked};

/// Runs one ready stream for one slice, as [`Qman::run_slice`], and records it.
pub(super) fn run_slice<P: QueuePorts>(qman: &mut Qman, ports: &mut P) {
    let number = qman.description.number;
    let before = qman.shared.engine.in_flight();
    let stream = qman.next_ready();
    if let Some(stream) = stream {
        ports.record(Event::Begin { qman: number, stream: stream as u8 });
    }
    qman.run_slice(ports);
    if let Some(stream) = stream
        && let Some(activity) = qman.streams.get(stream).map(|stream| stream.activity)
    {
        ports.record(Event::End { qman: number, stream: stream as u8, state: state(activity) });
    }
    if qman.shared.engine.in_flight() != before {
        jobs(qman, ports);
    }
}

/// Records how many jobs the engine holds.
pub(super) fn jobs<P: QueuePorts>(qman: &Qman, ports: &mut P) {
    ports.record(Event::Jobs { qman: qman.description.number, count: qman.shared.engine.in_flight() });
}

const fn state(activity: Activity) -> State {
    match activity {
        Activity::Idle => State::Idle,
        Activity::Ready => State::Ready,
        Activity::Blocked(reason) => match reason {
            Blocked::Fence { id, target } => State::Fence { id, target },
            Blocked::Engine => State::Engine,
            Blocked::Barrier => State::Barrier,
            Blocked::Message => State::Message,
            Blocked::LowerQueue => State::LowerQueue,
            Blocked::Arbiter => State::Arbiter,
            Blocked::Timers => State::Timers,
            Blocked::Stopped => State::Stopped,
            Blocked::Failed => State::Failed,
        },
    }
}
