//! The messages of one client, from the version to the close.
//!
//! Owns: negotiation, argument checks, replies.
//!
//! Never: keeps device state.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde_json::{Map, Value, json};

use super::message::{self as m, HEADER_LEN, Header, command, field_u32, field_u64};
use super::socket::{receive, send};
use super::{Area, Device, DmaWindow, Errno, IRQ_INDICES, IrqAction, MAX_DESCRIPTORS, MAX_TRANSFER, REGIONS};

/// Protocol major version served.
const MAJOR: u16 = 0;
/// The only minor version served; every client must accept it.
const MINOR: u16 = 0;

/// What a command leaves to be sent: the body is in the session's buffer.
type Reply<'a> = Result<Vec<BorrowedFd<'a>>, Errno>;

/// Serves one client until it closes or the stream fails.
///
/// # Errors
/// The stream failed or the client broke the protocol so that its messages can no longer be told apart.
pub fn serve(device: &dyn Device, stream: &UnixStream) -> io::Result<()> {
    let mut body = Vec::new();
    let mut reply = Vec::new();
    let mut negotiated = false;
    while let Some(received) = receive(stream, &mut body)? {
        let header = received.header;
        if header.flags & m::FLAG_TYPE != 0 {
            // A reply: this server never asks anything.
            continue;
        }
        reply.clear();
        let result = match header.command {
            command::VERSION if !negotiated => {
                let result = version(&body, &mut reply);
                negotiated = result.is_ok();
                result
            }
            _ if !negotiated => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "first message is not VERSION"));
            }
            _ => dispatch(device, header.command, &body, received.descriptors, &mut reply),
        };
        if header.flags & m::FLAG_NO_REPLY != 0 {
            continue;
        }
        let answer = Header { flags: m::FLAG_REPLY, error: 0, size: (HEADER_LEN + reply.len()) as u32, ..header };
        match result {
            Ok(descriptors) => send(stream, answer, &reply, &descriptors)?,
            Err(error) => {
                let answer = Header {
                    flags: m::FLAG_REPLY | m::FLAG_ERROR,
                    error: error.raw_os_error().unsigned_abs(),
                    size: HEADER_LEN as u32,
                    ..answer
                };
                send(stream, answer, &[], &[])?;
            }
        }
    }
    Ok(())
}

fn dispatch<'a>(
    device: &'a dyn Device,
    number: u16,
    body: &[u8],
    descriptors: Vec<OwnedFd>,
    reply: &mut Vec<u8>,
) -> Reply<'a> {
    match number {
        command::REGION_READ => region_read(device, body, reply),
        command::REGION_WRITE => region_write(device, body, reply),
        command::REGION_WRITE_MULTI => region_write_multi(device, body, reply),
        command::DMA_MAP => dma_map(device, body, descriptors),
        command::DMA_UNMAP => dma_unmap(device, body, reply),
        command::GET_INFO => info(body, reply),
        command::GET_REGION_INFO => region_info(device, body, reply),
        command::GET_REGION_IO_FDS => region_io_descriptors(body, reply),
        command::GET_IRQ_INFO => irq_info(device, body, reply),
        command::SET_IRQS => set_irqs(device, body, descriptors),
        command::DEVICE_RESET => {
            device.reset();
            Ok(Vec::new())
        }
        _ => Err(Errno::OPNOTSUPP),
    }
}

/// The field at `offset`, or the error of a body that is too short.
fn u32_at(body: &[u8], offset: usize) -> Result<u32, Errno> {
    field_u32(body, offset).ok_or(Errno::INVAL)
}

fn u64_at(body: &[u8], offset: usize) -> Result<u64, Errno> {
    field_u64(body, offset).ok_or(Errno::INVAL)
}

fn version<'a>(body: &[u8], reply: &mut Vec<u8>) -> Reply<'a> {
    // The proposed minor version does not matter: the answer is the lowest.
    let major = u32_at(body, 0)? as u16;
    if major != MAJOR {
        return Err(Errno::NOTSUP);
    }
    let text = body.get(4..).unwrap_or_default();
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let offered = match text {
        [] => Value::Null,
        _ => serde_json::from_slice(text).map_err(|_| Errno::INVAL)?,
    };
    reply.extend(MAJOR.to_le_bytes());
    reply.extend(MINOR.to_le_bytes());
    reply.extend(json!({ "capabilities": capabilities(&offered["capabilities"]) }).to_string().bytes());
    reply.push(0);
    Ok(Vec::new())
}

