//! The guest's serial ports: reader threads that log everything and pass it on as messages.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::Sender;

use anyhow::Context as _;

/// Something that arrived from the guest.
#[derive(Debug)]
pub enum Arrival {
    /// Bytes of the kernel console.
    Console(Vec<u8>),
    /// One line of the control channel, without its line end.
    Control(String),
    /// Bytes that a program wrote.
    Output(Vec<u8>),
    /// One of the ports has closed.
    Closed,
}

/// Which port a reader serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Kernel console, ttyS0.
    Console,
    /// Events of process 1, ttyS1.
    Control,
    /// Output of programs, ttyS2.
    Output,
}

/// Starts a thread that reads `stream` to its end. Console and output are copied to `log` as they are.
///
/// # Errors
/// When the log cannot be written or no thread can be made.
pub fn read(port: Port, mut stream: UnixStream, log: Option<&Path>, arrivals: Sender<Arrival>) -> anyhow::Result<()> {
    let mut log = match log {
        Some(path) => Some(File::create(path).with_context(|| format!("cannot write {}", path.display()))?),
        None => None,
    };
    std::thread::Builder::new()
        .name(format!("{port:?}"))
        .spawn(move || {
            let mut block = vec![0; 16 * 1024];
            let mut line = Vec::new();
            while let Ok(count) = stream.read(&mut block) {
                let Some(bytes) = block.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
                if let Some(log) = &mut log {
                    // A full disk must not stop the guest; the run still sees everything.
                    let _ = log.write_all(bytes);
                }
                let gone = match port {
                    Port::Console => arrivals.send(Arrival::Console(bytes.to_vec())).is_err(),
                    Port::Output => arrivals.send(Arrival::Output(bytes.to_vec())).is_err(),
                    Port::Control => {
                        line.extend_from_slice(bytes);
                        let mut gone = false;
                        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                            let rest = line.split_off(end + 1);
                            let text = String::from_utf8_lossy(&line).trim().to_owned();
                            line = rest;
                            gone |= !text.is_empty() && arrivals.send(Arrival::Control(text)).is_err();
                        }
                        gone
                    }
                };
                if gone {
                    return;
                }
            }
            // Nobody listens any more when this fails.
            let _ = arrivals.send(Arrival::Closed);
        })
        .context("cannot start a thread")?;
    Ok(())
}
