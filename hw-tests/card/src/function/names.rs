//! Names of CFG registers, from the register tables of the board's documents.
//!
//! Owns: the table, built at first use from `gaudi-registers.csv` (registers of a kind of block) and `instances.csv` (where
//! the blocks are).

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

const REGISTERS: &str = include_str!("../../../../boards/gaudi/docs/gaudi-registers.csv");
const INSTANCES: &str = include_str!("../../../../boards/gaudi/docs/instances.csv");

/// One line of the register table.
struct Register {
    name: &'static str,
    offset: u32,
    count: u32,
    stride: u32,
}

/// One block of the chip.
struct Instance {
    kind: &'static str,
    name: &'static str,
}

struct Table {
    registers: HashMap<&'static str, Vec<Register>>,
    instances: BTreeMap<u32, Instance>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut registers: HashMap<_, Vec<_>> = HashMap::new();
    for line in REGISTERS.lines().skip(1) {
        // The quoted fields of a line come after the ones used here.
        let fields: Vec<_> = line.split(',').collect();
        if let [kind, _, name, offset, _, count, stride, ..] = fields[..]
            && let Some(offset) = hexadecimal(offset)
        {
            // General-purpose registers are known by what they are used for.
            let name = alias(line).unwrap_or(name.trim_end_matches("[n]"));
            registers.entry(kind).or_default().push(Register {
                name,
                offset,
                count: count.parse().unwrap_or(1),
                stride: hexadecimal(stride).unwrap_or(4),
            });
        }
    }
    let mut instances = BTreeMap::new();
    for line in INSTANCES.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        if let [kind, _, _, offset, name, ..] = fields[..]
            && let Some(offset) = hexadecimal(offset)
        {
            instances.insert(offset, Instance { kind, name });
        }
    }
    Table { registers, instances }
});

/// The name that the note of a line gives as its alias.
fn alias(line: &'static str) -> Option<&'static str> {
    let (_, note) = line.split_once(",alias ").or_else(|| line.split_once(",\"alias "))?;
    note.split(|character: char| !character.is_ascii_alphanumeric() && character != '_').next()
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Name of the register at CFG offset `offset`.
pub fn register_name(offset: u32) -> Option<String> {
    let (base, instance) = TABLE.instances.range(..=offset).next_back()?;
    let inside = offset - base;
    let registers = TABLE.registers.get(instance.kind).map_or(&[][..], |registers| registers);
    for register in registers {
        let Some(distance) = inside.checked_sub(register.offset) else { continue };
        if register.stride != 0 && distance % register.stride == 0 && distance / register.stride < register.count {
            return Some(if register.count == 1 {
                format!("{}_{}", instance.name, register.name)
            } else {
                format!("{}_{}[{}]", instance.name, register.name, distance / register.stride)
            });
        }
    }
    (inside < 0x1000).then(|| format!("{}+{inside:#x}", instance.name))
}

#[cfg(test)]
mod tests {
    use super::register_name;

    #[test]
    fn registers_have_the_names_of_the_tables() {
        assert_eq!(register_name(0x52_80A8).as_deref(), Some("DMA1_QM_PQ_PI[2]"));
        assert_eq!(register_name(0xC4_B300).as_deref(), Some("PSOC_GLOBAL_CONF_CPU_BOOT_STATUS"));
        assert_eq!(register_name(0xC4_B150).as_deref(), Some("PSOC_GLOBAL_CONF_CPU_BOOT_DEV_STS0"));
        assert_eq!(register_name(0xC4_B160).as_deref(), Some("PSOC_GLOBAL_CONF_CPU_BOOT_ERR0"));
        assert_eq!(register_name(0x50_0F00).as_deref(), Some("DMA0_CORE+0xf00"));
    }
}