/// Our capabilities, reduced to those that the client named: the reply must be a subset.
fn capabilities(offered: &Value) -> Map<String, Value> {
    let ours = json!({
        "max_msg_fds": MAX_DESCRIPTORS,
        "max_data_xfer_size": MAX_TRANSFER,
        "max_dma_maps": 65535,
        "pgsizes": 4096,
        "write_multiple": true,
    });
    let Value::Object(ours) = ours else { return Map::new() };
    ours.into_iter().filter(|(name, _)| offered.get(name).is_some()).collect()
}

fn info<'a>(body: &[u8], reply: &mut Vec<u8>) -> Reply<'a> {
    if u32_at(body, 0)? < 16 {
        return Err(Errno::INVAL);
    }
    for field in [16, m::INFO_RESET_PCI, REGIONS as u32, IRQ_INDICES] {
        reply.extend(field.to_le_bytes());
    }
    Ok(Vec::new())
}

fn region_index(raw: u32) -> Result<usize, Errno> {
    usize::try_from(raw).ok().filter(|index| *index < REGIONS).ok_or(Errno::INVAL)
}

fn region_info<'a>(device: &'a dyn Device, body: &[u8], reply: &mut Vec<u8>) -> Reply<'a> {
    let room = u32_at(body, 0)? as usize;
    let index = region_index(u32_at(body, 8)?)?;
    if room < m::REGION_INFO_LEN {
        return Err(Errno::INVAL);
    }
    let region = device.region(index);
    let areas: &[Area] = region.file.as_ref().map_or(&[], |(_, areas)| areas);
    let mut flags = if region.size == 0 { 0 } else { m::REGION_READ_WRITE };
    let mut full = m::REGION_INFO_LEN;
    if !areas.is_empty() {
        flags |= m::REGION_MMAP | m::REGION_CAPS;
        full += 16 + 16 * areas.len();
    }
    let fits = room >= full;
    for field in [full as u32, flags, index as u32, if areas.is_empty() { 0 } else { m::REGION_INFO_LEN as u32 }] {
        reply.extend(field.to_le_bytes());
    }
    reply.extend(region.size.to_le_bytes());
    reply.extend(0u64.to_le_bytes());
    if !fits || areas.is_empty() {
        // A client without room learns the full size and asks again; the descriptor goes with the full answer only.
        return Ok(Vec::new());
    }
    reply.extend(m::CAP_SPARSE_MMAP.to_le_bytes());
    reply.extend(1u16.to_le_bytes());
    for field in [0, areas.len() as u32, 0] {
        reply.extend(field.to_le_bytes());
    }
    for area in areas {
        reply.extend(area.offset.to_le_bytes());
        reply.extend(area.len.to_le_bytes());
    }
    Ok(region.file.into_iter().map(|(file, _)| file).collect())
}

fn region_io_descriptors<'a>(body: &[u8], reply: &mut Vec<u8>) -> Reply<'a> {
    let index = region_index(u32_at(body, 8)?)?;
    if u32_at(body, 0)? < 16 {
        return Err(Errno::INVAL);
    }
    for field in [16, 0, index as u32, 0] {
        reply.extend(field.to_le_bytes());
    }
    Ok(Vec::new())
}

fn irq_info<'a>(device: &dyn Device, body: &[u8], reply: &mut Vec<u8>) -> Reply<'a> {
    let index = u32_at(body, 8)?;
    if u32_at(body, 0)? < 16 || index >= IRQ_INDICES {
        return Err(Errno::INVAL);
    }
    for field in [16, m::IRQ_EVENTFD_NORESIZE, index, device.irq_count(index)] {
        reply.extend(field.to_le_bytes());
    }
    Ok(Vec::new())
}

