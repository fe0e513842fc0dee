//! Writes a time line in the JSON trace-event format, which the Perfetto viewer opens.
//!
//! One process per queue manager with a track per stream and one for its engine, and one process for the cores. On a stream's
//! track: `queued` from the doorbell to the first turn, `runs` for each turn, and behind a turn what the stream waits for, to its
//! next turn. Fence increments are marks on the stream that they belong to. On the engine's track: its jobs, while it holds any.
//! On a core's track: `sleeps`; what lies between is work, begun by an interrupt.

use std::collections::BTreeMap;

use coxswain_abi::regs::qman::{LOWER, engine_kind};
use coxswain_abi::trace::{Event, State};
use serde_json::{Value, json};

use super::records::Record;

/// Process of the cores.
const CORES: usize = 1000;
/// Track of an engine among those of its queue manager.
const ENGINE: usize = 9;

/// Something that lasts, begun and not ended.
struct Open {
    name: String,
    since: u64,
}

/// The time line under construction.
#[derive(Default)]
struct TimeLine {
    events: Vec<Value>,
    open: BTreeMap<(usize, usize), Open>,
    start: u64,
    now: u64,
}

/// The document for these records, which are in order of time.
#[must_use]
pub fn document(records: &[Record]) -> Value {
    let start = records.first().map_or(0, |record| record.nanoseconds);
    let mut line = TimeLine { start, ..TimeLine::default() };
    for record in records {
        line.now = record.nanoseconds;
        line.take(record);
    }
    for place in line.open.keys().copied().collect::<Vec<_>>() {
        line.end(place);
    }
    line.name_tracks();
    json!({ "displayTimeUnit": "ns", "traceEvents": line.events })
}

impl TimeLine {
    fn take(&mut self, record: &Record) {
        match record.event {
            Event::Doorbell { qman, stream } => {
                let place = (qman.into(), stream.into());
                self.mark(place, "doorbell");
                if !self.open.contains_key(&place) {
                    self.begin(place, "queued".into());
                }
            }
            Event::Begin { qman, stream } => self.begin((qman.into(), stream.into()), "runs".into()),
            Event::End { qman, stream, state } => {
                let place = (qman.into(), stream.into());
                self.end(place);
                if let Some(name) = reason(state) {
                    self.begin(place, name);
                }
            }
            Event::Jobs { qman, count } => {
                let place = (qman.into(), ENGINE);
                match count {
                    0 => self.end(place),
                    1 => self.begin(place, "1 job".into()),
                    jobs => self.begin(place, format!("{jobs} jobs")),
                }
            }
            Event::Fence { qman, stream, id, increment } => {
                self.mark((qman.into(), stream.into()), &format!("fence {id} +{increment}"));
            }
            Event::Wake => {
                let place = (CORES, record.core);
                self.end(place);
                self.mark(place, "interrupt");
            }
            Event::Sleep => self.begin((CORES, record.core), "sleeps".into()),
        }
    }

    fn begin(&mut self, place: (usize, usize), name: String) {
        self.end(place);
        self.open.insert(place, Open { name, since: self.now });
    }

    fn end(&mut self, place: (usize, usize)) {
        if let Some(Open { name, since }) = self.open.remove(&place) {
            let (time, duration) = (self.microseconds(since), self.now.saturating_sub(since) as f64 / 1000.0);
            self.events.push(json!({
                "ph": "X", "name": name, "pid": place.0, "tid": place.1, "ts": time, "dur": duration,
            }));
        }
    }

    fn mark(&mut self, place: (usize, usize), name: &str) {
        let time = self.microseconds(self.now);
        self.events.push(json!({ "ph": "i", "s": "t", "name": name, "pid": place.0, "tid": place.1, "ts": time }));
    }

    fn microseconds(&self, nanoseconds: u64) -> f64 {
        nanoseconds.saturating_sub(self.start) as f64 / 1000.0
    }

