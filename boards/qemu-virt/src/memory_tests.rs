//! Tests of device-memory reads: who may read what, translation, and what a fault leaves behind.

use coxswain_abi::regs::{self, mmu, psoc};
use coxswain_abi::soc::{Attributes, WriteKind, info};
use coxswain_core::ports::{CardMemory, Clock, DeviceMemory, HostMemory, PostedWrites, ReadError, Registers};

use crate::board::Board;
use crate::clock::BoardClock;
use crate::fake::{FakeCard, HBM_BYTES, HOST_BYTES};
use crate::memory::{CardWindow, DeviceReader, HostWindow};

/// Hop-0 table of ASID 1, where the driver puts it.
const HOP0: u64 = 0x1000_1000;
/// Tables of the other hops.
const TABLES: [u64; 4] = [0x1000_2000, 0x1000_3000, 0x1000_4000, 0x1000_5000];
/// A 4 KiB mapping.
const SMALL: u64 = 0x1_2345_6789_A000;
/// A 2 MiB mapping under the same hop-3 table: the next 2 MiB.
const LARGE: u64 = (SMALL & !0x1F_FFFF) + 0x20_0000;

const USER: Attributes = Attributes::new(false, false, 1, 0);
const SECURE: Attributes = Attributes::new(true, true, 0, 0);

/// Maps [`SMALL`] to host page `page` and [`LARGE`] to host address 0x20_0000.
fn map(card: &FakeCard, page: u64) {
    let index = |address: u64, shift: u32, mask: u64| 8 * (address >> shift & mask);
    card.set_hbm(HOP0 + index(SMALL, 48, 3), TABLES[0] | 1);
    card.set_hbm(TABLES[0] + index(SMALL, 39, 0x1FF), TABLES[1] | 1);
    card.set_hbm(TABLES[1] + index(SMALL, 30, 0x1FF), TABLES[2] | 1);
    card.set_hbm(TABLES[2] + index(SMALL, 21, 0x1FF), TABLES[3] | 1);
    card.set_hbm(TABLES[3] + index(SMALL, 12, 0x1FF), (regs::HOST_BASE + page) | 0x801);
    card.set_hbm(TABLES[2] + index(LARGE, 21, 0x1FF), (regs::HOST_BASE + 0x20_0000) | 0x801);
    card.set_info(info::HOP0 + 8, HOP0);
    card.set_register(mmu::MMU_ENABLE, 1);
}

fn read(reader: &mut DeviceReader, address: u64, access: Attributes) -> Result<u64, ReadError> {
    let mut word = [0];
    reader.read_words(address, access, &mut word).map(|()| word[0])
}

#[test]
fn the_first_half_gigabyte_of_hbm_is_closed_to_users() {
    let card = FakeCard::new();
    card.set_hbm(0x1FFF_FFF8, 1);
    card.set_hbm(0x2000_0000, 2);
    let mut reader = DeviceReader::new(&card.soc);
    assert_eq!(read(&mut reader, 0x1FFF_FFF8, USER), Err(ReadError::Unmapped { address: 0x1FFF_FFF8 }));
    assert_eq!(read(&mut reader, 0x1FFF_FFF8, SECURE), Ok(1));
    assert_eq!(read(&mut reader, 0x2000_0000, USER), Ok(2));
}

#[test]
fn memory_ends_where_its_file_ends() {
    let card = FakeCard::new();
    let mut reader = DeviceReader::new(&card.soc);
    assert_eq!(read(&mut reader, HBM_BYTES - 8, USER), Ok(0));
    assert!(read(&mut reader, HBM_BYTES, USER).is_err());
    assert!(reader.read_words(HBM_BYTES - 8, USER, &mut [0; 2]).is_err());
    assert_eq!(read(&mut reader, regs::SRAM_BASE + regs::SRAM_SIZE - 8, USER), Ok(0));
    assert!(read(&mut reader, regs::SRAM_BASE + regs::SRAM_SIZE, USER).is_err());
    assert_eq!(read(&mut reader, regs::HOST_BASE + HOST_BYTES - 8, SECURE), Ok(0));
    assert!(read(&mut reader, regs::HOST_BASE + HOST_BYTES, SECURE).is_err());
    assert!(read(&mut reader, u64::MAX - 7, SECURE).is_err());
}

