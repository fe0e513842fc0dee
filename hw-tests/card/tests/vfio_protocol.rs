//! The protocol as a client sees it: bytes on the socket, descriptors, errors.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

#[allow(dead_code, reason = "each test file uses a part")]
mod vfio_bench;
#[allow(dead_code, reason = "each test file uses a part")]
mod vfio_client;

use std::os::fd::AsFd;

use proptest::prelude::*;
use vfio_bench::Bench;
use vfio_client::{Client, access, event, events, eventually, words};

use coxswain_card::memory::SharedFile;

const EINVAL: u32 = 22;
const EOPNOTSUPP: u32 = 95;
const CONFIG: u32 = 7;

#[test]
fn the_version_reply_names_only_capabilities_that_were_proposed() {
    let bench = Bench::new();
    let mut client = Client::connect_raw(&bench.host_socket());
    let text = br#"{"capabilities":{"max_msg_fds":3,"unknown":{"a":[1]}}}"#;
    let reply = client.call(1, &[&[0, 0, 9, 0], &text[..], &[0]].concat()).unwrap();
    assert_eq!(reply[..4], [0; 4]);
    assert_eq!(reply.last(), Some(&0));
    let json: serde_json::Value = serde_json::from_slice(&reply[4..reply.len() - 1]).unwrap();
    assert_eq!(json, serde_json::json!({"capabilities": {"max_msg_fds": 8}}));
}

#[test]
fn a_version_without_capabilities_is_enough() {
    let bench = Bench::new();
    let mut client = Client::connect_raw(&bench.host_socket());
    assert!(client.call(1, &[0; 4]).is_ok());
    assert!(client.call(4, &words(&[16, 0, 0, 0])).is_ok());
}

#[test]
fn another_major_version_or_broken_json_is_refused_and_can_be_repeated() {
    let bench = Bench::new();
    let mut client = Client::connect_raw(&bench.host_socket());
    assert!(client.call(1, &[1, 0, 0, 0]).is_err());
    assert_eq!(client.call(1, &[0, 0, 0, 0, b'{', 0]), Err(EINVAL));
    assert_eq!(client.call(1, &[0]), Err(EINVAL));
    assert!(client.call(1, &[0; 4]).is_ok());
}

#[test]
fn a_client_that_does_not_start_with_the_version_is_dropped() {
    let bench = Bench::new();
    let mut client = Client::connect_raw(&bench.host_socket());
    client.send(4, 0, &words(&[16, 0, 0, 0]), &[]);
    assert!(client.is_closed());
    Client::connect(&bench.host_socket());
}

#[test]
fn the_device_is_a_pci_function_that_can_be_reset() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    assert_eq!(client.call(4, &words(&[16, 0, 0, 0])).unwrap(), words(&[16, 3, 9, 5]));
    assert_eq!(client.call(4, &words(&[8, 0, 0, 0])), Err(EINVAL));
}

#[test]
fn a_mappable_region_comes_with_its_areas_and_its_file() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    let request = |room, index| words(&[room, 0, index, 0, 0, 0, 0, 0]);
    // No room for the areas: the needed size, no descriptor.
    let (short, descriptors) = client.call_with(5, &request(32, 0), &[]).unwrap();
    assert_eq!(short, words(&[64, 0xF, 0, 32, 0x400_0000, 0, 0, 0]));
    assert!(descriptors.is_empty());
    let (full, mut descriptors) = client.call_with(5, &request(64, 0), &[]).unwrap();
    let mut expected = words(&[64, 0xF, 0, 32, 0x400_0000, 0, 0, 0]);
    // Sparse-map capability: id 1 version 1, no next, one area from 0 over the whole BAR.
    expected.extend(words(&[0x1_0001, 0, 1, 0, 0, 0, 0x400_0000, 0]));
    assert_eq!(full, expected);
    assert_eq!(descriptors.len(), 1);
    let mapped = SharedFile::from_fd(descriptors.remove(0), 0x400_0000).unwrap();
    client.write_u32(CONFIG, 4, 2);
    client.write_u32(0, 0x2000, 0xC0FF_EE00);
    assert_eq!(mapped.read_u32(0x2000), Ok(0xC0FF_EE00));
    mapped.write_u32(0x2004, 7).unwrap();
    assert_eq!(client.read_u32(0, 0x2004), 7);
}

