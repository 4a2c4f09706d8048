//! What of a host monitor outlives its process: the spool's file and the copy of its roster, as
//! `hostmon/src/driver/spool_file.rs` writes them. A process that is killed leaves a part of what it was writing.

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    spool: Vec<u8>,
    /// Up to here it is sound. What lies behind is overwritten.
    length: usize,
    under_way: Option<Change>,
    pub(crate) copy: Vec<u8>,
    /// How the store's clock stood.
    pub(crate) mark: Vec<u8>,
}

/// What is being written to the spool's file.
#[derive(Debug)]
pub(crate) enum Change {
    /// Behind what is sound.
    Append(Vec<u8>),
    /// In its place.
    Replace(Vec<u8>),
}

impl Disk {
    pub(crate) fn spool(&self) -> &[u8] {
        &self.spool
    }

    pub(crate) const fn keep_up_to(&mut self, length: usize) {
        self.length = length;
    }

    pub(crate) fn begin(&mut self, change: Change) {
        self.under_way = Some(change);
    }

    /// It is synced.
    pub(crate) fn finish(&mut self) {
        match self.under_way.take() {
            Some(Change::Append(bytes)) => {
                self.put(&bytes);
                self.length += bytes.len();
            }
            Some(Change::Replace(bytes)) => {
                self.length = bytes.len();
                self.spool = bytes;
            }
            None => {}
        }
    }

    /// The process is gone: any part of what was appended is there, and the new file in the old one's place, or not.
    pub(crate) fn crash(&mut self, random: &mut fastrand::Rng) {
        match self.under_way.take() {
            Some(Change::Append(bytes)) => {
                let part = random.usize(..=bytes.len());
                self.put(bytes.get(..part).unwrap_or_default());
            }
            Some(Change::Replace(bytes)) if random.bool() => self.spool = bytes,
            Some(Change::Replace(_)) | None => {}
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if self.spool.len() < end {
            self.spool.resize(end, 0);
        }
        self.spool[self.length..end].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_leaves_a_part_and_the_next_write_takes_its_place() {
        let mut disk = Disk::default();
        disk.begin(Change::Replace(b"head".to_vec()));
        disk.finish();
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..50 {
            disk.begin(Change::Append(b"tail".to_vec()));
            disk.crash(&mut fastrand::Rng::with_seed(seed));
            assert!(b"headtail".starts_with(disk.spool()));
            lengths.insert(disk.spool().len());
            disk.spool.truncate(4);
        }
        assert_eq!(lengths, (4..=8).collect());
        disk.spool.extend(b"ta");
        disk.begin(Change::Append(b"T".to_vec()));
        disk.finish();
        assert_eq!(disk.spool(), b"headTa", "as a file that is not made shorter");
    }
}
