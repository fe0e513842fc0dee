//! The guest's root file system: process 1, busybox, programs, modules, firmware files and the plan.
//!
//! Owns the places where things lie in the guest. It never decides what the guest does; that is the plan's business.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use coxswain_guest::plan::{self, Plan};

use super::cpio::Archive;
use super::modules::Module;
use crate::process;

/// Folder of kernel modules in the guest; flat, with a `modules.dep` for busybox's `modprobe`.
pub const MODULES: &str = "/lib/modules";
/// Folder of the card's firmware files in the guest, where the driver looks for them.
pub const FIRMWARE: &str = "/lib/firmware/habanalabs/gaudi";
/// Folder of the programs that the harness brings.
pub const PROGRAMS: &str = "/usr/local/bin";

/// What goes into the guest.
#[derive(Debug, Default)]
pub struct Contents {
    /// The static busybox.
    pub busybox: PathBuf,
    /// Absolute paths of the commands that busybox provides, e.g. `/bin/ls`.
    pub applets: Vec<String>,
    /// Process 1.
    pub init: PathBuf,
    /// Modules, in any order.
    pub modules: Vec<Module>,
    /// Further files: path in the guest, permissions, data.
    pub files: Vec<(String, u32, Vec<u8>)>,
}

/// Path of a module in the guest.
#[must_use]
pub fn module_path(name: &str) -> String {
    format!("{MODULES}/{name}.ko")
}

impl Contents {
    /// The bare guest: process 1 and busybox with all its commands.
    ///
    /// # Errors
    /// When busybox cannot say which commands it has.
    pub fn new(init: PathBuf, busybox: PathBuf) -> anyhow::Result<Self> {
        let list = process::output(Command::new(&busybox).arg("--list-full"))
            .context("cannot ask busybox for its commands")?;
        let applets = list.lines().map(|line| format!("/{}", line.trim())).filter(|path| path.len() > 1).collect();
        Ok(Self { busybox, applets, init, ..Self::default() })
    }

    /// Path of the guest's own command `name`: a program of the guest crate, or one of busybox's.
    #[must_use]
    pub fn command(&self, name: &str) -> Option<String> {
        let is = |path: &&str| path.rsplit('/').next() == Some(name);
        let programs = self.files.iter().filter(|(path, mode, _)| mode & 0o111 != 0 && path.starts_with(PROGRAMS));
        let programs = programs.map(|(path, ..)| path.as_str());
        programs.chain(self.applets.iter().map(String::as_str)).find(is).map(str::to_owned)
    }

    /// Adds a file of this machine at `guest` with its permissions.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add(&mut self, guest: impl Into<String>, host: &Path, mode: u32) -> anyhow::Result<()> {
        let data = fs::read(host).with_context(|| format!("cannot read {}", host.display()))?;
        self.files.push((guest.into(), mode, data));
        Ok(())
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn archive(&self, plan: &Plan) -> anyhow::Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in
            ["bin", "sbin", "usr/bin", "usr/sbin", "dev", "proc", "sys", "run", "tmp", "root", "etc", "share", "lib64"]
        {
            archive.folder(folder);
        }
        // The kernel opens the console before process 1 can mount anything.
        archive.character_device("dev/console", 0o600, 5, 1);
        archive.character_device("dev/null", 0o666, 1, 3);
        archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
        archive.file("etc/group", 0o644, b"root:x:0:\n");

        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        archive.file("bin/busybox", 0o755, &read(&self.busybox)?);
        for applet in &self.applets {
            if applet != "/bin/busybox" && applet != "/init" {
                archive.link(applet, "/bin/busybox");
            }
        }
        archive.file("init", 0o755, &read(&self.init)?);

        for module in &self.modules {
            archive.file(&module_path(&module.name), 0o644, &module.object);
        }
        // modprobe looks in a folder called like the running kernel.
        if let Some(module) = self.modules.first().filter(|module| !module.release.is_empty()) {
            archive.link(&format!("{MODULES}/{}", module.release), ".");
        }
        archive.file(&format!("{MODULES}/modules.dep"), 0o644, self.dependencies().as_bytes());
        for (path, mode, data) in &self.files {
            archive.file(path, *mode, data);
        }
        let plan = serde_json::to_vec_pretty(plan).context("cannot write the plan")?;
        archive.file(plan::PLAN_PATH, 0o644, &plan);
        Ok(archive.finish())
    }

    /// Text of `modules.dep`: each module, then all it depends on, nearest first.
    fn dependencies(&self) -> String {
        let mut text = String::new();
        for module in &self.modules {
            let mut all: Vec<&str> = Vec::new();
            let mut open: Vec<&str> = module.depends.iter().rev().map(String::as_str).collect();
            while let Some(name) = open.pop() {
                if !all.contains(&name) {
                    all.push(name);
                    if let Some(module) = self.modules.iter().find(|module| module.name == name) {
                        open.extend(module.depends.iter().rev().map(String::as_str));
                    }
                }
            }
            text.push_str(&format!("{}.ko:", module.name));
            for name in all {
                text.push_str(&format!(" {name}.ko"));
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, depends: &[&str]) -> Module {
        Module {
            name: name.into(),
            source: PathBuf::new(),
            object: Vec::new(),
            release: String::new(),
            depends: depends.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn modprobe_sees_indirect_dependencies() {
        let contents = Contents {
            modules: vec![module("quirks", &[]), module("drm", &["quirks"]), module("habanalabs", &["drm"])],
            ..Contents::default()
        };
        assert_eq!(contents.dependencies(), "quirks.ko:\ndrm.ko: quirks.ko\nhabanalabs.ko: drm.ko quirks.ko\n");
    }
}
