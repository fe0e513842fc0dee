//! The MSI vectors of one function.
//!
//! Owns: the client's event descriptors, masks, counts, and the way to wait for an interrupt without a client.
//!
//! Never: keeps an interrupt. One that is raised while MSI is off, bus mastering is off or the vector is masked is lost and
//! counted, as on the bus (`gaudi-soc.md` 1.5).

use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::vfio_user::{Errno, IrqAction};

/// Counts of one function, all vectors together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MsiCounts {
    /// Interrupts sent.
    pub delivered: u64,
    /// Interrupts raised while they could not be sent.
    pub lost: u64,
}

/// The vectors of a function.
#[derive(Debug)]
pub struct Msi {
    state: Mutex<State>,
    delivered: Condvar,
}

#[derive(Debug)]
struct State {
    /// Vectors that software allocated; 0 = sending is off.
    allocated: u32,
    vectors: Vec<Vector>,
    lost: u64,
}

#[derive(Debug, Default)]
struct Vector {
    descriptor: Option<OwnedFd>,
    masked: bool,
    delivered: u64,
}

impl Msi {
    /// Makes `vectors` vectors, off.
    #[must_use]
    pub fn new(vectors: u32) -> Self {
        let vectors = (0..vectors).map(|_| Vector::default()).collect();
        Self { state: Mutex::new(State { allocated: 0, vectors, lost: 0 }), delivered: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Vectors offered.
    #[must_use]
    pub fn vectors(&self) -> u32 {
        self.state().vectors.len() as u32
    }

    /// Learns from configuration space how many vectors may be used; 0 = none.
    pub fn set_allocated(&self, allocated: u32) {
        self.state().allocated = allocated;
    }

    /// Sends vector `vector`, or the vector that stands for it when software allocated fewer.
    pub fn raise(&self, vector: u32) {
        let mut state = self.state();
        let index = vector.checked_rem(state.allocated).map(|index| index as usize);
        match index.and_then(|index| state.vectors.get_mut(index)).filter(|vector| !vector.masked) {
            Some(vector) => {
                vector.delivered += 1;
                if let Some(descriptor) = &vector.descriptor {
                    // A full counter still wakes the client, which is all that an MSI asks for.
                    let _ = rustix::io::write(descriptor, &1u64.to_ne_bytes());
                }
                self.delivered.notify_all();
            }
            None => state.lost += 1,
        }
    }

    /// Acts on a range of vectors that the caller has checked; a range beyond the vectors is ignored.
    ///
    /// # Errors
    /// None today.
    pub fn set_irqs(&self, start: u32, count: u32, action: IrqAction) -> Result<(), Errno> {
        let range = start as usize..start as usize + count as usize;
        if let IrqAction::Trigger(selected) = action {
            for (vector, _) in (start..).zip(selected).filter(|(_, selected)| *selected) {
                self.raise(vector);
            }
            return Ok(());
        }
        let mut state = self.state();
        let Some(vectors) = state.vectors.get_mut(range) else { return Ok(()) };
        match action {
            IrqAction::Attach(descriptors) => {
                for (vector, descriptor) in vectors.iter_mut().zip(descriptors) {
                    vector.descriptor = Some(descriptor);
                }
            }
            IrqAction::Detach => vectors.iter_mut().for_each(|vector| vector.descriptor = None),
            IrqAction::Mask(mask, selected) => {
                for (vector, _) in vectors.iter_mut().zip(selected).filter(|(_, selected)| *selected) {
                    vector.masked = mask;
                }
            }
            IrqAction::Trigger(_) => {}
        }
        Ok(())
    }

    /// Drops the client's descriptors and masks.
    pub fn disconnect(&self) {
        for vector in &mut self.state().vectors {
            vector.descriptor = None;
            vector.masked = false;
        }
    }

    /// What was sent and lost since the start.
    #[must_use]
    pub fn counts(&self) -> MsiCounts {
        let state = self.state();
        MsiCounts { delivered: state.vectors.iter().map(|vector| vector.delivered).sum(), lost: state.lost }
    }

    /// Interrupts sent on vector `vector` since the start.
    #[must_use]
    pub fn delivered(&self, vector: u32) -> u64 {
        self.state().vectors.get(vector as usize).map_or(0, |vector| vector.delivered)
    }

    /// Waits until more than `seen` interrupts were sent on vector `vector` and returns their number; `None` = `timeout`
    /// passed first.
    pub fn wait(&self, vector: u32, seen: u64, timeout: Duration) -> Option<u64> {
        let end = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            let delivered = state.vectors.get(vector as usize)?.delivered;
            if delivered > seen {
                return Some(delivered);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.delivered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    fn attached(vectors: u32) -> (Msi, OwnedFd) {
        let msi = Msi::new(vectors);
        let ours = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        msi.set_irqs(0, 1, IrqAction::Attach(vec![ours.try_clone().unwrap()])).unwrap();
        (msi, ours)
    }

    fn signals(descriptor: &OwnedFd) -> u64 {
        let mut count = [0; 8];
        rustix::io::read(descriptor, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }

    #[test]
    fn an_enabled_interrupt_signals_the_descriptor() {
        let (msi, ours) = attached(1);
        msi.set_allocated(1);
        msi.raise(0);
        msi.raise(0);
        assert_eq!(signals(&ours), 2);
        assert_eq!(msi.counts(), MsiCounts { delivered: 2, lost: 0 });
    }

    #[test]
    fn an_interrupt_is_lost_while_msi_is_off_or_masked() {
        let (msi, ours) = attached(1);
        msi.raise(0);
        msi.set_allocated(1);
        msi.set_irqs(0, 1, IrqAction::Mask(true, vec![true])).unwrap();
        msi.raise(0);
        msi.set_irqs(0, 1, IrqAction::Mask(false, vec![true])).unwrap();
        assert_eq!(signals(&ours), 0);
        assert_eq!(msi.counts(), MsiCounts { delivered: 0, lost: 2 });
        msi.raise(0);
        assert_eq!(signals(&ours), 1);
    }

    #[test]
    fn cores_share_a_vector_when_software_allocated_fewer() {
        let msi = Msi::new(4);
        msi.set_allocated(2);
        msi.raise(3);
        msi.raise(2);
        assert_eq!((msi.delivered(0), msi.delivered(1)), (1, 1));
    }

    #[test]
    fn after_a_disconnect_nothing_is_signalled_but_the_count_goes_on() {
        let (msi, ours) = attached(1);
        msi.set_allocated(1);
        msi.disconnect();
        msi.raise(0);
        assert_eq!(signals(&ours), 0);
        assert_eq!(msi.wait(0, 0, Duration::ZERO), Some(1));
    }

    #[test]
    fn a_wait_ends_with_the_interrupt_or_with_its_time() {
        let msi = Msi::new(1);
        msi.set_allocated(1);
        assert_eq!(msi.wait(0, 0, Duration::from_millis(1)), None);
        std::thread::scope(|scope| {
            scope.spawn(|| msi.raise(0));
            assert_eq!(msi.wait(0, 0, Duration::from_secs(10)), Some(1));
        });
        assert_eq!(msi.wait(7, 0, Duration::ZERO), None);
    }
}
