//! The start-up heap: page tables and the control loop's state come from it, nothing is allocated afterwards.
//!
//! Only the control image gives it memory; in an image without a heap every allocation fails.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use linked_list_allocator::Heap;

/// The allocator. Allocation is allowed on the boot core before other cores run, so it needs no lock.
struct StartUpHeap(UnsafeCell<Heap>);

// SAFETY: used by the boot core only, before any other core of the image is started (see `init`).
unsafe impl Sync for StartUpHeap {}

#[global_allocator]
static HEAP: StartUpHeap = StartUpHeap(UnsafeCell::new(Heap::empty()));

/// Gives the heap its memory.
///
/// # Safety
/// Called once, on the boot core, before anything allocates and before another core runs. Nothing may be allocated or freed
/// after the first other core has been started.
pub unsafe fn init<const BYTES: usize>(memory: &'static mut MaybeUninit<[u8; BYTES]>) {
    // SAFETY: the memory is exclusively the heap's for ever, and the caller vouches that nobody else uses the heap now.
    unsafe { (*HEAP.0.get()).init(memory.as_mut_ptr().cast(), BYTES) };
}

/// Bytes in use.
#[must_use]
pub fn used() -> usize {
    // SAFETY: reads a number; the boot core alone uses the heap.
    unsafe { (*HEAP.0.get()).used() }
}

// SAFETY: delegates to `Heap`, which hands out disjoint blocks of the memory it was given; one core at a time (see `init`).
unsafe impl GlobalAlloc for StartUpHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: exclusive by the contract of `init`.
        let heap = unsafe { &mut *self.0.get() };
        heap.allocate_first_fit(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: exclusive by the contract of `init`.
        let heap = unsafe { &mut *self.0.get() };
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: the caller got `pointer` from `alloc` with this layout.
            unsafe { heap.deallocate(pointer, layout) };
        }
    }
}
