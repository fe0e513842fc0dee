//! The shared libraries of a program, found the way the dynamic loader would find them.
//!
//! Reads ELF headers only; the program is never run on the host (as `ldd` would do).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use object::Endianness;
use object::elf;
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};

/// Folders that Debian-like systems search after `RUNPATH` and `LD_LIBRARY_PATH`.
const SYSTEM_FOLDERS: &[&str] = &[
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/local/lib/x86_64-linux-gnu",
    "/usr/local/lib",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// A file that the program needs in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Absolute path in the guest.
    pub guest: String,
    /// The file on this machine.
    pub host: PathBuf,
}

/// What the ELF header of a program asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wishes {
    interpreter: Option<String>,
    needed: Vec<String>,
    folders: Vec<String>,
}

/// The interpreter and all libraries that `program` needs; empty for a static program.
///
/// Libraries are put into the guest's `/lib/x86_64-linux-gnu` wherever they were found here, the interpreter at the path
/// the program names.
///
/// # Errors
/// When the program is not an x86-64 ELF file, or a library cannot be found; the message names it.
pub fn of(program: &Path) -> anyhow::Result<Vec<Needed>> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let wishes = wishes(&bytes).with_context(|| format!("{} is not an x86-64 program", program.display()))?;
    let mut found = Vec::new();
    let Some(interpreter) = &wishes.interpreter else { return Ok(found) };
    if !Path::new(interpreter).exists() {
        bail!("{} needs {interpreter}, which this machine does not have: link it statically", program.display());
    }
    found.push(Needed { guest: interpreter.clone(), host: PathBuf::from(interpreter) });

    let mut environment: Vec<PathBuf> = Vec::new();
    if let Some(paths) = std::env::var_os("LD_LIBRARY_PATH") {
        environment.extend(std::env::split_paths(&paths));
    }
    let mut seen = BTreeSet::new();
    let mut open: Vec<(String, PathBuf, Vec<PathBuf>)> = Vec::new();
    let mut ask = |wishes: &Wishes, of: &Path, open: &mut Vec<_>| {
        let own = folders_of(wishes, of);
        for name in &wishes.needed {
            if seen.insert(name.clone()) {
                open.push((name.clone(), of.to_path_buf(), own.clone()));
            }
        }
    };
    ask(&wishes, program, &mut open);
    while let Some((name, asker, own)) = open.pop() {
        let system = SYSTEM_FOLDERS.iter().map(PathBuf::from);
        let candidates = own.iter().cloned().chain(environment.iter().cloned()).chain(system);
        let (path, wishes) = candidates
            .map(|folder| folder.join(&name))
            .find_map(|path| Some((path.clone(), self::wishes(&fs::read(&path).ok()?).ok()?)))
            .with_context(|| {
                format!("{} needs the library {name}, which was not found: set LD_LIBRARY_PATH", asker.display())
            })?;
        ask(&wishes, &path, &mut open);
        let guest = format!("/lib/x86_64-linux-gnu/{name}");
        if *interpreter != guest {
            found.push(Needed { guest, host: path });
        }
    }
    Ok(found)
}

fn folders_of(wishes: &Wishes, file: &Path) -> Vec<PathBuf> {
    let origin = fs::canonicalize(file).ok().and_then(|path| path.parent().map(Path::to_path_buf)).unwrap_or_default();
    let origin = origin.to_string_lossy();
    wishes
        .folders
        .iter()
        .flat_map(|list| list.split(':'))
        .filter(|folder| !folder.is_empty())
        .map(|folder| PathBuf::from(folder.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin)))
        .collect()
}

fn wishes(bytes: &[u8]) -> anyhow::Result<Wishes> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    if header.e_machine(endian) != elf::EM_X86_64 {
        bail!("it is for another processor");
    }
    let mut wishes = Wishes::default();
    let segments = header.program_headers(endian, bytes)?;
    for segment in segments {
        if let Ok(Some(name)) = segment.interpreter(endian, bytes) {
            wishes.interpreter = Some(String::from_utf8_lossy(name).into_owned());
        }
    }
    let mut entries = Vec::new();
    for segment in segments {
        if let Ok(Some(dynamic)) = segment.dynamic(endian, bytes) {
            entries.extend(dynamic.iter().map(|entry| (entry.d_tag(endian), entry.d_val(endian))));
        }
    }
    let value = |tag| entries.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value);
    let (Some(table), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else { return Ok(wishes) };
    let strings = segments
        .iter()
        .find_map(|segment| segment.data_range(endian, bytes, table, size).ok().flatten())
        .context("its string table is missing")?;
    let text = |offset: u64| -> Option<String> {
        let rest = strings.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    for (tag, value) in &entries {
        if *tag == elf::DT_NEEDED {
            wishes.needed.extend(text(*value));
        } else if *tag == elf::DT_RUNPATH || *tag == elf::DT_RPATH {
            wishes.folders.extend(text(*value));
        }
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_needs_its_loader_and_the_c_library() {
        // The test program itself is dynamic on every development machine.
        let needed = of(&std::env::current_exe().unwrap()).unwrap();
        assert!(needed[0].guest.contains("ld-linux"), "{needed:?}");
        assert!(needed.iter().any(|file| file.guest == "/lib/x86_64-linux-gnu/libc.so.6"));
        let mut names: Vec<_> = needed.iter().map(|file| &file.guest).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), needed.len());
    }

    #[test]
    fn a_text_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "#!/bin/sh\n").unwrap();
        assert!(of(file.path()).unwrap_err().to_string().ends_with("is not an x86-64 program"));
    }
}
