//! What the driver, `sysfs` and `hwmon` say about the card, as one JSON value.
//!
//! Every part is optional: what the driver refuses is reported as its reason, so that a missing feature shows.

use crate::device::{Device, DeviceError, Information, text, uapi};
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use uapi::info_op;

/// PLL names by number, as the interface numbers them on Gaudi.
const PLLS: [&str; 10] = ["cpu", "pci", "sram", "hbm", "nic", "dma", "mesh", "mme", "tpc", "if"];
/// Sync manager names by number, as the interface numbers them on Gaudi.
const SYNC_MANAGERS: [&str; 4] = ["W_S", "W_N", "E_N", "E_S"];
/// The driver's attributes that are values. They lie in the directory of the accel device or in that of its PCI device,
/// by kernel version, among others that are actions or binary.
const ATTRIBUTES: [&str; 22] = [
    "armcp_kernel_ver",
    "armcp_ver",
    "clk_cur_freq_mhz",
    "clk_max_freq_mhz",
    "cpld_ver",
    "cpucp_kernel_ver",
    "cpucp_ver",
    "device_type",
    "fuse_ver",
    "fw_os_ver",
    "hard_reset_cnt",
    "infineon_ver",
    "max_power",
    "module_id",
    "parent_device",
    "pci_addr",
    "preboot_btl_ver",
    "security_enabled",
    "soft_reset_cnt",
    "status",
    "thermal_ver",
    "uboot_ver",
];
/// Longest `sysfs` value taken over, in bytes.
const VALUE_LIMIT: usize = 4096;

/// The whole inventory. `node` answers the driver's information requests; `sysfs` is the card's class directory, whose
/// `device` is the PCI device's; `hwmon` is the directory of all monitors.
pub fn collect(node: &impl Information, sysfs: &Path, hwmon: &Path) -> Value {
    json!({
        "status": or_reason(node.status().map(Value::from)),
        "hardware": or_reason(node.hardware().map(|info| hardware(&info))),
        "idle": or_reason(idle(node)),
        "resets": or_reason(node.information(info_op::RESET_COUNT, 0).map(|[hard, compute]: [u32; 2]| {
            json!({ "hard": hard, "compute": compute })
        })),
        "clock_mhz": or_reason(node.information(info_op::CLK_RATE, 0).map(|[current, highest]: [u32; 2]| {
            json!({ "current": current, "highest": highest })
        })),
        "pll_mhz": plls(node),
        "sync_managers": sync_managers(node),
        "power": or_reason(node.information(info_op::POWER, 0).map(|power: u64| json!(power))),
        "energy": or_reason(node.information(info_op::TOTAL_ENERGY, 0).map(|energy: u64| json!(energy))),
        "time": or_reason(node.information(info_op::TIME_SYNC, 0).map(|[device, host, tsc]: [u64; 3]| {
            json!({ "device": device, "host": host, "tsc": tsc })
        })),
        "opens": or_reason(node.information(info_op::OPEN_STATS, 0).map(|stats: uapi::OpenStats| {
            json!({ "count": stats.opens, "last_ms": stats.last_open_ms, "active": stats.active != 0 })
        })),
        "events": or_reason(node.events(false).map(|events| counters(&events))),
        "events_since_load": or_reason(node.events(true).map(|events| counters(&events))),
        "sysfs": attributes(&[sysfs, &sysfs.join("device")]),
        "hwmon": monitors(hwmon),
    })
}

/// What only the compute node answers: the memory that its user accounts for and its dropped submissions.
pub fn collect_compute(device: &Device) -> Value {
    json!({
        "memory": or_reason(device.information(info_op::DRAM_USAGE, 0).map(|[free, used]: [u64; 2]| {
            json!({ "free": free, "used_by_this_program": used })
        })),
        "dropped_submissions": or_reason(device.information(info_op::CS_COUNTERS, 0).map(|counters: [u64; 12]| {
            json!(counters.to_vec())
        })),
    })
}

fn or_reason(value: Result<Value, DeviceError>) -> Value {
    value.unwrap_or_else(|error| json!({ "refused": error.to_string() }))
}

fn hardware(info: &uapi::HwIpInfo) -> Value {
    json!({
        "card_name": text(&info.card_name),
        "cpucp_version": text(&info.cpucp_version),
        "device_id": info.device_id,
        "revision_id": info.revision_id,
        "module_id": info.module_id,
        "server_type": info.server_type,
        "security_enabled": info.security_enabled != 0,
        "sram_base": info.sram_base,
        "sram_size": info.sram_size,
        "dram_enabled": info.dram_enabled != 0,
        "dram_base": info.dram_base,
        "dram_size": info.dram_size,
        "dram_page_size": info.dram_page_size,
        "tpc_mask": info.tpc_mask,
        "events": info.events,
        "cpld_version": info.cpld_version,
        "pci_pll": { "nr": info.pll_nr, "nf": info.pll_nf, "od": info.pll_od, "divider": info.pll_divider },
    })
}

fn idle(node: &impl Information) -> Result<Value, DeviceError> {
    let idle: uapi::HwIdle = node.information(info_op::HW_IDLE, 0)?;
    Ok(json!({ "all": idle.is_idle != 0, "busy_mask": idle.busy }))
}

