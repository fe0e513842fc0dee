//! The listening side: one socket path, one client at a time, stopped from any thread.
//!
//! Owns: the socket file (a stale one is removed first, ours on drop) and the serving thread.
//!
//! Never: leaves a thread behind; [`Server::stop`] returns after it has ended.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::{Device, session};

/// A served function.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Wakes the thread while it waits for a client.
    wake: OwnedFd,
    stopping: AtomicBool,
    /// The client being served; shut down to wake the thread while it waits for a message.
    current: Mutex<Option<UnixStream>>,
    clients: AtomicU64,
}

impl Server {
    /// Listens on `path`, replacing a socket that is there, and serves `device` from a thread of its own.
    ///
    /// # Errors
    /// The socket or the thread could not be made; or something other than a socket is at `path`.
    pub fn start(path: &Path, device: Arc<dyn Device>) -> io::Result<Self> {
        remove_stale(path)?;
        let listener = UnixListener::bind(path)?;
        let shared = Arc::new(Shared {
            wake: eventfd(0, EventfdFlags::CLOEXEC)?,
            stopping: AtomicBool::new(false),
            current: Mutex::new(None),
            clients: AtomicU64::new(0),
        });
        let name = path.file_stem().map_or_else(|| "vfio-user".into(), |stem| stem.to_string_lossy().into_owned());
        let thread = std::thread::Builder::new().name(name).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(&listener, &*device)
        })?;
        Ok(Self { path: path.to_owned(), shared, thread: Some(thread) })
    }

    /// Clients that have connected so far.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.shared.clients.load(Ordering::Relaxed)
    }

    /// Disconnects the client, ends the thread and removes the socket. Returns when all that is done.
    pub fn stop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // An eventfd that has been created takes one more count; the thread polls it.
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
        if let Some(stream) = &*self.shared.current.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is not a socket", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl Shared {
    fn run(&self, listener: &UnixListener, device: &dyn Device) {
        while let Some(stream) = self.next_client(listener) {
            self.clients.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.serve(&stream, device)
                && !self.stopping.load(Ordering::SeqCst)
            {
                eprintln!("card: vfio-user client dropped: {error}");
            }
            device.disconnected();
        }
    }

    fn serve(&self, stream: &UnixStream, device: &dyn Device) -> io::Result<()> {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.try_clone()?);
        // `stop` sets the flag before it looks for a stream: either it sees this one or the flag is seen here.
        let result = if self.stopping.load(Ordering::SeqCst) { Ok(()) } else { session::serve(device, stream) };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // The clone may outlive this call for a moment; the client must see the end now.
        let _ = stream.shutdown(Shutdown::Both);
        result
    }

    /// Waits for the next client; `None` = stop.
    fn next_client(&self, listener: &UnixListener) -> Option<UnixStream> {
        loop {
            let mut waiting = [PollFd::new(listener, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
            match poll(&mut waiting, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    eprintln!("card: waiting for a vfio-user client failed: {error}");
                    return None;
                }
            }
            if self.stopping.load(Ordering::SeqCst) {
                return None;
            }
            if waiting[0].revents().contains(PollFlags::IN) {
                match listener.accept() {
                    Ok((stream, _)) => return Some(stream),
                    Err(error) => {
                        eprintln!("card: vfio-user accept failed: {error}");
                        // Out of descriptors, most likely; the client still waits, so the next poll returns at once.
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        }
    }
}
