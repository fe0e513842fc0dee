//! A private apt: own lists, own cache, an empty list of installed packages. Needs no root and changes nothing in the system.
//!
//! Uses the system's `apt-get`, `apt-cache` and `dpkg-deb` programs. Signatures are checked by apt against the Debian
//! archive keys that the system has; proxy settings of the system's apt are kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::cache::{Package, WORK_PREFIX, sha256_of};
use crate::process;
use crate::progress::{Progress, human_bytes};

/// Key rings that may hold the Debian archive keys, best first.
const KEY_RINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/etc/apt/trusted.gpg",
];

/// The Debian release that everything comes from.
pub const RELEASE: &str = "trixie";

/// A private apt state; its folder is removed when dropped.
pub struct Apt {
    state: tempfile::TempDir,
    downloads: PathBuf,
}

/// What to fetch.
pub enum Selection<'a> {
    /// Packages from backports with all they depend on.
    Closure(&'a [&'a str]),
    /// Exactly these packages of the release, without what they depend on.
    Exactly(&'a [&'a str]),
}

struct Remote {
    file: String,
    bytes: u64,
}

impl Apt {
    /// Sets up the state below `root` for `mirror` and reads the package lists.
    ///
    /// # Errors
    /// When a program or key ring is missing or the mirror cannot be reached; the message names the remedy.
    pub fn new(root: &Path, downloads: PathBuf, mirror: &str, progress: &Progress) -> anyhow::Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            if process::find_in_path(program).is_none() {
                bail!(
                    "{program} is missing: on a system without apt install QEMU 11 or newer yourself, and pass --kernel and --modules"
                );
            }
        }
        let keys = KEY_RINGS
            .iter()
            .find(|path| Path::new(path).exists())
            .context("the Debian archive keys are missing: install the package debian-archive-keyring")?;
        if mirror.contains(['"', ' ', '\n']) {
            bail!("'{mirror}' is not a mirror: pass --mirror with the address of a Debian archive");
        }
        let state = tempfile::Builder::new()
            .prefix(WORK_PREFIX)
            .tempdir_in(root)
            .context("cannot make a folder in the cache")?;
        let at = |name: &str| state.path().join(name);
        for folder in [at("lists/partial"), at("cache"), downloads.join("partial")] {
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(at("status"), "").context("cannot write in the cache")?;
        let sources: String = ["", "-updates", "-backports"]
            .iter()
            .map(|suite| format!("deb [signed-by={keys}] {mirror} {RELEASE}{suite} main\n"))
            .collect();
        fs::write(at("sources.list"), sources).context("cannot write in the cache")?;
        fs::write(at("apt.conf"), configuration(state.path(), &downloads)).context("cannot write in the cache")?;
        let apt = Self { state, downloads };

        let task = progress.spinner(format!("reading the package lists of {mirror}"));
        let updated = process::capture(apt.get().args(["-o", "APT::Update::Error-Mode=any", "update"]), || {})?;
        if !updated.status.success() {
            bail!(
                "cannot read the package lists of {mirror} ({}): check the network, or pass --mirror with a Debian archive that can be reached",
                updated.complaint()
            );
        }
        task.done("package lists read");
        Ok(apt)
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("APT_CONFIG", self.state.path().join("apt.conf")).env("LC_ALL", "C").current_dir(&self.downloads);
        command
    }

    fn get(&self) -> Command {
        let mut command = self.program("apt-get");
        command.args(["--yes", "--quiet"]);
        command
    }

    /// The package that the meta package `name` of the release depends on and whose name begins with `prefix`.
    ///
    /// # Errors
    /// When the archive does not have it.
    pub fn dependency(&self, name: &str, prefix: &str) -> anyhow::Result<String> {
        let text = process::output(self.program("apt-cache").args(["show", "--no-all-versions", name]))?;
        text.lines()
            .find_map(|line| line.strip_prefix("Depends:"))
            .and_then(|depends| {
                depends.split([',', ' ', '(']).map(str::trim).find(|word| word.starts_with(prefix)).map(str::to_owned)
            })
            .with_context(|| format!("the archive has no package {prefix}*: pass --mirror with another Debian archive"))
    }

    fn arguments(selection: &Selection<'_>) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        match selection {
            Selection::Closure(names) => {
                arguments.extend(["--no-install-recommends", "--download-only", "--target-release"].map(String::from));
                arguments.push(format!("{RELEASE}-backports"));
                arguments.push("install".into());
                arguments.extend(names.iter().map(|name| (*name).to_owned()));
            }
            Selection::Exactly(names) => {
                arguments.push("download".into());
                arguments.extend(names.iter().map(|name| (*name).to_owned()));
            }
        }
        arguments
    }

    /// Fetches `selection`, says how much that is, and returns the files in the order of unpacking.
    ///
    /// # Errors
    /// When the archive lacks a package, the network fails, or there is no space; the message names the remedy.
    pub fn fetch(&self, what: &str, selection: &Selection<'_>, progress: &Progress) -> anyhow::Result<Vec<Package>> {
        let arguments = Self::arguments(selection);
        // Listed as if nothing had been fetched: apt leaves out what it already has.
        let empty = self.state.path().join("empty");
        fs::create_dir_all(empty.join("partial")).with_context(|| format!("cannot make {}", empty.display()))?;
        let mut list = self.get();
        list.arg("-o").arg(format!("Dir::Cache::archives={}", empty.display())).current_dir(&empty);
        let listing = process::capture(list.arg("--print-uris").args(&arguments), || {})?;
        if !listing.status.success() {
            bail!(
                "the archive cannot provide {what} ({}): pass --mirror with a Debian archive that has {RELEASE} and {RELEASE}-backports",
                listing.complaint()
            );
        }
        let files = parse_uris(&listing.stdout);
        if files.is_empty() {
            bail!("the archive offers nothing for {what}: pass --mirror with another Debian archive");
        }
        let total: u64 = files.iter().map(|file| file.bytes).sum();
        let folder = match selection {
            Selection::Closure(_) => self.downloads.clone(),
            Selection::Exactly(_) => self.downloads.join("single"),
        };
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        progress.line(format!(
            "fetching {what}: {} package{}, {}",
            files.len(),
            if files.len() == 1 { "" } else { "s" },
            human_bytes(total)
        ));
        let task = progress.bytes(format!("fetching {what}"), total);
        let fetched = process::capture(self.get().args(&arguments).current_dir(&folder), || {
            task.set(files.iter().map(|file| size_so_far(&folder, &file.file)).sum());
        })?;
        if !fetched.status.success() {
            bail!(
                "fetching {what} failed ({}): check network and free space, then run again - what has arrived is kept",
                fetched.complaint()
            );
        }
        task.done(format!("fetched {what}"));
        files
            .iter()
            .map(|file| {
                let path = folder.join(&file.file);
                let (name, version) = split_name(&file.file);
                Ok(Package { sha256: sha256_of(&path)?, bytes: file.bytes, name, version, file: file.file.clone() })
            })
            .collect()
    }

    /// Unpacks fetched `packages` into `root`.
    ///
    /// # Errors
    /// When a package is damaged or there is no space.
    pub fn unpack(&self, what: &str, packages: &[Package], root: &Path, progress: &Progress) -> anyhow::Result<()> {
        let task = progress.steps(format!("unpacking {what}"), packages.len() as u64);
        for (index, package) in packages.iter().enumerate() {
            task.set(index as u64);
            let path = [self.downloads.join(&package.file), self.downloads.join("single").join(&package.file)]
                .into_iter()
                .find(|path| path.exists())
                .with_context(|| format!("{} has vanished from the cache: run again", package.file))?;
            process::output(Command::new("dpkg-deb").arg("-x").arg(&path).arg(root))
                .with_context(|| format!("cannot unpack {}: check the free space", package.file))?;
        }
        task.done(format!("unpacked {what}"));
        Ok(())
    }

    /// Removes the fetched files; called when everything is installed.
    pub fn discard_downloads(&self) {
        // What cannot be removed only takes space.
        let _ = fs::remove_dir_all(&self.downloads);
    }
}

