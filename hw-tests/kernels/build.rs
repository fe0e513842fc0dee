//! Assembles the kernels of `hw-tests/tpc/kernels`: an error in one of them is an error of the build, with file and line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

const SOURCES: &str = "../tpc/kernels";

fn main() {
    println!("cargo::rerun-if-changed={SOURCES}");
    if let Err(message) = build() {
        println!("cargo::error={message}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let output = PathBuf::from(env::var_os("OUT_DIR").ok_or("no output directory")?);
    let folder = fs::read_dir(SOURCES).map_err(|error| format!("{SOURCES}: {error}"))?;
    let mut sources: Vec<PathBuf> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "tpc"));
    sources.sort();
    let mut table = String::from("/// The assembled kernels, by name.\npub const BUILT: &[(&str, &[u8])] = &[\n");
    for source in &sources {
        let name = source.file_stem().and_then(|name| name.to_str()).ok_or("a kernel without a name")?;
        let code = assemble(source)?;
        let target = output.join(format!("{name}.bin"));
        fs::write(&target, code).map_err(|error| format!("{}: {error}", target.display()))?;
        writeln!(table, "    ({name:?}, include_bytes!({target:?})),").map_err(|error| error.to_string())?;
    }
    table.push_str("];\n");
    fs::write(output.join("built.rs"), table).map_err(|error| format!("built.rs: {error}"))
}

fn assemble(source: &Path) -> Result<Vec<u8>, String> {
    let path = source.display();
    let text = fs::read_to_string(source).map_err(|error| format!("{path}: {error}"))?;
    coxswain_tpc::assemble(&text).map_err(|error| format!("{path}: {error}"))
}
