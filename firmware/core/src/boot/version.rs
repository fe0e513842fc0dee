//! Version strings of the boot stages.
//!
//! The ROM's string is parsed by the driver with a strict grammar, and a string without the word "Preboot" makes the 6.12
//! kernel follow a null pointer (`boot-protocol.md` 10). So the grammar is checked when this crate is compiled.

use coxswain_abi::comms::VERSION_BYTES;

/// What the ROM reports in its descriptors.
pub const PREBOOT: &str = concat!(
    "Preboot version hl-gaudi-",
    env!("CARGO_PKG_VERSION"),
    "-fw-",
    env!("CARGO_PKG_VERSION"),
    " (Coxswain boot ROM)"
);

/// What the boot-fit reports in its descriptors.
pub const BOOT_FIT: &str =
    concat!("Coxswain boot-fit hl-gaudi-", env!("CARGO_PKG_VERSION"), "-fw-", env!("CARGO_PKG_VERSION"), " ");

const _: () = assert!(is_preboot(PREBOOT));
const _: () = assert!(BOOT_FIT.len() < VERSION_BYTES);

/// Position of `needle` in `text` at or after `from`.
const fn find(text: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let mut start = from;
    while start + needle.len() <= text.len() {
        let mut index = 0;
        // PANIC: `start + index < start + needle.len() <= text.len()` and `index < needle.len()`.
        while index < needle.len() && text[start + index] == needle[index] {
            index += 1;
        }
        if index == needle.len() {
            return Some(start);
        }
        start += 1;
    }
    None
}

/// Position behind 1 to 7 digits that start at `from`.
const fn digits(text: &[u8], from: usize) -> Option<usize> {
    let mut end = from;
    // PANIC: `end < text.len()` is checked first.
    while end < text.len() && text[end].is_ascii_digit() {
        end += 1;
    }
    if end == from || end - from > 7 { None } else { Some(end) }
}

/// Position behind `<number>.` at `from`.
const fn number_and_dot(text: &[u8], from: usize) -> Option<usize> {
    match digits(text, from) {
        // PANIC: `end < text.len()` is checked first.
        Some(end) if end < text.len() && text[end] == b'.' => Some(end + 1),
        _ => None,
    }
}

/// True when the driver can parse `version` as the version of the first stage: the word "Preboot"; behind it
/// `-<major>.<minor>.<sub>` directly before `-rc-` or `-fw-`; behind the first `fw-`, when a space follows, `<major>.<minor>.`;
/// short enough for its field.
#[must_use]
pub const fn is_preboot(version: &str) -> bool {
    let text = version.as_bytes();
    if text.len() >= VERSION_BYTES {
        return false;
    }
    let Some(start) = find(text, b"Preboot", 0) else { return false };
    let mark = match find(text, b"-rc-", start) {
        Some(mark) => mark,
        None => match find(text, b"-fw-", start) {
            Some(mark) => mark,
            None => return false,
        },
    };
    // The nearest '-' before the mark; the numbers stand between the two.
    let mut dash = mark;
    loop {
        if dash == start {
            return false;
        }
        dash -= 1;
        // PANIC: `dash < mark`, and `mark` is a position in `text`.
        if text[dash] == b'-' {
            break;
        }
    }
    let Some(minor) = number_and_dot(text, dash + 1) else { return false };
    let Some(sub) = number_and_dot(text, minor) else { return false };
    match digits(text, sub) {
        Some(end) if end == mark => {}
        _ => return false,
    }
    let Some(inner) = find(text, b"fw-", 0) else { return true };
    if find(text, b" ", inner).is_none() {
        return true;
    }
    match number_and_dot(text, inner + 3) {
        Some(minor) => number_and_dot(text, minor).is_some(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_the_driver_is_checked() {
        assert!(is_preboot("Preboot version hl-gaudi-0.1.0-fw-0.1.0 (build text)"));
        assert!(is_preboot("Preboot version hl-gaudi-1.22.333-rc-4"));
        for bad in [
            "version hl-gaudi-0.1.0-fw-0.1.0 ",
            "Preboot",
            "Preboot 0.1.0",
            "Preboot version hl-gaudi-0.1-fw-0.1.0 ",
            "Preboot version hl-gaudi-0.1.x-fw-0.1.0 ",
            "Preboot version hl-gaudi-0.1.12345678-fw-0.1.0 ",
            "Preboot version hl-gaudi-0.1.0-fw-x ",
            "Preboot version0.1.0-fw-0.1.0 ",
        ] {
            assert!(!is_preboot(bad), "{bad}");
        }
    }

    #[test]
    fn a_string_that_leaves_no_room_for_its_nul_is_refused() {
        let long = "Preboot version hl-gaudi-0.1.0-fw-0.1.0 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567";
        assert_eq!(long.len(), 128);
        assert!(!is_preboot(long));
        assert!(is_preboot(&long[..127]));
    }
}