    fn name_tracks(&mut self) {
        let mut tracks: Vec<(usize, usize)> = self.events.iter().filter_map(track).collect();
        tracks.sort_unstable();
        tracks.dedup();
        let mut last = None;
        for (process, thread) in tracks {
            let (owner, name) = match (process, thread) {
                (CORES, core) => ("management CPU".to_owned(), format!("core {core}")),
                (qman, ENGINE) => (queue_manager(qman), "engine".to_owned()),
                (qman, LOWER) => (queue_manager(qman), "lower CP".to_owned()),
                (qman, stream) => (queue_manager(qman), format!("stream {stream}")),
            };
            if last != Some(process) {
                last = Some(process);
                self.events.push(json!({
                    "ph": "M", "name": "process_name", "pid": process, "args": { "name": owner },
                }));
            }
            self.events.push(json!({
                "ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": { "name": name },
            }));
        }
    }
}

/// Process and thread of an event.
fn track(event: &Value) -> Option<(usize, usize)> {
    let number = |name: &str| event.get(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    Some((number("pid")?, number("tid")?))
}

fn queue_manager(number: usize) -> String {
    format!("QMAN {number} ({:?})", engine_kind(number))
}

/// What a stream waits for; `None` when it waits for nothing.
fn reason(state: State) -> Option<String> {
    Some(match state {
        State::Idle => return None,
        State::Ready => "ready".into(),
        State::Fence { id, target } => format!("waits: fence {id} >= {target}"),
        State::Engine => "waits: engine full".into(),
        State::Barrier => "waits: engine barrier".into(),
        State::Message => "waits: earlier messages".into(),
        State::LowerQueue => "waits: lower CP full".into(),
        State::Arbiter => "waits: arbiter".into(),
        State::Timers => "waits: timers full".into(),
        State::Stopped => "stopped".into(),
        State::Failed => "failed".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(records: &[(u64, Event)]) -> Vec<(String, f64, f64)> {
        let records: Vec<Record> =
            records.iter().map(|&(nanoseconds, event)| Record { nanoseconds, core: 0, event }).collect();
        let document = document(&records);
        let events = document["traceEvents"].as_array().expect("events");
        let spans = events.iter().filter(|event| event["ph"] == "X");
        let number = |value: &Value| value.as_f64().expect("a number");
        spans
            .map(|span| (span["name"].as_str().expect("a name").into(), number(&span["ts"]), number(&span["dur"])))
            .collect()
    }

    #[test]
    fn a_job_is_queued_runs_waits_and_runs_again() {
        let (qman, stream) = (0, 2);
        let line = spans(&[
            (1000, Event::Doorbell { qman, stream }),
            (2000, Event::Begin { qman, stream }),
            (5000, Event::End { qman, stream, state: State::Fence { id: 1, target: 3 } }),
            (6000, Event::Fence { qman, stream, id: 1, increment: 3 }),
            (7000, Event::Begin { qman, stream }),
            (9000, Event::End { qman, stream, state: State::Idle }),
        ]);
        let expected =
            [("queued", 0.0, 1.0), ("runs", 1.0, 3.0), ("waits: fence 1 >= 3", 4.0, 2.0), ("runs", 6.0, 2.0)];
        assert_eq!(line, expected.map(|(name, time, duration)| (name.to_owned(), time, duration)));
    }

    #[test]
    fn an_engine_is_busy_from_its_first_job_to_its_last() {
        let jobs = |count| Event::Jobs { qman: 3, count };
        let line = spans(&[(0, jobs(1)), (1000, jobs(2)), (3000, jobs(1)), (4000, jobs(0)), (9000, Event::Wake)]);
        let expected = [("1 job", 0.0, 1.0), ("2 jobs", 1.0, 2.0), ("1 job", 3.0, 1.0)];
        assert_eq!(line, expected.map(|(name, time, duration)| (name.to_owned(), time, duration)));
    }

    #[test]
    fn what_is_not_over_ends_with_the_line() {
        let line = spans(&[(0, Event::Begin { qman: 1, stream: 4 }), (500, Event::Wake)]);
        assert_eq!(line, [("runs".to_owned(), 0.0, 0.5)]);
    }
}
