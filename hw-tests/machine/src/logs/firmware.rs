//! The firmware's two serial ports: text on the first, defmt frames of all images on the second.
//!
//! A frame on the second port is `[image id][rzcobs-encoded defmt frame][0x00]`. Owns the decoding; the strings come from
//! the ELF files of the images.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use defmt_decoder::{DecodeError, Frame, Locations, Table};

/// Longest frame that is waited for; longer ones are reported as damaged.
const FRAME_LIMIT: usize = 64 * 1024;

/// A stage's image: its id in the log and its ELF file.
pub struct LoggedImage<'a> {
    /// Id byte of its frames.
    pub id: u8,
    /// Name for people.
    pub name: &'static str,
    /// The ELF file.
    pub elf: &'a [u8],
}

struct Source {
    id: u8,
    name: &'static str,
    table: Table,
    locations: Option<Locations>,
}

/// Decodes frames of several images.
pub struct Decoder {
    sources: Vec<Source>,
    partial: Vec<u8>,
}

/// One decoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Name of the image that wrote it; empty when the frame could not be decoded.
    pub image: &'static str,
    /// The firmware's own time stamp as it formats it.
    pub time: String,
    /// Level in capitals.
    pub level: String,
    /// The text.
    pub text: String,
    /// Source file and line.
    pub place: String,
}

impl Decoder {
    /// Reads the string tables of `images`. An image without defmt strings is accepted; its frames cannot be decoded.
    ///
    /// # Errors
    /// When an ELF file is damaged or was built with another version of defmt.
    pub fn new(images: &[LoggedImage<'_>]) -> anyhow::Result<Self> {
        let mut sources = Vec::new();
        for image in images {
            let table =
                Table::parse(image.elf).with_context(|| format!("the log strings of the {} image", image.name))?;
            if let Some(table) = table {
                let locations = table.get_locations(image.elf).ok();
                sources.push(Source { id: image.id, name: image.name, table, locations });
            }
        }
        Ok(Self { sources, partial: Vec::new() })
    }

    /// Takes bytes from the port and returns the messages that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for &byte in bytes {
            if byte != 0 && self.partial.len() < FRAME_LIMIT {
                self.partial.push(byte);
                continue;
            }
            let frame = std::mem::take(&mut self.partial);
            if !frame.is_empty() {
                messages.push(self.decode(&frame).unwrap_or_else(|error| Message {
                    image: "",
                    time: String::new(),
                    level: "?".into(),
                    text: format!("damaged frame of {} bytes: {error:#}", frame.len()),
                    place: String::new(),
                }));
            }
        }
        messages
    }

    fn decode(&self, frame: &[u8]) -> anyhow::Result<Message> {
        let Some((&id, encoded)) = frame.split_first() else { bail!("it is empty") };
        let source =
            self.sources.iter().find(|source| source.id == id).with_context(|| format!("no image has id {id}"))?;
        let mut stream = source.table.new_stream_decoder();
        stream.received(encoded);
        stream.received(&[0]);
        match stream.decode() {
            Ok(frame) => Ok(source.message(&frame)),
            Err(DecodeError::UnexpectedEof) => bail!("{}: it is incomplete", source.name),
            Err(DecodeError::Malformed) => bail!("{}: it is malformed", source.name),
        }
    }
}

impl Source {
    fn message(&self, frame: &Frame<'_>) -> Message {
        let place = self.locations.as_ref().and_then(|locations| locations.get(&frame.index()));
        let place = place.map(|place| {
            let file = place.file.components().rev().take(3).collect::<Vec<_>>();
            let file: std::path::PathBuf = file.into_iter().rev().collect();
            format!("{}:{}", file.display(), place.line)
        });
        Message {
            image: self.name,
            time: frame.display_timestamp().map(|time| time.to_string()).unwrap_or_default(),
            level: frame.level().map_or_else(|| "PRINT".into(), |level| format!("{level:?}").to_uppercase()),
            text: frame.display_message().to_string(),
            place: place.unwrap_or_default(),
        }
    }
}

/// A line that the firmware wrote for people on its first port, and when, since the start of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Banner {
    /// When.
    pub at: Duration,
    /// The line.
    pub text: String,
}

/// Begins a fault report of the port layer.
const FATAL: &str = "FATAL";

/// Puts the lines of a fault report together: `FATAL panic` is one line, `FATAL exception` ends with register x30.
#[derive(Default)]
struct FaultReport {
    open: Option<String>,
}

impl FaultReport {
    /// Takes the next line and returns a report that it completes.
    fn feed(&mut self, line: &str) -> Option<String> {
        if line.contains(FATAL) {
            self.open = Some(line.to_owned());
        } else if let Some(report) = &mut self.open {
            report.push(' ');
            report.push_str(line);
        }
        let report = self.open.as_ref()?;
        (report.contains("FATAL panic") || report.contains(" x30=")).then(|| self.open.take()).flatten()
    }
}

