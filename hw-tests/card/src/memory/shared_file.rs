//! A memory file, mapped for its whole life, with bounds-checked atomic accessors.
//!
//! For: everything that the card shares with other processes. Owns: the mapping and every unsafe access to it. Never: gives
//! out a reference or a pointer into it.
//!
//! # Memory model
//!
//! Other processes (two QEMUs, and through them two guests) read and write the same pages at any time, without asking. So
//! * every access is an atomic instruction, relaxed unless its name says otherwise; a word read twice may differ, and what
//!   was read is an allegation of the other side until it has been checked;
//! * naturally aligned 32- and 64-bit accesses never tear. Byte copies move aligned 64-bit words where they can and bytes
//!   at the edges: a copy is not a snapshot, its words may come from different moments;
//! * [`SharedFile::store_release_u32`] makes everything written before visible to whoever sees the stored value with
//!   [`SharedFile::load_acquire_u32`] (or the same ordering on the other side); the `fetch_or` and `swap` accessors are
//!   sequentially consistent, as is [`full_barrier`];
//! * a file is sealed against shrinking where the kernel allows it: a checked access cannot end in SIGBUS.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, SeekFrom};
use rustix::mm::{MapFlags, ProtFlags};

/// Page size of a memory file.
const PAGE: u64 = 4096;

/// Bytes of a bounce buffer of [`SharedFile::copy_between`].
const BLOCK: usize = 4096;

/// Zero fills of at least this many bytes give pages back instead of writing zeros.
pub(super) const PUNCH_THRESHOLD: u64 = 256 << 10;

/// An access that does not lie wholly inside the file, or is not naturally aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfBounds {
    /// First byte of the refused access.
    pub offset: u64,
    /// Bytes of the refused access.
    pub len: u64,
}

impl std::fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "access of {:#x} bytes at {:#x} is outside the memory file or not aligned", self.len, self.offset)
    }
}

impl std::error::Error for OutOfBounds {}

/// A full barrier between everything before and after it, on all memory.
pub fn full_barrier() {
    fence(Ordering::SeqCst);
}

/// A memory file, mapped shared for its whole length.
#[derive(Debug)]
pub struct SharedFile {
    base: NonNull<u8>,
    len: u64,
    fd: OwnedFd,
}

// SAFETY: the mapping belongs to the value and is unmapped only on drop; no thread-bound state.
unsafe impl Send for SharedFile {}
// SAFETY: every access through `&self` is an atomic instruction on the mapping.
unsafe impl Sync for SharedFile {}