#[test]
fn a_trapped_region_has_no_file_and_an_absent_one_no_size() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    for (index, flags, size) in [(1, 0, 0), (2, 3, 0x800_0000), (6, 0, 0), (7, 3, 4096), (8, 0, 0)] {
        let (body, descriptors) = client.call_with(5, &words(&[64, 0, index, 0, 0, 0, 0, 0]), &[]).unwrap();
        assert_eq!(body, words(&[32, flags, index, 0, size, 0, 0, 0]));
        assert!(descriptors.is_empty());
    }
    assert_eq!(client.call(5, &words(&[64, 0, 9, 0, 0, 0, 0, 0])), Err(EINVAL));
    assert_eq!(client.call(5, &words(&[31, 0, 0, 0, 0, 0, 0, 0])), Err(EINVAL));
    assert_eq!(client.call(6, &words(&[64, 0, 2, 0])).unwrap(), words(&[16, 0, 2, 0]));
}

#[test]
fn msi_has_one_vector_for_the_host_and_one_per_core_for_the_soc() {
    let bench = Bench::new();
    for (socket, vectors) in [(bench.host_socket(), 1), (bench.soc_socket(), 4)] {
        let mut client = Client::connect(&socket);
        for (index, count) in [(0, 0), (1, vectors), (2, 0), (3, 1), (4, 0)] {
            assert_eq!(client.call(7, &words(&[16, 0, index, 0])).unwrap(), words(&[16, 9, index, count]));
        }
        assert_eq!(client.call(7, &words(&[16, 0, 5, 0])), Err(EINVAL));
    }
}

/// DATA_EVENTFD with ACTION_TRIGGER, and the same with DATA_NONE.
const ATTACH: u32 = 0x24;
const TRIGGER: u32 = 0x21;

#[test]
fn an_msi_signals_the_descriptor_of_its_vector() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.soc_socket());
    let ours = [event(), event(), event(), event()];
    client.set_irqs(ATTACH, 1, 0, 4, &ours.each_ref()).unwrap();
    client.write_u32(CONFIG, 4, 0x6);
    // MSI control: enable, four vectors.
    client.region_write(CONFIG, 0x52, &0x21u16.to_le_bytes()).unwrap();
    bench.soc.msi().raise(2);
    assert_eq!(ours.each_ref().map(events), [0, 0, 1, 0]);
    client.set_irqs(TRIGGER, 1, 3, 1, &[]).unwrap();
    assert_eq!(ours.each_ref().map(events), [0, 0, 0, 1]);
    // A count of 0 without data takes all descriptors away.
    client.set_irqs(TRIGGER, 1, 0, 0, &[]).unwrap();
    bench.soc.msi().raise(2);
    assert_eq!(ours.each_ref().map(events), [0; 4]);
}

#[test]
fn irq_requests_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.soc_socket());
    let ours = event();
    for (flags, index, start, count, fds) in [
        (ATTACH, 1, 0, 2, &[&ours][..]),
        (ATTACH, 1, 4, 1, &[&ours]),
        (ATTACH, 1, u32::MAX, 2, &[&ours]),
        (ATTACH, 5, 0, 1, &[&ours]),
        (ATTACH, 0, 0, 1, &[&ours]),
        (ATTACH | 1, 1, 0, 1, &[&ours]),
        (0x20, 1, 0, 1, &[]),
        (0x01, 1, 0, 1, &[]),
        // An array of flags that is not there.
        (0x22, 1, 0, 4, &[]),
    ] {
        assert_eq!(client.set_irqs(flags, index, start, count, fds), Err(EINVAL), "{flags:#x} {index} {start} {count}");
    }
}

#[test]
fn accesses_outside_a_region_are_refused() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    for (region, offset, count) in [
        (CONFIG, 4093, 4),
        (CONFIG, u64::MAX, 4),
        (2, 0x800_0000, 4),
        (4, 0x8_0000_0000, 1),
        (0, 0, 0),
        (0, 0, (1 << 20) + 1),
        (1, 0, 4),
        (9, 0, 4),
        (u32::MAX, 0, 4),
    ] {
        assert_eq!(client.region_read(region, offset, count), Err(EINVAL), "{region} {offset:#x} {count}");
        let request = access(region, offset, count);
        assert_eq!(client.call(10, &[&request[..], &[0; 4]].concat()), Err(EINVAL));
    }
    // Less data than announced.
    assert_eq!(client.call(10, &[&access(CONFIG, 0, 8)[..], &[0; 4]].concat()), Err(EINVAL));
    assert_eq!(client.region_read(4, 0x7_FFFF_FFFF, 1), Ok(vec![0xFF]), "memory is not enabled");
    assert_eq!(client.region_read(CONFIG, 0, 4096).unwrap().len(), 4096);
}

