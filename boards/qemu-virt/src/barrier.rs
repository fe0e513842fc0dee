//! Memory barriers, the same names on the target and in host tests.

/// A full barrier between any two accesses, towards everything in the system (`DMB SY`).
///
/// The wake-up rules of [`coxswain_abi::soc`] need it between a store and a later load of another location.
#[inline(always)]
pub fn full() {
    #[cfg(target_os = "none")]
    cortex_a::asm::barrier::dmb(cortex_a::asm::barrier::SY);
    #[cfg(not(target_os = "none"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}
