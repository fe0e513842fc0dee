//! A program of the person's own, brought into the guest with what it needs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::initramfs::{Contents, PROGRAMS};
use super::libraries;

/// Puts `program` into `contents` and returns the path to start in the guest.
///
/// A path below `/share` is left to the share (its libraries are not brought along). A word without a slash that is no
/// file here is taken as one of the guest's own commands.
///
/// # Errors
/// When the program does not exist, or needs a library that is not here.
pub fn bring(program: &str, share: Option<&Path>, contents: &mut Contents) -> anyhow::Result<String> {
    if let Some(inside) = program.strip_prefix("/share/") {
        let share = share.context("a program below /share needs --share DIR")?;
        let host = share.join(inside);
        if !host.is_file() {
            bail!("{program}: no such file ({} here)", host.display());
        }
        if is_elf(&host)? {
            add_libraries(&host, contents)?;
        }
        return Ok(program.to_owned());
    }
    let path = PathBuf::from(program);
    if !path.exists() {
        if program.contains('/') {
            bail!("{program}: no such file");
        }
        if let Some(path) = contents.command(program) {
            return Ok(path);
        }
        bail!("{program}: neither a file here nor a command of the guest");
    }
    if !path.is_file() {
        bail!("{program}: not a file");
    }
    let name = path.file_name().context("the program has no name")?.to_string_lossy().into_owned();
    let guest = format!("{PROGRAMS}/{name}");
    contents.add(guest.clone(), &path, 0o755)?;
    if is_elf(&path)? {
        add_libraries(&path, contents)?;
    }
    Ok(guest)
}

fn add_libraries(program: &Path, contents: &mut Contents) -> anyhow::Result<()> {
    for file in libraries::of(program)? {
        contents.add(file.guest, &file.host, 0o755)?;
    }
    Ok(())
}

/// Scripts are started by the guest's own interpreters and bring nothing.
fn is_elf(path: &Path) -> anyhow::Result<bool> {
    let mut start = [0; 4];
    let mut file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let count = std::io::Read::read(&mut file, &mut start)?;
    match &start[..count] {
        b"\x7fELF" => Ok(true),
        [b'#', b'!', ..] => Ok(false),
        _ => bail!("{} is neither an x86-64 program nor a script with #!", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_comes_with_its_libraries() {
        let mut contents = Contents::default();
        let program = std::env::current_exe().unwrap();
        let guest = bring(program.to_str().unwrap(), None, &mut contents).unwrap();
        assert!(guest.starts_with("/usr/local/bin/"));
        assert!(contents.files.iter().any(|(path, _, _)| path.ends_with("/libc.so.6")));
    }

    #[test]
    fn what_does_not_exist_is_said_so() {
        let mut contents = Contents::default();
        let error = |program: &str, contents: &mut Contents| bring(program, None, contents).unwrap_err().to_string();
        assert_eq!(error("./no-such-program", &mut contents), "./no-such-program: no such file");
        assert_eq!(error("frobnicate", &mut contents), "frobnicate: neither a file here nor a command of the guest");
        assert_eq!(error("/share/x", &mut contents), "a program below /share needs --share DIR");
        assert_eq!(error("/tmp", &mut contents), "/tmp: not a file");
    }
}