#[test]
fn several_writes_in_one_message_are_done_in_order() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    client.write_u32(CONFIG, 4, 2);
    let entry = |offset: u64, count: u32, value: u64| [&access(2, offset, count)[..], &value.to_le_bytes()].concat();
    let body = [2u64.to_le_bytes().to_vec(), entry(0x400_0100, 4, 5), entry(0x400_0200, 8, 0x7_0000_0006)].concat();
    assert_eq!(client.call(15, &body).unwrap(), 2u64.to_le_bytes());
    assert_eq!(bench.registers.take_log(), ["write 0x100 0x5", "write 0x200 0x6", "write 0x204 0x7"]);
    let body = [2u64.to_le_bytes().to_vec(), entry(0x400_0100, 4, 5), entry(0x400_0200, 9, 0)].concat();
    assert_eq!(client.call(15, &body).unwrap(), 1u64.to_le_bytes());
    assert_eq!(client.call(15, &[2u64.to_le_bytes().to_vec(), entry(0, 4, 0)].concat()), Err(EINVAL));
    assert_eq!(client.call(15, &u64::MAX.to_le_bytes()), Err(EINVAL));
}

#[test]
fn windows_of_memory_come_and_go_with_and_without_a_file() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    let map = |address: u64, offset: u64| {
        [words(&[32, 3]), [offset, address, 0x10_0000].iter().flat_map(|field| field.to_le_bytes()).collect()].concat()
    };
    for _ in 0..100 {
        client.call_with(2, &map(0x10_0000, 0x10_0000), &[bench.memories.host.fd()]).unwrap();
        client.call_with(2, &map(0x8_0000_0000, 0), &[]).unwrap();
        let unmap =
            [words(&[24, 0]), [0x10_0000u64, 0x10_0000].iter().flat_map(|f| f.to_le_bytes()).collect()].concat();
        assert_eq!(client.call(3, &unmap).unwrap(), unmap, "the entry is returned");
    }
    assert_eq!(bench.host.counts().foreign_windows, 0);
    client.call_with(2, &map(0x10_0000, 0), &[bench.memories.host.fd()]).unwrap();
    assert_eq!(bench.host.counts().foreign_windows, 1, "a window at another place than the card believes");
}

#[test]
fn a_command_that_wants_no_reply_gets_none_and_is_done_before_the_next() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    client.send(10, 0x10, &[&access(CONFIG, 0xFF4, 4)[..], &[1, 2, 3, 4]].concat(), &[]);
    // A reply that nobody asked for is ignored too.
    client.send(11, 0x01, &[0; 16], &[]);
    assert_eq!(client.region_read(CONFIG, 0xFF4, 4).unwrap(), [1, 2, 3, 4]);
}

#[test]
fn commands_sent_without_waiting_keep_order_and_descriptors() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    let ours = event();
    let first = client.send(9, 0, &access(CONFIG, 0, 2), &[]);
    let second = client.send(8, 0, &words(&[20, ATTACH, 1, 0, 1]), &[ours.as_fd()]);
    let third = client.send(8, 0, &words(&[20, TRIGGER, 1, 0, 1]), &[]);
    assert_eq!(client.receive(first, 9).unwrap().0[16..], [0xA3, 0x1D]);
    assert!(client.receive(second, 8).is_ok());
    assert!(client.receive(third, 8).is_ok());
    assert_eq!((events(&ours), bench.host.msi().counts().lost), (0, 1), "MSI is not enabled");
}

#[test]
fn an_unknown_command_is_refused_and_the_client_stays() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    for command in [0, 1, 11, 12, 14, 16, 17, 18, 0xFFFF] {
        assert_eq!(client.call(command, &[0; 64]), Err(EOPNOTSUPP));
    }
    assert!(client.call(4, &words(&[16, 0, 0, 0])).is_ok());
}

