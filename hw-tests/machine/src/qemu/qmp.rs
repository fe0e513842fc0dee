//! A client of QEMU's control protocol (QMP) over an already connected socket.
//!
//! Owns one connection and the thread that reads it. Commands are answered in order; events are kept, each with a running
//! number, so that a waiter can ask for "the next RESET after this point" without a race.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// Longest time that QEMU may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Inbox {
    greeted: bool,
    answers: Vec<Value>,
    /// Names of the events that have arrived, oldest first.
    events: Vec<String>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `take` finds what it looks for.
    fn wait<T>(&self, limit: Duration, mut take: impl FnMut(&mut Inbox) -> Option<T>) -> anyhow::Result<T> {
        let end = Instant::now() + limit;
        let mut inbox = self.lock();
        loop {
            if let Some(found) = take(&mut inbox) {
                return Ok(found);
            }
            if inbox.closed {
                bail!("QEMU has closed its control connection");
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("QEMU did not answer within {} s", limit.as_secs_f32());
            }
            inbox = self.arrived.wait_timeout(inbox, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// One control connection. Commands from several threads are serialised.
pub struct Qmp {
    socket: Mutex<UnixStream>,
    shared: Arc<Shared>,
}

/// A point in the sequence of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(usize);

impl Qmp {
    /// Takes over the connection to a QEMU that is starting and negotiates.
    ///
    /// # Errors
    /// When QEMU ends or stays silent.
    pub fn connect(socket: UnixStream) -> anyhow::Result<Self> {
        let reader = socket.try_clone().context("cannot share the control socket")?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("qmp".into())
            .spawn(move || {
                for line in BufReader::new(reader).lines() {
                    let Ok(line) = line else { break };
                    let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
                    let mut inbox = theirs.lock();
                    if let Some(event) = message.get("event").and_then(Value::as_str) {
                        inbox.events.push(event.to_owned());
                    } else if message.get("QMP").is_some() {
                        inbox.greeted = true;
                    } else {
                        inbox.answers.push(message);
                    }
                    theirs.arrived.notify_all();
                }
                theirs.lock().closed = true;
                theirs.arrived.notify_all();
            })
            .context("cannot start a thread")?;
        let qmp = Self { socket: Mutex::new(socket), shared };
        qmp.shared.wait(Duration::from_secs(30), |inbox| inbox.greeted.then_some(()))?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// When QEMU refuses the command, or is gone.
    pub fn execute(&self, command: &str, arguments: Value) -> anyhow::Result<Value> {
        // Held until the answer is here: answers come in the order of the commands.
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        socket.write_all(line.as_bytes()).with_context(|| format!("cannot send {command} to QEMU"))?;
        let answer = self
            .shared
            .wait(ANSWER_LIMIT, |inbox| (!inbox.answers.is_empty()).then(|| inbox.answers.remove(0)))
            .with_context(|| format!("QMP {command}"))?;
        if let Some(error) = answer.get("error") {
            bail!("QEMU refused {command}: {}", error.get("desc").and_then(Value::as_str).unwrap_or("no reason given"));
        }
        Ok(answer.get("return").cloned().unwrap_or_default())
    }

    /// The present point in the sequence of events.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.shared.lock().events.len())
    }

    /// Waits for the first event called `name` after `mark`.
    ///
    /// # Errors
    /// When it does not come within `limit`.
    pub fn wait_event(&self, name: &str, mark: Mark, limit: Duration) -> anyhow::Result<()> {
        self.shared
            .wait(limit, |inbox| {
                inbox.events.get(mark.0..).is_some_and(|events| events.iter().any(|event| event == name)).then_some(())
            })
            .with_context(|| format!("waiting for QEMU's {name} event"))
    }

    /// True while the virtual CPUs run.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn is_running(&self) -> anyhow::Result<bool> {
        Ok(self.execute("query-status", json!({}))?.get("running").and_then(Value::as_bool).unwrap_or(false))
    }

    /// Stops the virtual CPUs.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.execute("stop", json!({})).map(drop)
    }

    /// Lets the virtual CPUs run.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn cont(&self) -> anyhow::Result<()> {
        self.execute("cont", json!({})).map(drop)
    }

    /// Resets the machine and returns when that is done; works on a stopped machine, which stays stopped.
    ///
    /// # Errors
    /// When QEMU is gone or does not finish the reset.
    pub fn reset(&self) -> anyhow::Result<()> {
        let mark = self.mark();
        self.execute("system_reset", json!({}))?;
        self.wait_event("RESET", mark, ANSWER_LIMIT)
    }

    /// Asks QEMU to end.
    ///
    /// # Errors
    /// When QEMU is gone already.
    pub fn quit(&self) -> anyhow::Result<()> {
        self.execute("quit", json!({})).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake_qemu(script: &'static [(&'static str, &'static str)]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            writer.write_all(b"{\"QMP\": {\"version\": {}}}\r\n").unwrap();
            let mut lines = BufReader::new(theirs).lines();
            for (expected, answer) in script {
                let line = lines.next().unwrap().unwrap();
                assert!(line.contains(expected), "{line}");
                writer.write_all(answer.as_bytes()).unwrap();
            }
        });
        ours
    }

    #[test]
    fn a_reset_returns_after_its_event() {
        let qmp = Qmp::connect(fake_qemu(&[
            ("qmp_capabilities", "{\"event\": \"RESET\"}\r\n{\"return\": {}}\r\n"),
            ("system_reset", "{\"return\": {}}\r\n{\"event\": \"STOP\"}\r\n{\"event\": \"RESET\"}\r\n"),
        ]))
        .unwrap();
        // The RESET of the start-up does not count.
        qmp.reset().unwrap();
        assert_eq!(qmp.mark(), Mark(3));
    }

    #[test]
    fn a_refusal_is_reported_in_qemus_words() {
        let qmp = Qmp::connect(fake_qemu(&[
            ("qmp_capabilities", "{\"return\": {}}\r\n"),
            ("cont", "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\r\n"),
        ]))
        .unwrap();
        assert_eq!(qmp.cont().unwrap_err().to_string(), "QEMU refused cont: not now");
        assert!(qmp.quit().is_err());
    }
}