#[test]
fn registers_and_misaligned_addresses_are_no_memory() {
    let card = FakeCard::new();
    let mut reader = DeviceReader::new(&card.soc);
    assert!(read(&mut reader, regs::CFG_BASE, SECURE).is_err());
    assert!(read(&mut reader, regs::SCRATCHPAD_BASE, SECURE).is_err());
    assert!(read(&mut reader, regs::SRAM_BASE + 4, SECURE).is_err());
}

#[test]
fn a_user_address_is_translated_by_small_and_large_pages() {
    let card = FakeCard::new();
    map(&card, 0x5000);
    card.set_host(0x5018, 0x1111);
    card.set_host(0x20_0000 + 0x1_2340, 0x2222);
    let mut reader = DeviceReader::new(&card.soc);
    assert_eq!(read(&mut reader, SMALL + 0x18, USER), Ok(0x1111));
    assert_eq!(read(&mut reader, SMALL + 0x18, USER), Ok(0x1111));
    assert_eq!(read(&mut reader, LARGE + 0x1_2340, USER), Ok(0x2222));
}

#[test]
fn a_read_across_pages_translates_each() {
    let card = FakeCard::new();
    map(&card, 0x5000);
    card.set_host(0x20_0FF8, 1);
    card.set_host(0x20_1000, 2);
    let mut reader = DeviceReader::new(&card.soc);
    let mut words = [0; 2];
    reader.read_words(LARGE + 0xFF8, USER, &mut words).unwrap();
    assert_eq!(words, [1, 2]);
    // The page behind SMALL is not mapped.
    assert_eq!(
        reader.read_words(SMALL + 0xFF8, USER, &mut words),
        Err(ReadError::PageFault { address: SMALL + 0x1000 })
    );
}

#[test]
fn a_new_mapping_is_seen_when_the_generation_changes() {
    let card = FakeCard::new();
    map(&card, 0x5000);
    card.set_host(0x5000, 5);
    card.set_host(0x6000, 6);
    let mut reader = DeviceReader::new(&card.soc);
    assert_eq!(read(&mut reader, SMALL, USER), Ok(5));
    map(&card, 0x6000);
    card.set_info(info::MMU_GENERATION, 1);
    assert_eq!(read(&mut reader, SMALL, USER), Ok(6));
    card.set_hbm(TABLES[3] + 8 * (SMALL >> 12 & 0x1FF), 0);
    card.set_info(info::MMU_GENERATION, 2);
    assert_eq!(read(&mut reader, SMALL, USER), Err(ReadError::PageFault { address: SMALL }));
}

#[test]
fn everything_that_is_not_mapped_is_a_page_fault() {
    let card = FakeCard::new();
    map(&card, 0x5000);
    let mut reader = DeviceReader::new(&card.soc);
    let other_asids = [Attributes::new(false, false, 0, 0), Attributes::new(false, false, 2, 0)];
    for access in other_asids {
        assert_eq!(read(&mut reader, SMALL, access), Err(ReadError::PageFault { address: SMALL }));
    }
    // Host physical addresses are not reachable without bypass, and a table outside HBM ends the walk.
    let physical = regs::HOST_BASE + 0x5000;
    assert_eq!(read(&mut reader, physical, USER), Err(ReadError::PageFault { address: physical }));
    card.set_hbm(TABLES[2] + 8 * (SMALL >> 21 & 0x1FF), (HBM_BYTES + 0x1000) | 1);
    card.set_info(info::MMU_GENERATION, 1);
    assert_eq!(read(&mut reader, SMALL, USER), Err(ReadError::PageFault { address: SMALL }));
    // A page outside host memory is no page fault: the table is right, nobody answers.
    map(&card, HOST_BYTES);
    card.set_info(info::MMU_GENERATION, 2);
    assert_eq!(read(&mut reader, SMALL, USER), Err(ReadError::Unmapped { address: SMALL }));
}

