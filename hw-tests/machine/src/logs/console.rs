//! Watches the guest's console for signs that the kernel is in trouble.
//!
//! A WARN, BUG, oops, hung task, stall or panic makes a run fail, whatever else succeeded.

/// A report of the kernel, with the lines that follow it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KernelFault {
    /// The line that gave it away.
    pub headline: String,
    /// That line and those behind it.
    pub lines: Vec<String>,
}

/// Lines kept behind the headline.
const CONTEXT: usize = 40;

/// Texts that only a kernel in trouble prints.
const SIGNS: &[&str] = &[
    "BUG: ",
    "kernel BUG at",
    "Oops: ",
    "Oops[",
    "general protection fault",
    "Unable to handle kernel",
    "unable to handle kernel",
    "unable to handle page fault",
    "Kernel panic - not syncing",
    "Call Trace:",
    "blocked for more than",
    "rcu_preempt detected stalls",
    "rcu_preempt self-detected stall",
    "rcu_sched detected stalls",
    "rcu_sched self-detected stall",
    "soft lockup",
    "hard LOCKUP",
    "KASAN: ",
    "UBSAN: ",
    "KCSAN: ",
    "kmemleak: ",
    "possible recursive locking",
    "possible circular locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "list_add corruption",
    "list_del corruption",
    "refcount_t: ",
    "sysfs: cannot create duplicate",
    "scheduling while atomic",
    "sleeping function called from invalid context",
    "DMA-API: ",
    "Out of memory: Killed",
    "segfault at",
];

/// Assembles console bytes into lines and collects what looks like trouble.
#[derive(Default)]
pub struct ConsoleWatch {
    partial: Vec<u8>,
    faults: Vec<KernelFault>,
    open: usize,
}

/// Longest line kept; the rest of a longer one is another line.
const LINE_LIMIT: usize = 4096;

impl ConsoleWatch {
    /// Takes console bytes and returns the lines that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' || self.partial.len() >= LINE_LIMIT {
                lines.push(self.take_line());
            }
            if byte != b'\n' {
                self.partial.push(byte);
            }
        }
        lines
    }

    /// Ends the stream: an incomplete last line counts too.
    pub fn finish(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take_line())
    }

    /// What was found so far.
    #[must_use]
    pub fn faults(&self) -> &[KernelFault] {
        &self.faults
    }

    fn take_line(&mut self) -> String {
        let line = String::from_utf8_lossy(&self.partial).trim_end_matches('\r').to_owned();
        self.partial.clear();
        if self.open > 0 {
            self.open -= 1;
            if let Some(fault) = self.faults.last_mut() {
                fault.lines.push(line.clone());
            }
        } else if is_sign(&line) {
            self.open = CONTEXT;
            self.faults.push(KernelFault { headline: line.clone(), lines: vec![line.clone()] });
        }
        line
    }
}

fn is_sign(line: &str) -> bool {
    // "WARNING: CPU: 0 PID: 1 at file:1 function" up to 6.x, "WARNING: file:1 at function, CPU#0: task/1" since.
    let warning = line.contains("WARNING: CPU: ") || (line.contains("WARNING: ") && line.contains(", CPU#"));
    warning || SIGNS.iter().any(|sign| line.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_kept_with_its_trace() {
        let mut watch = ConsoleWatch::default();
        watch.feed(b"[    1.0] fine\r\n[    2.0] WARNING: CPU: 0 PID: 77 at drivers/x.c:1 f+0x1/0x2\r\n");
        watch.feed(b"[    2.0] Call ");
        watch.feed(b"Trace:\r\n");
        let faults = watch.faults();
        assert_eq!(faults.len(), 1);
        assert!(faults[0].headline.contains("drivers/x.c:1"));
        assert_eq!(faults[0].lines.len(), 2);
    }

    #[test]
    fn warnings_of_either_style_are_seen_and_ordinary_messages_are_not() {
        for bad in [
            "[  9.1] WARNING: drivers/accel/x.c:5 at hl_init+0x1, CPU#0: insmod/70",
            "[  9.1] INFO: task insmod:70 blocked for more than 120 seconds.",
            "[  9.1] BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "[  9.1] Kernel panic - not syncing: Attempted to kill init!",
        ] {
            assert!(is_sign(bad), "{bad}");
        }
        for good in [
            "[  0.1] RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable",
            "[  4.2] habanalabs 0000:01:00.0: Loading firmware to device, may take some time...",
            "[  4.2] accel accel0: Successfully added device",
            "[  0.3] PCI: Using configuration type 1 for base access",
        ] {
            assert!(!is_sign(good), "{good}");
        }
    }

    #[test]
    fn an_unfinished_last_line_counts() {
        let mut watch = ConsoleWatch::default();
        assert!(watch.feed(b"[  3.0] kernel BUG at mm/slub.c:1").is_empty());
        watch.finish();
        assert_eq!(watch.faults().len(), 1);
    }
}