#[test]
fn a_reset_clears_pci_state_and_nothing_else() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.host_socket());
    client.write_u32(CONFIG, 4, 6);
    client.write_u32(CONFIG, 0x20, 0x1234_5678);
    client.write_u32(CONFIG, 0x24, 0x9ABC);
    client.region_write(CONFIG, 0x52, &[1, 0]).unwrap();
    client.write_u32(0, 0, 42);
    assert_eq!(bench.host.bar_address(4), 0x9AB8_0000_0000);
    assert!(client.call(13, &[]).unwrap().is_empty());
    assert_eq!(bench.host.bar_address(4), 0);
    assert_eq!(client.read_u32(0, 0), u32::MAX, "memory is disabled");
    bench.host.msi().raise(0);
    assert_eq!(bench.host.msi().counts().lost, 1);
    client.write_u32(CONFIG, 4, 2);
    assert_eq!(client.read_u32(0, 0), 42, "memory survives");
    assert!(bench.registers.take_log().is_empty(), "the card is not reset");
}

#[test]
fn the_next_client_finds_the_state_but_not_the_descriptors_of_the_last() {
    let bench = Bench::new();
    let mut first = Client::connect(&bench.host_socket());
    let ours = event();
    first.set_irqs(ATTACH, 1, 0, 1, &[&ours]).unwrap();
    first.write_u32(CONFIG, 4, 6);
    first.region_write(CONFIG, 0x52, &[1, 0]).unwrap();
    drop(first);
    let mut second = Client::connect(&bench.host_socket());
    assert_eq!(second.read_u32(CONFIG, 4) & 6, 6);
    bench.host.msi().raise(0);
    assert_eq!((events(&ours), bench.host.msi().counts().delivered), (0, 1));
    assert_eq!(bench.host_server.clients(), 2);
}

#[test]
fn a_stopped_server_closes_its_client_and_removes_its_socket() {
    let mut bench = Bench::new();
    let path = bench.host_socket();
    let mut client = Client::connect(&path);
    bench.host_server.stop();
    assert!(client.is_closed());
    assert!(!path.exists());
    bench.host_server.stop();
    let idle = bench.soc_socket();
    bench.soc_server.stop();
    assert!(!idle.exists());
}

#[test]
fn a_stale_socket_is_replaced_but_no_other_file() {
    use coxswain_card::vfio_user::Server;
    let bench = Bench::new();
    let path = bench.directory.path().join("other.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = Server::start(&path, bench.host.clone()).unwrap();
    Client::connect(&path);
    eventually(|| server.clients() == 1);
    let file = bench.directory.path().join("precious");
    std::fs::write(&file, "text").unwrap();
    assert!(Server::start(&file, bench.host.clone()).is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"text");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever a negotiated client sends in well-framed messages, the server answers and lives on.
    #[test]
    fn no_message_body_ends_the_service(
        messages in prop::collection::vec((0..20u16, prop::collection::vec(any::<u8>(), 0..80)), 1..40),
    ) {
        let bench = Bench::new();
        for socket in [bench.host_socket(), bench.soc_socket()] {
            let mut client = Client::connect(&socket);
            for (command, body) in &messages {
                let _ = client.call(*command, body);
            }
            prop_assert!(client.call(4, &words(&[16, 0, 0, 0])).is_ok());
        }
    }

    /// The same with fields that are nearly right, which reach further.
    #[test]
    fn no_plausible_access_ends_the_service(
        accesses in prop::collection::vec(
            (9..11u16, 0..9u32, prop_oneof![0..8192u64, 0x3FD_0000..0x402_0000u64, 0x7FF_E000..0x800_0010u64], 0..64u32),
            1..40,
        ),
    ) {
        let bench = Bench::new();
        for socket in [bench.host_socket(), bench.soc_socket()] {
            let mut client = Client::connect(&socket);
            client.write_u32(CONFIG, 4, 6);
            for (command, region, offset, count) in &accesses {
                let mut body = access(*region, *offset, *count).to_vec();
                body.resize(16 + *count as usize, 0x55);
                let _ = client.call(*command, &body);
            }
            prop_assert!(client.call(4, &words(&[16, 0, 0, 0])).is_ok());
        }
    }
}