#[test]
fn without_the_mmu_addresses_are_physical() {
    let card = FakeCard::new();
    card.set_host(0x5000, 7);
    let mut reader = DeviceReader::new(&card.soc);
    assert_eq!(read(&mut reader, regs::HOST_BASE + 0x5000, USER), Ok(7));
    assert_eq!(read(&mut reader, SMALL, USER), Err(ReadError::Unmapped { address: SMALL }));
}

#[test]
fn the_board_latches_the_first_page_fault_only() {
    let card = FakeCard::new();
    map(&card, 0x5000);
    let mut board = Board::new(card.soc, 0, BoardClock::stopped(0)).unwrap();
    let fault = SMALL + 0x1000;
    assert!(board.read_words(fault, USER, &mut [0]).is_err());
    board.flush();
    let writes = card.consume();
    assert_eq!(writes.len(), 2);
    assert_eq!(
        (writes[0].address, writes[0].data),
        (regs::CFG_BASE + u64::from(mmu::PAGE_ERROR_CAPTURE_VA), fault as u32)
    );
    assert_eq!(writes[1].address, regs::CFG_BASE + u64::from(mmu::PAGE_ERROR_CAPTURE));
    assert_eq!(writes[1].data, mmu::CAPTURE_VALID | (fault >> 32) as u32);
    assert!(writes.iter().all(|write| write.attributes.kind() == WriteKind::Status));
    card.set_register(mmu::PAGE_ERROR_CAPTURE, writes[1].data);
    assert!(board.read_words(fault + 0x1000, USER, &mut [0]).is_err());
    board.flush();
    assert_eq!(card.consume(), []);
}

#[test]
fn the_plain_copies_are_bounded() {
    let card = FakeCard::new();
    let mut host = HostWindow::new(&card.soc);
    assert!(host.write(HOST_BYTES - 3, &[1, 2, 3]).is_ok());
    let mut bytes = [0; 3];
    host.read(HOST_BYTES - 3, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3]);
    assert!(host.write(HOST_BYTES - 2, &[1, 2, 3]).is_err());
    assert!(host.read(u64::MAX, &mut bytes).is_err());
    assert!(host.write_release(0x102, 1).is_err());
    assert!(host.write_release(0x100, 0x1234).is_ok());
    assert_eq!(card.soc.host.read_u32(0x100), Some(0x1234));

    let mut memory = CardWindow::new(&card.soc);
    assert!(memory.write(regs::SRAM_BASE + 1, b"sram").is_ok());
    assert!(memory.write(regs::HBM_BASE + HBM_BYTES - 3, b"hbm").is_ok());
    let mut bytes = [0; 4];
    memory.read(regs::SRAM_BASE + 1, &mut bytes).unwrap();
    assert_eq!(&bytes, b"sram");
    assert!(memory.write(regs::HBM_BASE + HBM_BYTES - 2, b"hbm").is_err());
    assert!(memory.read(regs::CFG_BASE, &mut bytes).is_err());
}

#[test]
fn registers_are_read_from_the_shadow_and_nothing_lies_outside() {
    let card = FakeCard::new();
    card.set_register(psoc::KMD_MSG_TO_CPU, 0x1800_0500);
    let board = Board::new(card.soc, 0, BoardClock::stopped(0)).unwrap();
    assert_eq!(Registers::read(&board, psoc::KMD_MSG_TO_CPU), 0x1800_0500);
    assert_eq!(Registers::read(&board, 0x0200_0000), 0);
    assert_eq!(Registers::read(&board, 2), 0);
    assert_eq!(board.now_us(), 0);
}
