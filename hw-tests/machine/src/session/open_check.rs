//! A way around a defect of Linux, so that the unmodified driver can be used at all.
//!
//! Since 6.12 the DRM core refuses to open a device whose `file_operations` lack the flag `FOP_UNSIGNED_OFFSET`
//! (`drm_open_helper` warns and answers EINVAL). The `habanalabs` driver never got the flag - 6.12.117 and 7.3.4 do not have
//! it - so that nobody can open `/dev/accel/accel0` there, with a real card or with ours. The flag only says that file
//! offsets are unsigned.
//!
//! The driver stays as it is, byte for byte, on disk and in memory. What changes is the one conditional jump of that check in
//! the running guest's DRM core: [`OpenCheck::find`] looks for it in the `drm` module, [`OpenCheck::steps`] make the guest
//! say where the module lies and wait, [`OpenCheck::remove`] overwrites the jump with no-operations. A driver that has the
//! flag ([`has_flag`]), a kernel without the check, and one with DRM built in are left alone.

use std::os::fd::BorrowedFd;

use anyhow::{Context as _, bail};
use coxswain_guest::plan::Step;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use serde_json::json;

use crate::qemu::qmp::Qmp;

/// Token of the guest's wait.
pub const TOKEN: &str = "the open check of DRM";

/// Bit of `FOP_UNSIGNED_OFFSET` in the byte at offset 8 of `file_operations`.
const FLAG: u8 = 0x20;
const FLAG_OFFSET: u8 = 8;

/// Where the check is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCheck {
    /// Section of the module.
    section: String,
    /// Offset of [`Self::code`] in it.
    offset: u64,
    /// The test and the jump behind it.
    code: Vec<u8>,
    /// Where in [`Self::code`] the jump begins.
    jump: usize,
}

impl OpenCheck {
    /// Looks for the check in the `drm` module; `None` when it has none that is known.
    #[must_use]
    pub fn find(module: &[u8]) -> Option<Self> {
        let file = object::File::parse(module).ok()?;
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok("drm_open_helper"))?;
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let start = usize::try_from(symbol.address().checked_sub(section.address())?).ok()?;
        let end = start.checked_add(usize::try_from(symbol.size()).ok()?)?;
        let (found, jump, length) = find_jump(section.data().ok()?.get(start..end)?)?;
        let data = section.data().ok()?;
        let offset = start + found;
        Some(Self {
            section: section.name().ok()?.to_owned(),
            offset: offset as u64,
            code: data.get(offset..offset + jump + length)?.to_vec(),
            jump,
        })
    }

    fn path(&self) -> String {
        format!("/sys/module/drm/sections/{}", self.section)
    }

    /// Steps for the guest's plan, to be carried out when `drm` is loaded and before anything opens the device.
    #[must_use]
    pub fn steps(&self) -> [Step; 2] {
        [Step::ReadFile { path: self.path() }, Step::AwaitHost { token: TOKEN.into(), timeout_s: 30 }]
    }

    /// True when `path` is the file that says where the module lies.
    #[must_use]
    pub fn is_place(&self, path: &str) -> bool {
        path == self.path()
    }

    /// Removes the check from a running guest. `place` is what the file of [`Self::steps`] holds, `memory` the file behind
    /// the guest's memory, in which guest-physical addresses are offsets.
    ///
    /// # Errors
    /// When the module is not found where it should be; nothing is changed then.
    pub fn remove(&self, place: &str, qmp: &Qmp, memory: BorrowedFd<'_>) -> anyhow::Result<()> {
        let base = u64::from_str_radix(place.trim().trim_start_matches("0x"), 16).context("the section's address")?;
        let mut places = Vec::new();
        for (address, byte) in (base + self.offset..).zip(&self.code) {
            // Byte by byte: the code may cross into another page.
            let physical = translate(qmp, address)?;
            let mut found = [0];
            rustix::io::pread(memory, &mut found, physical).context("reading the guest's memory")?;
            if found[0] != *byte {
                bail!("there is other code at {address:#x}");
            }
            places.push(physical);
        }
        for physical in places.into_iter().skip(self.jump) {
            rustix::io::pwrite(memory, &[NO_OPERATION], physical).context("writing the guest's memory")?;
        }
        Ok(())
    }
}

const NO_OPERATION: u8 = 0x90;

/// True when the driver's table of file operations has the flag, so that the check lets it pass.
#[must_use]
pub fn has_flag(driver: &[u8]) -> bool {
    let flags = || {
        let file = object::File::parse(driver).ok()?;
        let table = file.symbols().find(|symbol| symbol.name() == Ok("hl_fops"))?;
        let section = file.section_by_index(table.section_index()?).ok()?;
        let start = usize::try_from(table.address().checked_sub(section.address())?).ok()?;
        section.data().ok()?.get(start.checked_add(usize::from(FLAG_OFFSET))?).copied()
    };
    flags().is_some_and(|flags| flags & FLAG != 0)
}

/// Finds `testb $FLAG, 8(register)` with a jump-if-zero behind it: offset of the test, then offset and length of the jump
/// relative to it. `None` unless there is exactly one.
fn find_jump(code: &[u8]) -> Option<(usize, usize, usize)> {
    let mut found = None;
    for (offset, window) in code.windows(6).enumerate() {
        let &[0xF6, operands, FLAG_OFFSET, FLAG, first, second] = window else { continue };
        // Register operand with an 8-bit displacement, without an index register.
        if operands & 0xF8 != 0x40 || operands & 7 == 4 {
            continue;
        }
        let length = match (first, second) {
            (0x74, _) => 2,
            (0x0F, 0x84) => 6,
            _ => continue,
        };
        if found.replace((offset, 4, length)).is_some() {
            return None;
        }
    }
    found
}

/// Guest-physical address of a kernel address.
fn translate(qmp: &Qmp, address: u64) -> anyhow::Result<u64> {
    let answer = qmp.execute("human-monitor-command", json!({ "command-line": format!("gva2gpa {address:#x}") }))?;
    let text = answer.as_str().unwrap_or_default();
    let digits =
        text.trim().strip_prefix("gpa: 0x").with_context(|| format!("{address:#x} is not mapped: {}", text.trim()))?;
    u64::from_str_radix(digits, 16).context("the monitor's answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jump_behind_the_test_of_the_flag_is_found() {
        let long = [0x90, 0xF6, 0x40, 0x08, 0x20, 0x0F, 0x84, 1, 0, 0, 0, 0xC3];
        assert_eq!(find_jump(&long), Some((1, 4, 6)));
        let short = [0xF6, 0x47, 0x08, 0x20, 0x74, 0x09, 0x90];
        assert_eq!(find_jump(&short), Some((0, 4, 2)));
    }

    #[test]
    fn code_that_is_not_understood_is_left_alone() {
        // Another flag, another field, another jump, an index register, and two candidates.
        for code in [
            &[0xF6, 0x40, 0x08, 0x10, 0x74, 0x09][..],
            &[0xF6, 0x40, 0x30, 0x20, 0x74, 0x09],
            &[0xF6, 0x40, 0x08, 0x20, 0x75, 0x09],
            &[0xF6, 0x44, 0x08, 0x20, 0x74, 0x09],
            &[0xF6, 0x40, 0x08, 0x20, 0x74, 0x09, 0xF6, 0x40, 0x08, 0x20, 0x74, 0x09],
        ] {
            assert_eq!(find_jump(code), None, "{code:02x?}");
        }
        assert_eq!(OpenCheck::find(b"not an object file"), None);
        assert!(!has_flag(b"not an object file"));
    }
}