/// What the readers have learnt so far.
#[derive(Default)]
struct Seen {
    banners: Vec<Banner>,
    alarms: Vec<String>,
    fatal: Vec<String>,
}

/// The running readers of both ports. They end when the machine does.
#[derive(Clone, Default)]
pub struct FirmwareLog {
    seen: Arc<Mutex<Seen>>,
}

impl FirmwareLog {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the reader of the text port; lines are written to `path` with the time since `epoch`.
    ///
    /// # Errors
    /// When the log cannot be written or no thread can be made.
    pub fn read_text(
        &self,
        mut port: UnixStream,
        path: &Path,
        epoch: Instant,
        mut on_fatal: impl FnMut(&str) -> Vec<String> + Send + 'static,
    ) -> anyhow::Result<()> {
        let mut log = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let log_handle = self.clone();
        let read = move || {
            let mut watch = super::console::ConsoleWatch::default();
            let mut report = FaultReport::default();
            let mut block = [0; 4096];
            while let Ok(count) = port.read(&mut block) {
                let Some(bytes) = block.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
                for line in watch.feed(bytes) {
                    let at = epoch.elapsed();
                    // A full disk must not stop the run.
                    let _ = writeln!(log, "{:10.6} {line}", at.as_secs_f64());
                    let explanation = match report.feed(&line) {
                        Some(text) => on_fatal(&text),
                        None => Vec::new(),
                    };
                    for line in &explanation {
                        let _ = writeln!(log, "{:10} {line}", "");
                    }
                    let mut seen = log_handle.lock();
                    if line.contains(FATAL) {
                        seen.fatal.push(line.clone());
                    }
                    seen.fatal.extend(explanation);
                    seen.banners.push(Banner { at, text: line });
                }
            }
        };
        std::thread::Builder::new().name("firmware-text".into()).spawn(read).context("cannot start a thread")?;
        Ok(())
    }

    /// Starts the reader of the defmt port.
    ///
    /// # Errors
    /// When the log cannot be written or no thread can be made.
    pub fn read_frames(
        &self,
        mut port: UnixStream,
        path: &Path,
        mut decoder: Decoder,
        epoch: Instant,
    ) -> anyhow::Result<()> {
        let mut log = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let log_handle = self.clone();
        let read = move || {
            let mut block = vec![0; 16 * 1024];
            while let Ok(count) = port.read(&mut block) {
                let Some(bytes) = block.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
                for message in decoder.feed(bytes) {
                    let at = epoch.elapsed();
                    // A full disk must not stop the run.
                    let _ = writeln!(log, "{:10.6} {}", at.as_secs_f64(), line_of(&message));
                    if message.level == "ERROR" {
                        log_handle.lock().alarms.push(line_of(&message));
                    }
                }
            }
        };
        std::thread::Builder::new().name("firmware-log".into()).spawn(read).context("cannot start a thread")?;
        Ok(())
    }

    /// The lines on the first port so far: a banner of each stage that began, and fault reports.
    #[must_use]
    pub fn banners(&self) -> Vec<Banner> {
        self.lock().banners.clone()
    }

    /// Messages of level error.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        self.lock().alarms.clone()
    }

    /// Reports of faults and panics, with their symbolised addresses.
    #[must_use]
    pub fn fatal(&self) -> Vec<String> {
        self.lock().fatal.clone()
    }
}

fn line_of(message: &Message) -> String {
    let Message { image, time, level, text, place } = message;
    format!("{image:8} [{time}] {level:5} {text}{}{place}", if place.is_empty() { "" } else { "  @ " })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_an_unknown_image_is_reported_and_the_stream_goes_on() {
        let mut decoder = Decoder::new(&[]).unwrap();
        let messages = decoder.feed(&[7, 1, 2, 0, 0, 9]);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].text, "damaged frame of 3 bytes: no image has id 7");
        assert!(decoder.feed(&[0])[0].text.contains("no image has id 9"));
    }

    #[test]
    fn a_fault_report_is_complete_with_its_last_register() {
        let mut report = FaultReport::default();
        assert_eq!(report.feed("control: ready"), None);
        assert_eq!(report.feed("FATAL exception: image 3 core 0"), None);
        assert_eq!(
            report.feed("x28=0x0 x29=0x1 x30=0x2").unwrap(),
            "FATAL exception: image 3 core 0 x28=0x0 x29=0x1 x30=0x2"
        );
        assert_eq!(report.feed("x30=0x3"), None);
        assert_eq!(report.feed("FATAL panic: image 1 core 0: x").unwrap(), "FATAL panic: image 1 core 0: x");
    }

    #[test]
    fn an_endless_frame_is_cut() {
        let mut decoder = Decoder::new(&[]).unwrap();
        assert_eq!(decoder.feed(&vec![5; FRAME_LIMIT + 10]).len(), 1);
    }
}
