//! A vfio-user client for the tests: its own encoding of the protocol, so that a mistake in the server's cannot agree with
//! itself.

use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// A reply: the error number of a refused command, or body and descriptors.
pub type Reply = Result<(Vec<u8>, Vec<OwnedFd>), u32>;

pub struct Client {
    pub stream: UnixStream,
    next_id: u16,
}

impl Client {
    /// Connects without any message.
    pub fn connect_raw(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream, next_id: 100 }
    }

    /// Connects and negotiates as QEMU does.
    pub fn connect(path: &Path) -> Self {
        let mut client = Self::connect_raw(path);
        let capabilities = r#"{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576,"write_multiple":true}}"#;
        client.call(1, &[&[0, 0, 0, 0], capabilities.as_bytes(), &[0]].concat()).unwrap();
        client
    }

    /// Sends a message; returns its number.
    pub fn send(&mut self, command: u16, flags: u32, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> u16 {
        let id = self.next_id;
        self.next_id += 1;
        let mut message = Vec::new();
        message.extend(id.to_le_bytes());
        message.extend(command.to_le_bytes());
        message.extend((16 + body.len() as u32).to_le_bytes());
        message.extend(flags.to_le_bytes());
        message.extend(0u32.to_le_bytes());
        message.extend(body);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let sent =
            rustix::net::sendmsg(&self.stream, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL).unwrap();
        assert_eq!(sent, message.len());
        id
    }

    /// Receives the reply to message `id` of `command`, in one piece as QEMU does for the header.
    pub fn receive(&mut self, id: u16, command: u16) -> Reply {
        let mut header = [0; 16];
        let mut descriptors = Vec::new();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut part = [IoSliceMut::new(&mut header)];
        let received = rustix::net::recvmsg(&self.stream, &mut part, &mut control, RecvFlags::empty()).unwrap();
        assert_eq!(received.bytes, 16, "no reply");
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let word = |offset: usize| u32::from_le_bytes(header[offset..offset + 4].try_into().unwrap());
        assert_eq!(word(0), u32::from(command) << 16 | u32::from(id), "reply to another message");
        let mut body = vec![0; word(4) as usize - 16];
        self.stream.read_exact(&mut body).unwrap();
        match word(8) {
            1 => {
                assert_eq!(word(12), 0);
                Ok((body, descriptors))
            }
            0x21 => {
                assert!(body.is_empty() && descriptors.is_empty(), "an error reply is a header only");
                Err(word(12))
            }
            flags => panic!("reply flags {flags:#x}"),
        }
    }

    /// Sends a command and receives its reply.
    pub fn call_with(&mut self, command: u16, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> Reply {
        let id = self.send(command, 0, body, descriptors);
        self.receive(id, command)
    }

    /// Sends a command without descriptors and receives the body of its reply.
    pub fn call(&mut self, command: u16, body: &[u8]) -> Result<Vec<u8>, u32> {
        self.call_with(command, body, &[]).map(|(body, _)| body)
    }

    pub fn region_read(&mut self, region: u32, offset: u64, count: u32) -> Result<Vec<u8>, u32> {
        let request = access(region, offset, count);
        let reply = self.call(9, &request)?;
        assert_eq!(reply[..16], request, "the request is echoed");
        assert_eq!(reply.len(), 16 + count as usize);
        Ok(reply[16..].to_vec())
    }

    pub fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), u32> {
        let request = access(region, offset, data.len() as u32);
        let reply = self.call(10, &[&request, data].concat())?;
        assert_eq!(reply, request, "the request is echoed");
        Ok(())
    }

    pub fn read_u32(&mut self, region: u32, offset: u64) -> u32 {
        u32::from_le_bytes(self.region_read(region, offset, 4).unwrap().try_into().unwrap())
    }

    pub fn write_u32(&mut self, region: u32, offset: u64, value: u32) {
        self.region_write(region, offset, &value.to_le_bytes()).unwrap();
    }

    /// SET_IRQS.
    pub fn set_irqs(&mut self, flags: u32, index: u32, start: u32, count: u32, fds: &[&OwnedFd]) -> Result<(), u32> {
        let descriptors: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        let body = words(&[20, flags, index, start, count]);
        self.call_with(8, &body, &descriptors).map(|(body, _)| assert!(body.is_empty()))
    }

    /// True when the server closes within ten seconds.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// The fixed part of a region access.
pub fn access(region: u32, offset: u64, count: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    bytes[8..12].copy_from_slice(&region.to_le_bytes());
    bytes[12..].copy_from_slice(&count.to_le_bytes());
    bytes
}

/// Little-endian words as bytes.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// An event descriptor and what it has counted since the last look.
pub fn event() -> OwnedFd {
    use rustix::event::{EventfdFlags, eventfd};
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

pub fn events(descriptor: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    rustix::io::read(descriptor, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
}

/// Waits for something that another thread does.
pub fn eventually(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}