impl SharedFile {
    /// Creates a sparse, zero-filled memory file of `len` bytes; `name` shows in `/proc` for debugging.
    ///
    /// # Errors
    /// The kernel refused the file, its size or the mapping; or `len` is 0.
    pub fn new(name: &str, len: u64) -> std::io::Result<Self> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, len)?;
        Self::from_fd(fd, len)
    }

    /// Maps the first `len` bytes of an existing file that can be mapped shared and writable.
    ///
    /// # Errors
    /// The file is shorter than `len`, `len` is 0, or the kernel refused the mapping.
    pub fn from_fd(fd: OwnedFd, len: u64) -> std::io::Result<Self> {
        let size = u64::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(0);
        let bytes = usize::try_from(len).map_err(|_| rustix::io::Errno::INVAL)?;
        if len == 0 || size < len {
            return Err(rustix::io::Errno::INVAL.into());
        }
        // A file that cannot be sealed (not a memfd, or sealing closed by its owner) is used as it is.
        let _ = rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW);
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing in this process.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
                &fd,
                0,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { base, len, fd })
    }

    /// Length in bytes; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an empty file cannot be made")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The file itself, to be shared with another process.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Path under which a child of this process that inherits nothing can still open the file while this process lives.
    #[must_use]
    pub fn proc_path(&self) -> std::path::PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd()).into()
    }

    /// Checks an access and returns its address.
    #[inline]
    fn at(&self, offset: u64, len: u64, align: u64) -> Result<*mut u8, OutOfBounds> {
        if offset <= self.len && len <= self.len - offset && offset & (align - 1) == 0 {
            // SAFETY: offset <= self.len, so the result stays inside the mapping or one past its end; `len` fits a usize
            // since `from_fd`, and so does every smaller offset.
            Ok(unsafe { self.base.as_ptr().add(offset as usize) })
        } else {
            Err(OutOfBounds { offset, len })
        }
    }

    /// True when no byte of the range is stored in the file, so that all of it is zero. False says nothing: a stored page may
    /// be zero as well, and a file system without holes stores everything.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte lies outside the file.
    pub fn is_hole(&self, offset: u64, len: u64) -> Result<bool, OutOfBounds> {
        self.at(offset, len, 1)?;
        match rustix::fs::seek(&self.fd, SeekFrom::Data(offset)) {
            Ok(data) => Ok(data >= offset + len),
            // Nothing is stored from here to the end.
            Err(rustix::io::Errno::NXIO) => Ok(true),
            Err(_) => Ok(false),
        }
    }

    /// Bytes that the file takes in memory.
    ///
    /// # Errors
    /// The kernel refused to tell.
    pub fn stored_bytes(&self) -> std::io::Result<u64> {
        Ok(u64::try_from(rustix::fs::fstat(&self.fd)?.st_blocks).unwrap_or(0) * 512)
    }

    /// Checks that a range lies inside the file and starts on a multiple of `align`, a power of two.
    ///
    /// # Errors
    /// [`OutOfBounds`] when it does not.
    pub(super) fn check(&self, offset: u64, len: u64, align: u64) -> Result<(), OutOfBounds> {
        self.at(offset, len, align).map(|_| ())
    }

    #[inline]
    fn atomic_u32(&self, offset: u64) -> Result<&AtomicU32, OutOfBounds> {
        let pointer = self.at(offset, 4, 4)?;
        // SAFETY: four bytes inside the mapping, which lives as long as `self`; aligned because the mapping is page aligned
        // and `at` checked the offset; this process accesses the mapping through atomics only.
        Ok(unsafe { AtomicU32::from_ptr(pointer.cast()) })
    }

    #[inline]
    fn atomic_u64(&self, offset: u64) -> Result<&AtomicU64, OutOfBounds> {
        let pointer = self.at(offset, 8, 8)?;
        // SAFETY: as in `atomic_u32`, with eight bytes.
        Ok(unsafe { AtomicU64::from_ptr(pointer.cast()) })
    }

    /// Reads the aligned 32-bit word at `offset`, relaxed.
    ///
    /// # Errors
    /// [`OutOfBounds`] outside the file or not aligned; the same for every accessor below.
    #[inline]
    pub fn read_u32(&self, offset: u64) -> Result<u32, OutOfBounds> {
        Ok(u32::from_le(self.atomic_u32(offset)?.load(Ordering::Relaxed)))
    }

    /// Reads the aligned 64-bit word at `offset`, relaxed.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    #[inline]
    pub fn read_u64(&self, offset: u64) -> Result<u64, OutOfBounds> {
        Ok(u64::from_le(self.atomic_u64(offset)?.load(Ordering::Relaxed)))
    }

    /// Writes the aligned 32-bit word at `offset`, relaxed.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    #[inline]
    pub fn write_u32(&self, offset: u64, value: u32) -> Result<(), OutOfBounds> {
        self.atomic_u32(offset)?.store(value.to_le(), Ordering::Relaxed);
        Ok(())
    }

    /// Writes the aligned 64-bit word at `offset`, relaxed.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    #[inline]
    pub fn write_u64(&self, offset: u64, value: u64) -> Result<(), OutOfBounds> {
        self.atomic_u64(offset)?.store(value.to_le(), Ordering::Relaxed);
        Ok(())
    }

    /// Reads the aligned 32-bit word at `offset` before everything that follows in program order.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    #[inline]
    pub fn load_acquire_u32(&self, offset: u64) -> Result<u32, OutOfBounds> {
        Ok(u32::from_le(self.atomic_u32(offset)?.load(Ordering::Acquire)))
    }

    /// Reads the aligned 64-bit word at `offset` before everything that follows in program order.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    #[inline]
    pub fn load_acquire_u64(&self, offset: u64) -> Result<u64, OutOfBounds> {
        Ok(u64::from_le(self.atomic_u64(offset)?.load(Ordering::Acquire)))
    }

    /// Writes the aligned 32-bit word at `offset` after everything that precedes in program order.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    #[inline]
    pub fn store_release_u32(&self, offset: u64, value: u32) -> Result<(), OutOfBounds> {
        self.atomic_u32(offset)?.store(value.to_le(), Ordering::Release);
        Ok(())
    }

    /// Writes the aligned 64-bit word at `offset` after everything that precedes in program order.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    #[inline]
    pub fn store_release_u64(&self, offset: u64, value: u64) -> Result<(), OutOfBounds> {
        self.atomic_u64(offset)?.store(value.to_le(), Ordering::Release);
        Ok(())
    }

    /// ORs `bits` into the aligned 64-bit word at `offset` and returns what was there, sequentially consistent.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    #[inline]
    pub fn fetch_or_u64(&self, offset: u64, bits: u64) -> Result<u64, OutOfBounds> {
        Ok(u64::from_le(self.atomic_u64(offset)?.fetch_or(bits.to_le(), Ordering::SeqCst)))
    }

    /// Exchanges the aligned 32-bit word at `offset` for `value` and returns what was there, sequentially consistent.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    #[inline]
    pub fn swap_u32(&self, offset: u64, value: u32) -> Result<u32, OutOfBounds> {
        Ok(u32::from_le(self.atomic_u32(offset)?.swap(value.to_le(), Ordering::SeqCst)))
    }

    /// Exchanges the aligned 64-bit word at `offset` for `value` and returns what was there, sequentially consistent.
    ///
    /// # Errors
    /// See [`Self::read_u32`].
    #[inline]
    pub fn swap_u64(&self, offset: u64, value: u64) -> Result<u64, OutOfBounds> {
        Ok(u64::from_le(self.atomic_u64(offset)?.swap(value.to_le(), Ordering::SeqCst)))
    }

    /// Copies `out.len()` bytes from `offset`, any alignment. Nothing is copied on an error.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte lies outside the file.
    pub fn read_bytes(&self, offset: u64, out: &mut [u8]) -> Result<(), OutOfBounds> {
        let start = self.at(offset, out.len() as u64, 1)?;
        let head = start.align_offset(8).min(out.len());
        let (edge, rest) = out.split_at_mut(head);
        for (index, byte) in edge.iter_mut().enumerate() {
            // SAFETY: `at` checked `out.len()` bytes from `start`, and `index` is below that.
            *byte = unsafe { AtomicU8::from_ptr(start.add(index)) }.load(Ordering::Relaxed);
        }
        let (words, tail) = rest.as_chunks_mut::<8>();
        let mut position = head;
        for word in words {
            // SAFETY: eight bytes from `position` lie inside the checked range; `start + head` is 8-byte aligned and
            // `position` grows by 8.
            let value = unsafe { AtomicU64::from_ptr(start.add(position).cast()) }.load(Ordering::Relaxed);
            *word = value.to_ne_bytes();
            position += 8;
        }
        for byte in tail {
            // SAFETY: `position` is below `out.len()`, inside the checked range.
            *byte = unsafe { AtomicU8::from_ptr(start.add(position)) }.load(Ordering::Relaxed);
            position += 1;
        }
        Ok(())
    }

    /// Copies `data` to `offset`, any alignment, ascending. Nothing is written on an error.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte lies outside the file.
    pub fn write_bytes(&self, offset: u64, data: &[u8]) -> Result<(), OutOfBounds> {
        let start = self.at(offset, data.len() as u64, 1)?;
        let head = start.align_offset(8).min(data.len());
        let (edge, rest) = data.split_at(head);
        for (index, byte) in edge.iter().enumerate() {
            // SAFETY: `at` checked `data.len()` bytes from `start`, and `index` is below that.
            unsafe { AtomicU8::from_ptr(start.add(index)) }.store(*byte, Ordering::Relaxed);
        }
        let (words, tail) = rest.as_chunks::<8>();
        let mut position = head;
        for word in words {
            // SAFETY: eight bytes from `position` lie inside the checked range; `start + head` is 8-byte aligned and
            // `position` grows by 8.
            unsafe { AtomicU64::from_ptr(start.add(position).cast()) }
                .store(u64::from_ne_bytes(*word), Ordering::Relaxed);
            position += 8;
        }
        for byte in tail {
            // SAFETY: `position` is below `data.len()`, inside the checked range.
            unsafe { AtomicU8::from_ptr(start.add(position)) }.store(*byte, Ordering::Relaxed);
            position += 1;
        }
        Ok(())
    }

    /// Copies `len` bytes from `source` at `from` to `destination` at `to`, ascending in blocks of up to 4 KiB. When the
    /// ranges overlap in one file a byte may be read before or after the copy has overwritten it. Nothing is copied on an
    /// error.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte of either range lies outside its file.
    pub fn copy_between(source: &Self, from: u64, destination: &Self, to: u64, len: u64) -> Result<(), OutOfBounds> {
        source.at(from, len, 1)?;
        destination.at(to, len, 1)?;
        let mut block = [0; BLOCK];
        let mut done = 0;
        while done < len {
            let bytes = (len - done).min(BLOCK as u64) as usize;
            // PANIC: `bytes` is at most the block's length.
            let part = &mut block[..bytes];
            source.read_bytes(from + done, part)?;
            destination.write_bytes(to + done, part)?;
            done += bytes as u64;
        }
        Ok(())
    }

    /// Fills `len` bytes at `offset` with the little-endian `pattern`, whose byte 0 lands at `offset`; a length that is no
    /// multiple of 8 ends with a part of the pattern. Large zero fills give the pages back to the kernel.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte lies outside the file; nothing is written then.
    pub fn fill(&self, offset: u64, len: u64, pattern: u64) -> Result<(), OutOfBounds> {
        self.at(offset, len, 1)?;
        if pattern == 0 && len >= PUNCH_THRESHOLD {
            return self.punch_hole(offset, len);
        }
        let mut block = [0; BLOCK];
        for word in block.as_chunks_mut::<8>().0 {
            *word = pattern.to_le_bytes();
        }
        let mut done = 0;
        while done < len {
            let bytes = (len - done).min(BLOCK as u64) as usize;
            // PANIC: `bytes` is at most the block's length.
            self.write_bytes(offset + done, &block[..bytes])?;
            done += bytes as u64;
        }
        Ok(())
    }

    /// Zeroes `len` bytes at `offset`: whole pages are given back to the kernel, the edges are written.
    ///
    /// # Errors
    /// [`OutOfBounds`] when any byte lies outside the file; nothing is written then.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<(), OutOfBounds> {
        self.at(offset, len, 1)?;
        let end = offset + len;
        let first_page = offset.next_multiple_of(PAGE).min(end);
        let last_page = (end - end % PAGE).max(first_page);
        self.zero(offset, first_page - offset)?;
        if last_page > first_page {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // A file system without holes still gets its zeros.
            if rustix::fs::fallocate(&self.fd, flags, first_page, last_page - first_page).is_err() {
                self.zero(first_page, last_page - first_page)?;
            }
        }
        self.zero(last_page, end - last_page)
    }

    /// Writes zeros.
    fn zero(&self, offset: u64, len: u64) -> Result<(), OutOfBounds> {
        let block = [0; BLOCK];
        let mut done = 0;
        while done < len {
            let bytes = (len - done).min(BLOCK as u64) as usize;
            // PANIC: `bytes` is at most the block's length.
            self.write_bytes(offset + done, &block[..bytes])?;
            done += bytes as u64;
        }
        Ok(())
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of the mapping made in `from_fd`; accessors borrow `self`, so none is running.
        // An error leaves the mapping in place, which is harmless.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len as usize) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(len: u64) -> SharedFile {
        SharedFile::new("test", len).unwrap()
    }

    #[test]
    fn an_access_past_the_end_or_unaligned_is_refused() {
        let file = file(16);
        assert_eq!(file.read_u32(16), Err(OutOfBounds { offset: 16, len: 4 }));
        assert_eq!(file.read_u32(14), Err(OutOfBounds { offset: 14, len: 4 }));
        assert_eq!(file.read_u64(4), Err(OutOfBounds { offset: 4, len: 8 }));
        assert_eq!(file.write_u64(u64::MAX - 7, 0), Err(OutOfBounds { offset: u64::MAX - 7, len: 8 }));
        assert!(file.read_bytes(10, &mut [0; 7]).is_err());
        assert!(file.read_bytes(16, &mut []).is_ok());
        assert!(file.fill(8, u64::MAX, 1).is_err());
        assert!(file.punch_hole(17, 0).is_err());
    }

    #[test]
    fn words_are_little_endian_bytes() {
        let file = file(16);
        file.write_u32(4, 0x0403_0201).unwrap();
        let mut bytes = [0; 4];
        file.read_bytes(4, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4]);
        assert_eq!(file.fetch_or_u64(8, 0x5).unwrap(), 0);
        assert_eq!(file.fetch_or_u64(8, 0x2).unwrap(), 5);
        assert_eq!(file.swap_u32(8, 1).unwrap(), 7);
        assert_eq!(file.load_acquire_u64(8).unwrap(), 1);
    }

    #[test]
    fn a_second_mapping_of_the_descriptor_sees_the_same_bytes() {
        let first = file(8192);
        let second = SharedFile::from_fd(first.fd().try_clone_to_owned().unwrap(), 8192).unwrap();
        first.store_release_u32(4096, 42).unwrap();
        assert_eq!(second.load_acquire_u32(4096).unwrap(), 42);
    }

    #[test]
    fn a_shorter_file_than_asked_for_is_refused() {
        let first = file(4096);
        assert!(SharedFile::from_fd(first.fd().try_clone_to_owned().unwrap(), 8192).is_err());
    }

    #[test]
    fn a_memory_file_cannot_be_shrunk_under_its_mapping() {
        assert!(rustix::fs::ftruncate(file(8192).fd(), 4096).is_err());
    }

    proptest! {
        #[test]
        fn copies_move_exactly_the_bytes_asked_for(
            from in 0..64u64, to in 0..64u64, len in 0..9000u64, seed in any::<u8>(),
        ) {
            let (source, destination) = (file(16384), file(16384));
            let data: Vec<u8> = (0..16384u32).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
            source.write_bytes(0, &data).unwrap();
            destination.fill(0, 16384, 0xA5A5_A5A5_A5A5_A5A5).unwrap();
            SharedFile::copy_between(&source, from, &destination, to, len).unwrap();
            let mut seen = vec![0; 16384];
            destination.read_bytes(0, &mut seen).unwrap();
            let mut expected = vec![0xA5; 16384];
            expected[to as usize..(to + len) as usize].copy_from_slice(&data[from as usize..(from + len) as usize]);
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn a_fill_repeats_the_pattern_from_its_first_byte(offset in 0..64u64, len in 0..9000u64, pattern: u64) {
            let file = file(16384);
            file.fill(offset, len, pattern).unwrap();
            let mut seen = vec![0; 16384];
            file.read_bytes(0, &mut seen).unwrap();
            let mut expected = vec![0; 16384];
            for i in 0..len as usize {
                expected[offset as usize + i] = pattern.to_le_bytes()[i % 8];
            }
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn a_hole_is_zero_and_its_surroundings_are_kept(offset in 0..9000u64, len in 0..20000u64) {
            let file = file(32768);
            file.fill(0, 32768, u64::MAX).unwrap();
            file.punch_hole(offset, len).unwrap();
            let mut seen = vec![0; 32768];
            file.read_bytes(0, &mut seen).unwrap();
            let mut expected = vec![0xFF; 32768];
            expected[offset as usize..(offset + len) as usize].fill(0);
            prop_assert_eq!(seen, expected);
        }
    }
}