fn plls(node: &impl Information) -> Value {
    let outputs = |index: u32| {
        or_reason(node.information(info_op::PLL_FREQUENCY, index).map(|mhz: [u16; 4]| json!(mhz.to_vec())))
    };
    (0..).zip(PLLS).map(|(index, name)| (name.to_owned(), outputs(index))).collect::<Map<_, _>>().into()
}

fn sync_managers(node: &impl Information) -> Value {
    let first_free = |index: u32| {
        or_reason(
            node.information(info_op::SYNC_MANAGER, index)
                .map(|[sob, monitor, _, _]: [u32; 4]| json!({ "first_sync_object": sob, "first_monitor": monitor })),
        )
    };
    (0..).zip(SYNC_MANAGERS).map(|(index, name)| (name.to_owned(), first_free(index))).collect::<Map<_, _>>().into()
}

/// Event numbers and counts; numbers are names in JSON.
fn counters(events: &[(u32, u32)]) -> Value {
    events.iter().map(|(id, count)| (id.to_string(), json!(count))).collect::<Map<_, _>>().into()
}

/// The driver's attributes by name, each from the first directory that has it.
fn attributes(directories: &[&Path]) -> Value {
    let find = |name: &str| directories.iter().find_map(|directory| read_value(&directory.join(name)));
    ATTRIBUTES.iter().filter_map(|name| Some(((*name).to_owned(), find(name)?))).collect::<Map<_, _>>().into()
}

/// A file's text without its line end; `None` when it cannot be read at all.
fn read_value(path: &Path) -> Option<Value> {
    let bytes = fs::read(path).ok()?;
    let shown = bytes.get(..bytes.len().min(VALUE_LIMIT)).unwrap_or_default();
    Some(Value::from(String::from_utf8_lossy(shown).trim_end().to_owned()))
}

/// Every hardware monitor with its name and values. A value that cannot be read is reported with the system's reason:
/// for a sensor that is a finding.
fn monitors(path: &Path) -> Value {
    let mut list = Vec::new();
    let mut paths: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for monitor in paths {
        let mut values = Map::new();
        for entry in fs::read_dir(&monitor).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kinds = ["temp", "in", "curr", "fan", "pwm", "power", "energy"];
            // Some values can only be written: resets of a history.
            let readable = entry.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o444 != 0);
            if !readable || !kinds.iter().any(|kind| name.strip_prefix(kind).is_some_and(starts_with_digit)) {
                continue;
            }
            let value = match fs::read_to_string(entry.path()) {
                Ok(text) => Value::from(text.trim_end()),
                Err(error) => json!({ "refused": error.to_string() }),
            };
            values.insert(name, value);
        }
        let name = read_value(&monitor.join("name")).unwrap_or(Value::Null);
        list.push(json!({ "name": name, "values": values }));
    }
    list.into()
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

/// The inventory as `path = value` lines, for people and for `grep`.
#[must_use]
pub fn to_lines(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, lines: &mut Vec<String>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| walk(value, &below(name), lines)),
            Value::Array(list) if list.iter().any(|item| item.is_object()) => {
                list.iter().enumerate().for_each(|(index, value)| walk(value, &below(&index.to_string()), lines));
            }
            Value::String(text) => lines.push(format!("{path} = {}", text.replace('\n', " | "))),
            other => lines.push(format!("{path} = {other}")),
        }
    }
    let mut lines = Vec::new();
    walk(value, "", &mut lines);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitors_show_their_values_and_unreadable_ones() {
        let root = tempfile::tempdir().unwrap();
        let monitor = root.path().join("hwmon0");
        fs::create_dir(&monitor).unwrap();
        for (name, value) in [("name", "habanalabs\n"), ("temp1_input", "42000\n"), ("uevent", "x"), ("index", "1")] {
            fs::write(monitor.join(name), value).unwrap();
        }
        fs::create_dir(monitor.join("power1_input")).unwrap();
        let history = monitor.join("temp1_reset_history");
        fs::write(&history, "").unwrap();
        fs::set_permissions(&history, fs::Permissions::from_mode(0o200)).unwrap();
        let value = monitors(root.path());
        assert_eq!(value[0]["name"], "habanalabs");
        assert_eq!(value[0]["values"]["temp1_input"], "42000");
        assert!(value[0]["values"]["power1_input"]["refused"].is_string());
        assert_eq!(value[0]["values"].as_object().unwrap().len(), 2);
    }

    #[test]
    fn attributes_are_found_in_either_directory_and_actions_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("device");
        fs::create_dir(&device).unwrap();
        for (path, value) in [("status", "Operational\n"), ("hard_reset", "no"), ("device/cpucp_ver", "1.0\n")] {
            fs::write(root.path().join(path), value).unwrap();
        }
        let value = attributes(&[root.path(), &device]);
        assert_eq!(value, json!({ "cpucp_ver": "1.0", "status": "Operational" }));
    }

    #[test]
    fn lines_name_every_leaf_by_its_path() {
        let lines = to_lines(&json!({ "a": { "b": 1, "t": "x\ny" }, "l": [{ "n": true }], "p": [1, 2] }));
        assert_eq!(lines, ["a.b = 1", "a.t = x | y", "l.0.n = true", "p = [1,2]"]);
    }
}
