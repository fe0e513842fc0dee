//! An erratum of the upstream driver, and how a run lives with it.
//!
//! Since Linux 6.12 the DRM core refuses to open a device whose `file_operations` lack the flag `FOP_UNSIGNED_OFFSET`
//! (`drm_open_helper`: a WARN and EINVAL). The `habanalabs` driver defines its own `file_operations` (`hl_fops`) and never got
//! the flag, up to and including 7.2: with the stock module every `open` of `/dev/accel/accel0` fails, whatever the card
//! does. A kernel without the flag's enforcement does not exist in the 6.12 series.
//!
//! The module is loaded as it is, byte for byte. Then this module looks up `hl_fops` and asks the harness to set the one
//! bit in the guest's memory, as a fixed driver would have it; the report says that it was done. Where the symbol is absent
//! or already has the flag, nothing happens.

use super::ports::Control;
use crate::plan::{CONTROL_PORT, Event};
use std::process::Command;
use std::time::{Duration, Instant};

/// The table whose flag is missing.
const SYMBOL: &str = "hl_fops";
/// Bound of the harness's answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Token of the harness's release.
pub const TOKEN: &str = "open-flag";

/// Asks the harness to set the flag when the driver is loaded.
///
/// # Errors
/// The kernel's symbols cannot be read, or the harness does not answer.
pub fn apply(control: &mut Control) -> Result<(), String> {
    let symbols =
        std::fs::read_to_string("/proc/kallsyms").map_err(|error| format!("/proc/kallsyms cannot be read: {error}"))?;
    let Some(address) = find(&symbols) else { return Ok(()) };
    control.send(&Event::OpenFlagMissing { address, token: TOKEN.to_owned() });
    control.await_release(TOKEN, Instant::now() + ANSWER)
}

/// Address of the driver's table in the text of `/proc/kallsyms`.
fn find(symbols: &str) -> Option<u64> {
    symbols.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next()?;
        let (_, name, module) = (words.next()?, words.next()?, words.next()?);
        (name == SYMBOL && module == "[habanalabs]").then(|| u64::from_str_radix(address, 16).ok())?
    })
}

/// `insmod` and `modprobe` of the interactive shell: busybox's command, then the erratum. Returns the exit status.
#[must_use]
pub fn load_command(name: &str, arguments: &[String]) -> i32 {
    let status = match Command::new("/bin/busybox").arg(name).args(arguments).status() {
        Ok(status) => status.code().unwrap_or(1),
        Err(error) => {
            eprintln!("{name}: busybox cannot be started: {error}");
            return 1;
        }
    };
    if status == 0
        && let Err(error) = apply(&mut Control::open_or_console(CONTROL_PORT))
    {
        eprintln!("{name}: the driver's open flag was not set: {error}");
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_drivers_own_table_is_found() {
        let symbols =
            "ffffffff81000000 T _text\nffffffffc0a00400 r hl_fops\t[other]\nffffffffc0b12400 r hl_fops\t[habanalabs]\n";
        assert_eq!(find(symbols), Some(0xffff_ffff_c0b1_2400));
        assert_eq!(find("ffffffff81000000 T hl_fops\n"), None);
    }
}
