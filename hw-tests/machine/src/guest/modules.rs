//! Kernel modules for the guest: finds them in a folder, reads what they depend on, and puts them in load order.
//!
//! Dependencies come from the modules themselves (`depends=` in their `.modinfo` section), so that a freshly built tree
//! without `modules.dep` works.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use object::{Object as _, ObjectSection as _};

/// One module, ready to be put into the guest.
#[derive(Debug, Clone)]
pub struct Module {
    /// Name as in `/proc/modules`.
    pub name: String,
    /// Where it was found.
    pub source: PathBuf,
    /// The uncompressed object file.
    pub object: Vec<u8>,
    /// Names of the modules it depends on directly.
    pub depends: Vec<String>,
    /// Release of the kernel it was built for (`uname -r`).
    pub release: String,
}

/// The modules in one or more folders, by name.
#[derive(Debug, Default)]
pub struct Modules {
    paths: BTreeMap<String, PathBuf>,
}

impl Modules {
    /// Looks through `folders`; a module found in an earlier folder hides one of the same name in a later one.
    #[must_use]
    pub fn search(folders: &[&Path]) -> Self {
        let mut modules = Self::default();
        for folder in folders {
            modules.scan(folder, 0);
        }
        modules
    }

    fn scan(&mut self, folder: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            // `build` and `source` are links to kernel trees; a loop of links must not catch us.
            if kind.is_dir() && depth < 16 {
                self.scan(&path, depth + 1);
            } else if let Some(name) = name_of(&path) {
                self.paths.entry(name).or_insert(path);
            }
        }
    }

    /// True when no module was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// True when there is a module called `name`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.paths.contains_key(name)
    }

    /// The module `name` and all it depends on, dependencies first; those already in `loaded` are left out.
    ///
    /// # Errors
    /// When a module is missing or cannot be read.
    pub fn closure(&self, name: &str, loaded: &mut Vec<Module>) -> anyhow::Result<()> {
        self.visit(name, loaded, &mut Vec::new())
    }

    fn visit(&self, name: &str, loaded: &mut Vec<Module>, path: &mut Vec<String>) -> anyhow::Result<()> {
        if loaded.iter().any(|module| module.name == name) {
            return Ok(());
        }
        if path.iter().any(|above| above == name) {
            bail!("the modules {} depend on each other", path.join(", "));
        }
        let source = self.paths.get(name).with_context(|| match path.last() {
            Some(above) => format!("the module {above} needs {name}, which is not in the modules folder"),
            None => format!("the module {name} is not in the modules folder"),
        })?;
        let module = read(name, source)?;
        path.push(name.to_owned());
        for dependency in &module.depends {
            self.visit(dependency, loaded, path)?;
        }
        path.pop();
        loaded.push(module);
        Ok(())
    }
}

/// The name of the module in a file called `path`; `None` when it is not a module.
#[must_use]
pub fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file.split_once(".ko").filter(|(_, rest)| matches!(*rest, "" | ".xz" | ".zst" | ".gz"))?.0;
    Some(stem.replace('-', "_"))
}

/// Reads and uncompresses one module file.
///
/// # Errors
/// When the file is unreadable, damaged, or not a kernel module.
pub fn read(name: &str, source: &Path) -> anyhow::Result<Module> {
    let bytes = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
    let object = uncompress(source, bytes).with_context(|| format!("cannot uncompress {}", source.display()))?;
    let (depends, release) =
        information(&object).with_context(|| format!("{} is not a kernel module", source.display()))?;
    Ok(Module { name: name.to_owned(), source: source.to_path_buf(), object, depends, release })
}

fn uncompress(path: &Path, bytes: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => {
            lzma_rs::xz_decompress(&mut bytes.as_slice(), &mut out).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        }
        Some("zst") => {
            ruzstd::decoding::StreamingDecoder::new(bytes.as_slice())
                .map_err(|error| anyhow::anyhow!("{error}"))?
                .read_to_end(&mut out)?;
        }
        Some("gz") => {
            flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut out)?;
        }
        _ => return Ok(bytes),
    }
    Ok(out)
}

/// Direct dependencies and kernel release of a module.
fn information(object: &[u8]) -> anyhow::Result<(Vec<String>, String)> {
    let file = object::File::parse(object)?;
    let section = file.section_by_name(".modinfo").context("it has no .modinfo section")?;
    let modinfo = section.data()?;
    let release = values(modinfo, "vermagic=").next().and_then(|magic| magic.split(' ').next()).unwrap_or_default();
    Ok((depends_in(modinfo), release.to_owned()))
}

fn depends_in(modinfo: &[u8]) -> Vec<String> {
    values(modinfo, "depends=")
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// `.modinfo` is a sequence of `key=value` strings, each ended by a zero byte.
fn values<'a>(modinfo: &'a [u8], key: &'a str) -> impl Iterator<Item = &'a str> {
    modinfo.split(|byte| *byte == 0).filter_map(move |entry| std::str::from_utf8(entry).ok()?.strip_prefix(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_names_are_those_of_the_kernel() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(name("/m/drivers/accel/habanalabs.ko.xz").as_deref(), Some("habanalabs"));
        assert_eq!(name("snd-hda-intel.ko").as_deref(), Some("snd_hda_intel"));
        assert_eq!(name("x.ko.zst").as_deref(), Some("x"));
        assert_eq!(name("x.ko.debug"), None);
        assert_eq!(name("modules.order"), None);
    }

    #[test]
    fn dependencies_are_read_from_the_module() {
        assert_eq!(depends_in(b"license=GPL\0depends=drm,snd-pcm\0name=x\0"), ["drm", "snd_pcm"]);
        assert!(depends_in(b"license=GPL\0depends=\0").is_empty());
    }

    #[test]
    fn values_are_found_by_their_key() {
        let modinfo = b"license=GPL\0vermagic=6.12.1-x SMP mod_unload\0";
        assert_eq!(values(modinfo, "vermagic=").next(), Some("6.12.1-x SMP mod_unload"));
        assert_eq!(values(modinfo, "depends=").next(), None);
    }

    #[test]
    fn a_missing_dependency_is_named_with_the_module_that_needs_it() {
        let modules = Modules::default();
        let error = modules.closure("habanalabs", &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the module habanalabs is not in the modules folder");
    }
}
