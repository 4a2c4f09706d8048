//! The archive format of an initramfs ("newc"), as far as a small guest needs it.

/// File type and permission bits of an entry's mode.
const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;
const REGULAR: u32 = 0o100_000;

/// An archive being put together in memory.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: Vec<String>,
}

impl Archive {
    /// A folder; the same one twice is one.
    pub(crate) fn folder(&mut self, path: &str) {
        if !self.folders.iter().any(|known| known == path) {
            self.folders.push(path.to_string());
            self.entry(path, FOLDER, (0, 0), &[]);
        }
    }

    /// Every folder that a file of this path lies in.
    pub(crate) fn folders_above(&mut self, path: &str) {
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            if let Some(folder) = path.get(..at) {
                self.folder(folder);
            }
        }
    }

    /// A file with its permission bits.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(path, REGULAR | permissions, (0, 0), content);
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK, (0, 0), target.as_bytes());
    }

    /// A device node, root's only.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        // inode, mode, uid, gid, links, mtime, size, device of the file system, device, name size, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.file("etc/a", 0o644, b"xyz");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes.clone()).expect("ascii");
        assert!(text.starts_with("070701"), "{text}");
        assert_eq!(text.get(14..22), Some("000081a4"), "mode");
        assert_eq!(text.get(54..62), Some("00000003"), "size");
        assert_eq!(text.get(94..102), Some("00000006"), "name size, its end included");
        assert_eq!(text.get(110..116), Some("etc/a\0"));
        assert_eq!(text.get(116..120), Some("xyz\0"), "padded to four");
        assert!(text.contains("TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn folders_above_a_file_come_once_and_before_it() {
        let mut archive = Archive::default();
        archive.folders_above("/opt/app/run.sh");
        archive.folders_above("/opt/app/stop.sh");
        assert_eq!(archive.folders, ["opt", "opt/app"]);
    }
}
