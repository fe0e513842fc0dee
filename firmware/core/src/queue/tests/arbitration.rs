//! ARB_POINT: within a queue manager and between two.

use std::vec;
use std::vec::Vec;

use super::*;

/// `submission-path.md` 11.5: whoever wins the first request, the stream with the smaller number does its work last.
#[test]
fn the_stream_with_the_smaller_priority_works_last() {
    for first in [0, 1] {
        let mut bench = Bench::new();
        let base = regs::base(0);
        bench.fake.registers.insert(base + regs::ARB_CFG_0, 0x110);
        bench.engine.on_register_write(0, regs::ARB_CFG_0, 0x110, &mut bench.fake);
        let program = |priority: u32, value: u32| -> Vec<u64> {
            let request = Header::new(opcode::ARB_POINT, 0, priority).0;
            let release = Header::new(opcode::ARB_POINT, 0, 1 << 31 | priority).0;
            let mut words = vec![request, release, request];
            (0..32).for_each(|_| words.extend(packet::msg_long(SRAM_BASE, value, 0)));
            words.push(release);
            words
        };
        bench.store(host(0), &program(1, 1));
        bench.store(host(0x1000), &program(2, 2));
        let size = 8 * program(1, 1).len() as u32;
        for stream in [first, 1 - first] {
            bench.submit_bytes(0, stream, host(0x1000 * stream as u64), size);
        }
        let order: Vec<u32> = bench.run().iter().map(|write| write.data).collect();
        assert_eq!(order.len(), 64);
        assert!(order[..32].iter().all(|value| *value == 2) && order[32..].iter().all(|value| *value == 1));
    }
}

#[test]
fn a_disabled_arbiter_lets_its_waiting_streams_pass() {
    let mut bench = Bench::new();
    bench.engine.on_register_write(2, regs::ARB_CFG_0, 0x100, &mut bench.fake);
    let message = packet::msg_long(SRAM_BASE, 1, 0);
    bench.submit(2, 1, SRAM_BASE + 0x80, &[&[Header::new(opcode::ARB_POINT, 0, 0).0][..], &message].concat());
    assert_eq!(bench.run(), []);
    assert_eq!(bench.engine.blocked(2, 1), Some(Blocked::Arbiter));
    bench.engine.on_register_write(2, regs::ARB_CFG_0, 0, &mut bench.fake);
    assert_eq!(bench.run().len(), 1);
}

/// `qman.md` 6.3: the master tells its slave, the slave returns the credit.
#[test]
fn a_master_tells_its_slave_and_the_slave_returns_the_credit() {
    let mut bench = Bench::new();
    let (master, slave) = (regs::base(0), regs::base(2));
    for (offset, value) in [
        (master + regs::ARB_BASE_LO, CFG_BASE as u32),
        (master + regs::ARB_BASE_HI, (CFG_BASE >> 32) as u32),
        (slave + regs::ARB_BASE_LO, CFG_BASE as u32),
        (slave + regs::ARB_BASE_HI, (CFG_BASE >> 32) as u32),
        (master + regs::ARB_MST_SLAVE_EN, 1 << 3),
        (master + regs::ARB_MST_CHOISE_PUSH_OFST_0 + 12, slave + regs::ARB_CHOISE_Q_PUSH),
        (slave + regs::ARB_SLV_ID, 3),
        (slave + regs::ARB_SLV_MASTER_INC_CRED_OFST, master + regs::ARB_MST_CRED_INC),
    ] {
        bench.fake.registers.insert(offset, value);
    }
    bench.engine.on_register_write(0, regs::ARB_CFG_0, 0x110, &mut bench.fake);
    bench.engine.on_register_write(2, regs::ARB_CFG_0, 0x100, &mut bench.fake);
    let program =
        [Header::new(opcode::ARB_POINT, 0, 1).0, packet::nop(0), Header::new(opcode::ARB_POINT, 0, 1 << 31).0];
    bench.submit(2, 1, SRAM_BASE + 0x80, &program);
    assert_eq!(bench.run(), []);
    bench.submit(0, 1, host(0), &program);
    let told = bench.run();
    assert_eq!(
        told.iter().map(|write| (write.address, write.data)).collect::<Vec<_>>(),
        [(CFG_BASE + u64::from(slave + regs::ARB_CHOISE_Q_PUSH), 1)]
    );
    bench.engine.on_register_write(2, regs::ARB_CHOISE_Q_PUSH, 1, &mut bench.fake);
    let returned = bench.run();
    assert_eq!(
        returned.iter().map(|write| (write.address, write.data)).collect::<Vec<_>>(),
        [(CFG_BASE + u64::from(master + regs::ARB_MST_CRED_INC), 3)]
    );
    assert_eq!(bench.engine.blocked(2, 1), None);
}
