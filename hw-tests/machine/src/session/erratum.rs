//! Sets the flag that the upstream driver's `file_operations` lack, in the guest's memory.
//!
//! Why this is needed is told in `coxswain_guest::init::erratum`. The driver's file and its code stay as they are; one bit
//! of one data word changes, and only when that word looks like the flags of a kernel that has them.

use anyhow::{Context as _, bail};
use coxswain_card::Memories;
use serde_json::json;

use crate::qemu::qmp::Qmp;

/// Offset of `fop_flags` in `struct file_operations`, behind the owner (Linux 6.10 and later).
const FLAGS_OFFSET: u64 = 8;
/// `FOP_UNSIGNED_OFFSET`.
const UNSIGNED_OFFSET: u64 = 1 << 5;
/// Kernels with the field use a handful of flag bits and padding; older ones have a function pointer there.
const PLAUSIBLE: u64 = 1 << 16;

/// What was done about the flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenFlag {
    /// The driver had it.
    Present,
    /// The driver lacked it; it was set in the guest's memory.
    Set,
    /// The table is not laid out as known; nothing was changed.
    Unknown,
}

/// Looks at the table at kernel virtual address `table` and sets the flag when it is missing.
pub(super) fn set_flag(table: u64, qmp: &Qmp, memories: &Memories) -> anyhow::Result<OpenFlag> {
    let address = table.checked_add(FLAGS_OFFSET).context("an impossible address")?;
    let command = json!({ "command-line": format!("gva2gpa {address:#x}") });
    let answer = qmp.execute("human-monitor-command", command)?;
    let text = answer.as_str().unwrap_or_default().trim();
    let Some(physical) = text.strip_prefix("gpa: 0x").and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
    else {
        bail!("QEMU cannot translate {address:#x}: {text}");
    };
    let flags = memories.host.read_u64(physical).context("outside the guest's memory")?;
    if flags & UNSIGNED_OFFSET != 0 && flags < PLAUSIBLE {
        return Ok(OpenFlag::Present);
    }
    if flags >= PLAUSIBLE {
        return Ok(OpenFlag::Unknown);
    }
    memories.host.write_u64(physical, flags | UNSIGNED_OFFSET).context("outside the guest's memory")?;
    Ok(OpenFlag::Set)
}
