//! Writer of initramfs archives: the "newc" format that the Linux kernel unpacks (kernel documentation,
//! `driver-api/early-userspace/buffer-format`).
//!
//! Owns the bytes of one archive in memory. Every entry belongs to root, with time 0, so that the same input gives the
//! same bytes.

use std::collections::BTreeSet;

const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;
const TYPE_CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    inode: u32,
}

impl Archive {
    /// Adds a folder and those above it. Paths are absolute or relative to the root; a folder is added once.
    pub fn folder(&mut self, path: &str) {
        let path = clean(path);
        let mut end = 0;
        loop {
            let rest = path.get(end..).unwrap_or_default();
            let Some(part) = rest.split('/').next().filter(|part| !part.is_empty()) else { return };
            end += part.len();
            let folder = path[..end].to_owned();
            if self.folders.insert(folder.clone()) {
                self.entry(&folder, TYPE_FOLDER | 0o755, (0, 0), &[]);
            }
            if end == path.len() {
                return;
            }
            end += 1;
        }
    }

    /// Adds a file of permissions `mode` and the folders above it.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) {
        let path = self.make_room(path);
        self.entry(&path, TYPE_FILE | (mode & 0o7777), (0, 0), data);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        let path = self.make_room(path);
        self.entry(&path, TYPE_LINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        let path = self.make_room(path);
        self.entry(&path, TYPE_CHARACTER_DEVICE | (mode & 0o7777), (major, minor), &[]);
    }

    /// Closes the archive and returns its bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.header("TRAILER!!!", 0, (0, 0), 0, 0);
        self.bytes
    }

    fn make_room(&mut self, path: &str) -> String {
        let path = clean(path);
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        path
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.inode += 1;
        let inode = self.inode;
        // The format has 32-bit sizes; larger files go through the share.
        let data = data.get(..data.len().min(u32::MAX as usize)).unwrap_or_default();
        self.header(path, mode, device, data.len() as u32, inode);
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn header(&mut self, path: &str, mode: u32, device: (u32, u32), size: u32, inode: u32) {
        let links = if mode & TYPE_FOLDER != 0 && mode & TYPE_FILE == 0 { 2 } else { 1 };
        let name_size = path.len() as u32 + 1;
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn clean(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checked against the field table of the format, byte for byte.
    #[test]
    fn a_file_entry_has_the_documented_bytes() {
        let mut archive = Archive::default();
        archive.file("/a", 0o644, b"xyz");
        let bytes = archive.finish();
        let expected = "070701000000010000\
            81A400000000000000000000000100000000000000030000000000000000000000000000000000000002\
            00000000a\0xyz\0";
        // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        assert_eq!(&bytes[..6 + 13 * 8 + 2 + 4], expected.replace(char::is_whitespace, "").as_bytes());
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
    }

    #[test]
    fn folders_above_a_file_come_first_and_once() {
        let mut archive = Archive::default();
        archive.file("/lib/firmware/x", 0o644, b"");
        archive.file("lib//firmware/y", 0o644, b"");
        let text = String::from_utf8_lossy(&archive.finish()).into_owned();
        assert_eq!(text.matches("lib\0").count(), 1);
        assert_eq!(text.matches("lib/firmware\0").count(), 1);
        assert!(text.find("lib\0") < text.find("lib/firmware\0"));
        assert!(text.find("lib/firmware\0") < text.find("lib/firmware/x\0"));
    }
}
