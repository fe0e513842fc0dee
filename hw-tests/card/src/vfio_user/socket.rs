//! Whole messages over a stream socket, with the descriptors that belong to them.
//!
//! Owns: framing. Exactly the header is read first and then exactly the body: a longer read could take in the start of the
//! next message and would attach that message's descriptors to this one (`emulation.md` 2).
//!
//! Never: interprets a body.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::message::{HEADER_LEN, Header};
use super::{MAX_DESCRIPTORS, MAX_TRANSFER};

/// Largest message a client may send: a write of the largest transfer.
const MAX_MESSAGE: usize = HEADER_LEN + 16 + MAX_TRANSFER as usize;

/// A message as it came: the body is in the caller's buffer.
#[derive(Debug)]
pub struct Received {
    /// The header, its size checked.
    pub header: Header,
    /// Descriptors of this message, at most [`MAX_DESCRIPTORS`].
    pub descriptors: Vec<OwnedFd>,
}

/// Reads the next message; its body replaces the contents of `body`. `None` = the other side closed between messages.
///
/// # Errors
/// The socket failed, closed inside a message, or announced an impossible size.
pub fn receive(stream: &UnixStream, body: &mut Vec<u8>) -> io::Result<Option<Received>> {
    let mut bytes = [0; HEADER_LEN];
    let mut descriptors = Vec::new();
    let mut filled = 0;
    while filled < HEADER_LEN {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        // PANIC: `filled` is below the array's length.
        let mut part = [IoSliceMut::new(&mut bytes[filled..])];
        let count = match recvmsg(stream, &mut part, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if count == 0 {
            return if filled == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        filled += count;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
    }
    let header = Header::decode(&bytes);
    let size = header.size as usize;
    if !(HEADER_LEN..=MAX_MESSAGE).contains(&size) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("message of {size} bytes")));
    }
    body.clear();
    body.resize(size - HEADER_LEN, 0);
    let mut reader = stream;
    reader.read_exact(body)?;
    Ok(Some(Received { header, descriptors }))
}

/// Sends a message whose header is complete, with `descriptors` attached to its first byte.
///
/// # Errors
/// The socket failed or is closed.
pub fn send(stream: &UnixStream, header: Header, body: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let head = header.encode();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let mut sent = 0;
    while sent < HEADER_LEN + body.len() {
        // QEMU treats a header that comes in parts as an error: header and body leave in one call.
        let (first, second) =
            if sent < HEADER_LEN { (&head[sent..], body) } else { (&[][..], &body[sent - HEADER_LEN..]) };
        match sendmsg(stream, &[IoSlice::new(first), IoSlice::new(second)], &mut control, SendFlags::NOSIGNAL) {
            Ok(count) => {
                sent += count;
                control.clear();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    fn header(size: u32) -> Header {
        Header { id: 1, command: 2, size, flags: 0, error: 0 }
    }

    #[test]
    fn queued_messages_keep_their_own_descriptors() {
        let (client, server) = UnixStream::pair().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        send(&client, header(20), b"aaaa", &[]).unwrap();
        send(&client, header(20), b"bbbb", &[reader.as_fd()]).unwrap();
        send(&client, header(16), b"", &[]).unwrap();
        let mut body = Vec::new();
        assert!(receive(&server, &mut body).unwrap().unwrap().descriptors.is_empty());
        assert_eq!(body, b"aaaa");
        let mut second = receive(&server, &mut body).unwrap().unwrap();
        assert_eq!(body, b"bbbb");
        writer.write_all(b"!").unwrap();
        let mut byte = [0];
        io::PipeReader::from(second.descriptors.remove(0)).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"!");
        assert!(receive(&server, &mut body).unwrap().unwrap().descriptors.is_empty());
    }

    #[test]
    fn a_header_in_two_pieces_is_one_message() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let bytes = header(18).encode();
        let thread = std::thread::spawn(move || {
            for byte in bytes {
                client.write_all(&[byte]).unwrap();
            }
            client.write_all(b"xy").unwrap();
            client
        });
        let mut body = Vec::new();
        assert_eq!(receive(&server, &mut body).unwrap().unwrap().header, header(18));
        assert_eq!(body, b"xy");
        drop(thread.join().unwrap());
        assert!(receive(&server, &mut body).unwrap().is_none());
    }

    #[test]
    fn an_impossible_size_ends_the_stream() {
        for size in [0, 15, MAX_MESSAGE as u32 + 1, u32::MAX] {
            let (client, server) = UnixStream::pair().unwrap();
            send(&client, header(size), b"", &[]).unwrap();
            assert!(receive(&server, &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn a_close_inside_a_message_is_an_error() {
        let (client, server) = UnixStream::pair().unwrap();
        send(&client, header(100), b"short", &[]).unwrap();
        drop(client);
        assert!(receive(&server, &mut Vec::new()).is_err());
    }
}
