//! This terminal as the guest's console: raw mode, keys forwarded, the old mode restored.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Ctrl-], the way out when the guest no longer answers (as in telnet).
const ESCAPE: u8 = 0x1D;

/// Forwards this terminal's keys until dropped; the terminal's mode is restored then.
pub struct Keyboard {
    left: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    saved: Option<Termios>,
}

impl Keyboard {
    /// Puts a terminal into raw mode and forwards what is typed (or piped in) through `send`.
    ///
    /// # Errors
    /// When the terminal's mode cannot be set or no thread can be made.
    pub fn start(mut send: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static) -> anyhow::Result<Self> {
        let stdin = io::stdin();
        let saved = if stdin.is_terminal() {
            let saved = tcgetattr(&stdin).context("cannot read the terminal's mode")?;
            let mut raw = saved.clone();
            raw.make_raw();
            tcsetattr(&stdin, OptionalActions::Now, &raw).context("cannot set the terminal's mode")?;
            Some(saved)
        } else {
            None
        };
        let left = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let mut keyboard = Self { left: Arc::clone(&left), stop: Arc::clone(&stop), thread: None, saved };
        let thread = std::thread::Builder::new().name("keyboard".into()).spawn(move || {
            let stdin = io::stdin();
            let mut block = [0; 256];
            while !stop.load(Ordering::Relaxed) {
                let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
                let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                match poll(&mut fds, Some(&moment)) {
                    Ok(0) => continue,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(_) => return,
                    Ok(_) => {}
                }
                // Unbuffered: bytes left in a buffer would not wake the poll.
                let Ok(count) = rustix::io::read(stdin.as_fd(), &mut block) else { return };
                let bytes = block.get(..count).unwrap_or_default();
                if bytes.is_empty() {
                    return;
                }
                if bytes.contains(&ESCAPE) {
                    left.store(true, Ordering::Relaxed);
                    return;
                }
                if send(bytes).is_err() {
                    return;
                }
            }
        });
        keyboard.thread = Some(thread.context("cannot start a thread")?);
        Ok(keyboard)
    }

    /// True once the person has pressed the way out.
    #[must_use]
    pub fn left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(saved) = &self.saved {
            // The terminal may be gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, saved);
        }
    }
}