/// apt's configuration: everything below our own folders, nothing of the system's but its proxies.
fn configuration(state: &Path, downloads: &Path) -> String {
    let state = state.display();
    let mut text = format!(
        "Dir::State \"{state}\";\nDir::State::lists \"{state}/lists\";\nDir::State::status \"{state}/status\";\n\
         Dir::Cache \"{state}/cache\";\nDir::Cache::archives \"{}\";\nDir::Log \"{state}\";\n\
         Dir::Etc::sourcelist \"{state}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
         APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Default-Release \"{RELEASE}\";\n\
         APT::Sandbox::User \"\";\nAPT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\n\
         Acquire::Retries \"2\";\nAcquire::http::Timeout \"30\";\nAcquire::https::Timeout \"30\";\n\
         Debug::NoLocking \"true\";\n",
        downloads.display()
    );
    // `apt-config dump` prints each setting as a line in the same language.
    if let Ok(dump) = process::output(Command::new("apt-config").arg("dump")) {
        for line in dump.lines() {
            let is = |prefix: &str| line.starts_with(prefix);
            if is("Acquire::http::Proxy") || is("Acquire::https::") || is("Acquire::http::Auto") {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// Lines of `--print-uris`: `'uri' file size [hash]`.
fn parse_uris(text: &str) -> Vec<Remote> {
    text.lines()
        .filter(|line| line.starts_with('\''))
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            Some(Remote { file: words.next()?.to_owned(), bytes: words.next()?.parse().ok()? })
        })
        .collect()
}

/// Name and version in a file name `name_version_architecture.deb`, where `:` is written `%3a`.
fn split_name(file: &str) -> (String, String) {
    let mut parts = file.split('_');
    let name = parts.next().unwrap_or_default();
    let version = parts.next().unwrap_or_default();
    (name.to_owned(), version.replace("%3a", ":"))
}

fn size_so_far(folder: &Path, file: &str) -> u64 {
    [folder.join(file), folder.join("partial").join(file)]
        .iter()
        .find_map(|path| fs::metadata(path).ok())
        .map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_files_is_read_with_and_without_hashes() {
        let text = "Reading package lists...\n\
            'http://m.example/debian/pool/main/q/qemu/a_1%3a2_all.deb' a_1%3a2_all.deb 2246016 \n\
            'http://m.example/debian/pool/main/l/b_6.12.117-1_amd64.deb' b_6.12.117-1_amd64.deb 1476 SHA256:c91b\n";
        let files = parse_uris(text);
        assert_eq!(files.len(), 2);
        assert_eq!((files[0].file.as_str(), files[0].bytes), ("a_1%3a2_all.deb", 2_246_016));
        assert_eq!(files[1].bytes, 1476);
    }

    #[test]
    fn an_epoch_is_part_of_the_version() {
        assert_eq!(
            split_name("qemu-system-data_1%3a11.1.3+ds-1~bpo13+1_all.deb"),
            ("qemu-system-data".to_owned(), "1:11.1.3+ds-1~bpo13+1".to_owned())
        );
    }
}
