//! Every encoding of `tpc-vectors.csv`, in both directions.

// Helpers of tests may unwrap like the tests themselves.
#![allow(clippy::unwrap_used)]

use coxswain_tpc::{assemble, disassemble};

/// (line, text, bytes) of each row. The first field may be quoted and then holds no quotes itself.
fn rows() -> Vec<(usize, String, Vec<u8>)> {
    let file = include_str!("data/tpc-vectors.csv");
    let mut rows = Vec::new();
    for (index, line) in file.lines().enumerate().skip(1) {
        let (text, rest) = match line.strip_prefix('"') {
            Some(quoted) => quoted.split_once("\",").unwrap(),
            None => line.split_once(',').unwrap(),
        };
        let hex = rest.split(',').next().unwrap();
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let text = match text.strip_prefix('[') {
            Some(kernel) => kernel.split_once("] ").unwrap().1,
            None => text,
        };
        rows.push((index + 1, text.to_owned(), bytes));
    }
    rows
}

#[test]
fn every_text_assembles_to_its_bytes() {
    let rows = rows();
    assert_eq!(rows.len(), 500);
    for (line, text, bytes) in rows {
        let assembled = assemble(&text).unwrap_or_else(|error| panic!("row {line}: {text}: {error}"));
        assert_eq!(assembled, bytes, "row {line}: {text}");
    }
}

#[test]
fn all_bytes_survive_disassembly_and_assembly() {
    for (line, text, bytes) in rows() {
        let printed = disassemble(&bytes).unwrap_or_else(|error| panic!("row {line}: {text}: {error}"));
        let assembled = assemble(&printed).unwrap_or_else(|error| panic!("row {line}: {printed}: {error}"));
        assert_eq!(assembled, bytes, "row {line}: {text} printed as {printed}");
    }
}

#[test]
fn a_single_bundle_is_printed_as_the_vendor_writes_it() {
    for (line, text, bytes) in rows() {
        if text.contains(";;") {
            continue;
        }
        let printed = disassemble(&bytes).unwrap();
        let canonical = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(printed.trim_end(), canonical, "row {line}");
    }
}
