//! The two emulators: command lines, processes, control connections.

pub mod host;
pub mod machine;
pub mod management;
pub mod power;
pub mod qmp;

use std::path::Path;

use serde_json::json;

/// The `-device` argument of a vfio-user function on `bus`.
fn vfio_user(bus: &str, slot: Option<&str>, socket: &Path) -> String {
    let mut device = json!({
        "driver": "vfio-user-pci",
        "bus": bus,
        "rombar": 0,
        "socket": { "path": socket.to_string_lossy(), "type": "unix" },
    });
    if let (Some(slot), Some(object)) = (slot, device.as_object_mut()) {
        object.insert("addr".into(), slot.into());
    }
    device.to_string()
}
