//! The file systems of the guest: mounted once at the start, never unmounted.

use crate::plan::{SHARE_PATH, SHARE_TAG};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use std::ffi::CStr;

/// One mount: source, target, type, options, and whether the guest is useless without it.
struct Mount {
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    options: &'static CStr,
    required: bool,
}

const MOUNTS: &[Mount] = &[
    Mount { source: "proc", target: "/proc", kind: "proc", options: c"", required: true },
    Mount { source: "sysfs", target: "/sys", kind: "sysfs", options: c"", required: true },
    Mount { source: "devtmpfs", target: "/dev", kind: "devtmpfs", options: c"mode=0755", required: true },
    Mount { source: "devpts", target: "/dev/pts", kind: "devpts", options: c"mode=0620", required: false },
    Mount { source: "tmpfs", target: "/run", kind: "tmpfs", options: c"mode=0755", required: true },
    Mount { source: "tmpfs", target: "/tmp", kind: "tmpfs", options: c"mode=1777", required: true },
    // Kernels under lockdown have no debugfs; the driver works without.
    Mount { source: "debugfs", target: "/sys/kernel/debug", kind: "debugfs", options: c"", required: false },
];

/// Mounts everything but the share.
///
/// # Errors
/// The first required file system that cannot be mounted, in words.
pub fn mount_all() -> Result<(), String> {
    for entry in MOUNTS {
        let result = mount_one(entry);
        if entry.required {
            result?;
        }
    }
    Ok(())
}

/// Mounts the 9p share at [`SHARE_PATH`].
///
/// # Errors
/// The mount failed: most often the 9p modules are not loaded, or the machine has no such share.
pub fn mount_share() -> Result<(), String> {
    mount_one(&Mount {
        source: SHARE_TAG,
        target: SHARE_PATH,
        kind: "9p",
        options: c"trans=virtio,version=9p2000.L,msize=262144",
        required: true,
    })
}

fn mount_one(entry: &Mount) -> Result<(), String> {
    let Mount { source, target, kind, options, .. } = entry;
    std::fs::create_dir_all(target).map_err(|error| format!("{target} cannot be created: {error}"))?;
    match mount(*source, *target, *kind, MountFlags::empty(), *options) {
        // Busy: the kernel mounted it itself (devtmpfs).
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(error) => Err(format!("{kind} cannot be mounted at {target}: {error}")),
    }
}
