//! The interrupt controller: GICv3, Secure Group 1, every interrupt taken synchronously.
//!
//! Interrupts stay masked in PSTATE for ever. A pending one wakes the core from WFI, which then acknowledges everything that
//! is pending ([`acknowledge_all`]) and looks at its work. So there is no interrupt handler and nothing it could race with.
//!
//! The ROM sets the distributor up once; each image sets up what belongs to its core.

use core::ptr::NonNull;

use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{
    GicCpuInterface, GicDistributor, GicRedistributor, Group, SecureIntGroup, SgiTarget, SgiTargetGroup,
};
use arm_gic::{IntId, InterruptGroup, Trigger, UniqueMmioPointer};

use crate::memory_map::{CORES, GICD, GICR, GICR_STRIDE, MSI_FIRST_INTID};

/// INTID of the physical EL1 timer.
const TIMER: IntId = IntId::ppi(14);
/// SGI that wakes a parked core.
const WAKE: IntId = IntId::sgi(15);
/// Priority of everything: one level, nothing preempts.
const PRIORITY: u8 = 0x40;
/// Secure Group 1.
const GROUP: Group = Group::Secure(SecureIntGroup::Group1S);
/// Interrupts that one call of [`acknowledge_all`] takes at most: MSI, timer and SGI, with room.
const MOST_PENDING: usize = 8;

/// A driver for the distributor.
fn distributor() -> Option<GicDistributor<'static>> {
    let registers = NonNull::new(GICD as *mut Gicd)?;
    // SAFETY: the distributor of the machine, mapped as device memory in every image. Drivers are made for the length of one
    // call at start-up, on one core.
    Some(GicDistributor::new(unsafe { UniqueMmioPointer::new(registers) }))
}

/// A driver for the redistributor of core `core`; `None` beyond the machine's most.
fn redistributor(core: usize) -> Option<GicRedistributor<'static>> {
    if core >= CORES {
        return None;
    }
    let registers = NonNull::new((GICR + core * GICR_STRIDE) as *mut GicrSgi)?;
    // SAFETY: the redistributor frame of this core, mapped as device memory in every image. It is only used by its own
    // core, and by the boot core to look at GICR_TYPER and GICR_WAKER.
    Some(GicRedistributor::new(unsafe { UniqueMmioPointer::new(registers) }))
}

/// INTID of MSI vector `vector`.
fn msi(vector: u32) -> Option<IntId> {
    IntId::try_from(MSI_FIRST_INTID + vector).ok()
}

/// Cores of the machine: redistributors up to the one marked last, at most [`CORES`].
#[must_use]
pub fn count_cores() -> usize {
    let mut count = 0;
    while let Some(frame) = redistributor(count) {
        count += 1;
        if frame.typer().last_redistributor() {
            break;
        }
    }
    count
}

/// True when core `core` has told its redistributor that it is awake (it parks after that).
#[must_use]
pub fn is_awake(core: usize) -> bool {
    if core >= CORES {
        return false;
    }
    // GICR_WAKER, bit 2 = ChildrenAsleep.
    let waker = (GICR + core * GICR_STRIDE + 0x14) as *const u32;
    // SAFETY: a register of an existing redistributor frame, mapped as device memory; the read has no side effect.
    unsafe { core::ptr::read_volatile(waker) & 4 == 0 }
}

/// Sets the distributor up: affinity routing, Secure Group 1. Done once, by the ROM.
pub fn set_up_distributor() {
    if let Some(mut gic) = distributor() {
        gic.configure_default_settings();
        gic.enable_group1_secure(true);
    }
}

/// Sets up what belongs to this core: its redistributor, CPU interface and timer interrupt.
pub fn set_up_core(core: usize) {
    set_up_interface(core, TIMER);
}

/// Sends MSI vector `vector` to core `core`. Called on one core only, before others use interrupts: the distributor's
/// registers hold the bits of several interrupts each.
pub fn route_msi(vector: u32, core: usize) {
    let (Some(mut gic), Some(msi)) = (distributor(), msi(vector)) else { return };
    // Errors are impossible for an SPI of this machine. The GICv2m frame pulses its line: as a level interrupt the pulse
    // would be lost.
    let _ = gic.enable_interrupt(msi, false);
    let _ = gic.set_trigger(msi, Trigger::Edge);
    let _ = gic.set_group(msi, GROUP);
    let _ = gic.set_interrupt_priority(msi, PRIORITY);
    let _ = gic.set_routing(msi, Some(core as u64));
    let _ = gic.enable_interrupt(msi, true);
}

/// Sets up a core that is going to park: only [`wake_core`] wakes it.
pub fn set_up_parked_core(core: usize) {
    set_up_interface(core, WAKE);
}

/// Wakes the redistributor of this core, opens its CPU interface and enables one private interrupt.
fn set_up_interface(core: usize, private: IntId) {
    GicCpuInterface::enable_system_register_el1();
    if let Some(mut gic) = redistributor(core) {
        gic.configure_default_settings();
        let _ = gic.set_group(private, GROUP);
        let _ = gic.set_interrupt_priority(private, PRIORITY);
        let _ = gic.enable_interrupt(private, true);
        // An error says that it is awake already: an earlier image did it.
        let _ = gic.mark_core_awake();
    }
    GicCpuInterface::set_priority_mask(0xFF);
    GicCpuInterface::enable_group1(true);
}

/// Wakes parked core `core`.
pub fn wake_core(core: usize) {
    let target = SgiTarget::List { affinity3: 0, affinity2: 0, affinity1: 0, target_list: 1 << (core & 0xF) };
    let _ = GicCpuInterface::send_sgi(WAKE, target, SgiTargetGroup::CurrentGroup1);
}

/// Acknowledges every interrupt that is pending on this core. The caller has silenced level-triggered sources.
pub fn acknowledge_all() {
    for _ in 0..MOST_PENDING {
        if !GicCpuInterface::handle_interrupt(InterruptGroup::Group1, |_| {}) {
            return;
        }
    }
}