fn set_irqs<'a>(device: &dyn Device, body: &[u8], descriptors: Vec<OwnedFd>) -> Reply<'a> {
    let (flags, index, start) = (u32_at(body, 4)?, u32_at(body, 8)?, u32_at(body, 12)?);
    let mut count = u32_at(body, 16)?;
    if index >= IRQ_INDICES {
        return Err(Errno::INVAL);
    }
    let available = device.irq_count(index);
    let whole_index = count == 0 && start == 0 && flags & m::IRQ_DATA_NONE != 0;
    if whole_index {
        count = available;
    }
    if start > available || count > available - start {
        return Err(Errno::INVAL);
    }
    let data = flags & (m::IRQ_DATA_NONE | m::IRQ_DATA_BOOL | m::IRQ_DATA_EVENTFD);
    let selected = match data {
        m::IRQ_DATA_NONE => vec![true; count as usize],
        m::IRQ_DATA_BOOL => {
            let flags = body.get(20..20 + count as usize).ok_or(Errno::INVAL)?;
            flags.iter().map(|flag| *flag != 0).collect()
        }
        m::IRQ_DATA_EVENTFD => Vec::new(),
        _ => return Err(Errno::INVAL),
    };
    let action = match flags & (m::IRQ_ACTION_MASK | m::IRQ_ACTION_UNMASK | m::IRQ_ACTION_TRIGGER) {
        m::IRQ_ACTION_TRIGGER if data == m::IRQ_DATA_EVENTFD && descriptors.is_empty() => IrqAction::Detach,
        m::IRQ_ACTION_TRIGGER if data == m::IRQ_DATA_EVENTFD => {
            if descriptors.len() != count as usize {
                return Err(Errno::INVAL);
            }
            IrqAction::Attach(descriptors)
        }
        m::IRQ_ACTION_TRIGGER if whole_index => IrqAction::Detach,
        m::IRQ_ACTION_TRIGGER => IrqAction::Trigger(selected),
        m::IRQ_ACTION_MASK if data != m::IRQ_DATA_EVENTFD => IrqAction::Mask(true, selected),
        m::IRQ_ACTION_UNMASK if data != m::IRQ_DATA_EVENTFD => IrqAction::Mask(false, selected),
        _ => return Err(Errno::INVAL),
    };
    device.set_irqs(index, start, count, action)?;
    Ok(Vec::new())
}

/// Checks that `offset .. offset + count` lies inside the region and that the transfer is neither empty nor too large.
fn check_access(device: &dyn Device, index: u32, offset: u64, count: u32) -> Result<usize, Errno> {
    let index = region_index(index)?;
    let size = device.region(index).size;
    let inside = offset.checked_add(u64::from(count)).is_some_and(|end| end <= size);
    if count == 0 || count > MAX_TRANSFER || !inside { Err(Errno::INVAL) } else { Ok(index) }
}

fn region_read<'a>(device: &dyn Device, body: &[u8], reply: &mut Vec<u8>) -> Reply<'a> {
    let (offset, index, count) = (u64_at(body, 0)?, u32_at(body, 8)?, u32_at(body, 12)?);
    let region = check_access(device, index, offset, count)?;
    reply.extend(&body[..16]);
    reply.resize(16 + count as usize, 0);
    device.read(region, offset, &mut reply[16..])?;
    Ok(Vec::new())
}

fn region_write<'a>(device: &dyn Device, body: &[u8], reply: &mut Vec<u8>) -> Reply<'a> {
    let (offset, index, count) = (u64_at(body, 0)?, u32_at(body, 8)?, u32_at(body, 12)?);
    let region = check_access(device, index, offset, count)?;
    let data = body.get(16..16 + count as usize).ok_or(Errno::INVAL)?;
    device.write(region, offset, data)?;
    reply.extend(&body[..16]);
    Ok(Vec::new())
}

fn region_write_multi<'a>(device: &dyn Device, body: &[u8], reply: &mut Vec<u8>) -> Reply<'a> {
    let writes = u64_at(body, 0)?;
    let entries = body.get(8..).unwrap_or_default().as_chunks::<24>().0;
    if usize::try_from(writes).is_ok_and(|writes| writes > entries.len()) {
        return Err(Errno::INVAL);
    }
    let mut done = 0u64;
    for entry in entries.iter().take(usize::try_from(writes).map_err(|_| Errno::INVAL)?) {
        let (offset, index, count) = (u64_at(entry, 0)?, u32_at(entry, 8)?, u32_at(entry, 12)?);
        let data = entry.get(16..).and_then(|data| data.get(..count as usize)).ok_or(Errno::INVAL);
        let result = check_access(device, index, offset, count).and_then(|region| device.write(region, offset, data?));
        if let Err(error) = result {
            if done == 0 {
                return Err(error);
            }
            // The count in the reply tells the client where it ended.
            break;
        }
        done += 1;
    }
    reply.extend(done.to_le_bytes());
    Ok(Vec::new())
}

fn dma_map<'a>(device: &dyn Device, body: &[u8], descriptors: Vec<OwnedFd>) -> Reply<'a> {
    let window = DmaWindow { file_offset: u64_at(body, 8)?, address: u64_at(body, 16)?, size: u64_at(body, 24)? };
    device.dma_map(window, descriptors.into_iter().next());
    Ok(Vec::new())
}

fn dma_unmap<'a>(device: &dyn Device, body: &[u8], reply: &mut Vec<u8>) -> Reply<'a> {
    let (address, size) = (u64_at(body, 8)?, u64_at(body, 16)?);
    device.dma_unmap(address, size);
    reply.extend(&body[..24]);
    Ok(Vec::new())
}
