//! `bench`: measures and compares with the golden file.

use std::sync::Arc;

use anyhow::Context as _;

use super::FAILURE;
use crate::bench::golden::{self, Verdict};
use crate::bench::on_target;
use crate::cli::BenchOptions;
use crate::environment;
use crate::images;
use crate::progress::Progress;

/// Runs it.
pub fn run(options: &BenchOptions, progress: &Progress) -> anyhow::Result<u8> {
    let tools = environment::tools(&options.fetch, progress)?;
    let firmware = Arc::new(images::build_firmware(progress)?);
    let measured = on_target::measure(tools, &firmware)?;
    if let Some(path) = &options.json {
        golden::store(path, &measured)?;
    }
    if options.update {
        golden::store(&golden::path(), &measured)?;
    }
    let expected = golden::load(&golden::path()).context("`bench --update` writes a new one")?;
    let mut code = 0;
    println!("{:52} {:>12} {:>12}", "on the target", "measured", "golden");
    for (name, verdict) in golden::compare(&measured, &expected) {
        let show = |value: Option<&f64>| value.map_or_else(|| "-".to_owned(), f64::to_string);
        let note = match verdict {
            Verdict::Same => String::new(),
            Verdict::Changed(part) => format!("  CHANGED by {:+.1} %", 100.0 * part),
            Verdict::New => "  NEW".to_owned(),
            Verdict::Missing => "  MISSING".to_owned(),
        };
        if verdict != Verdict::Same {
            code = FAILURE;
        }
        println!("{name:52} {:>12} {:>12}{note}", show(measured.get(&name)), show(expected.get(&name)));
    }
    if code != 0 {
        eprintln!(
            "FAILED: figures moved by more than 5 %: repair it, or explain it and run `cargo run -- bench --update`"
        );
    }
    Ok(code)
}
