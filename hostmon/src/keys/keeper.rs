//! Keys and marks as the daemon has them: read at the start and anew when told to, never half.

use std::collections::{HashMap, HashSet};

use vmpulse_local::errors;
use vmpulse_local::keys::{KeyFileError, KeyRing};
use vmpulse_protocol::auth::{Authentication, Mode};
use vmpulse_protocol::id::VmUuid;

use super::{KeyDirectory, Marks, Problem, Scan};

/// Problems told one by one. A directory in which everything is wrong has one cause, and more would only bury it.
const PROBLEMS_TOLD: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    mode: Mode,
    directory: KeyDirectory,
    marks: Marks,
    rings: HashMap<VmUuid, KeyRing>,
    marked: HashSet<VmUuid>,
    /// Until the marks were read once, any VM may be marked.
    marks_known: bool,
    /// Marked VMs whose mark could not be written yet.
    unwritten: HashSet<VmUuid>,
    /// Problems that were told already.
    told: HashSet<String>,
}

/// What was read.
#[derive(Debug)]
pub struct Loaded {
    /// Mode and keys of every VM that has keys or must be authenticated.
    pub authentication: HashMap<VmUuid, Authentication>,
    /// VMs that must be authenticated because they once were.
    pub marked: HashSet<VmUuid>,
    /// VMs that have keys.
    pub vms: usize,
    /// Everything that is wrong.
    pub problems: Vec<String>,
    /// What of it was not told before, in a number that can be read.
    pub new_problems: Vec<String>,
}

impl Keeper {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(mode: Mode, directory: KeyDirectory, marks: Marks) -> Self {
        Self {
            mode,
            directory,
            marks,
            rings: HashMap::new(),
            marked: HashSet::new(),
            marks_known: false,
            unwritten: HashSet::new(),
            told: HashSet::new(),
        }
    }

    /// Reads keys and marks. What cannot be read stays as it was before: nobody's path is closed over a wrong file mode.
    pub fn load(&mut self) -> Loaded {
        let mut problems = Vec::new();
        if self.mode.verifies() {
            self.read_keys(&mut problems);
        }
        if self.marks_matter() {
            match self.marks.read() {
                Ok(marked) => {
                    self.marked = &marked | &self.unwritten;
                    self.marks_known = true;
                }
                Err(error) if self.marks_known => {
                    problems.push(format!("{}; the marks read before stay in use", errors::chain(&error)));
                }
                Err(error) => problems.push(format!(
                    "{}; until it can be read every VM with a key must be authenticated",
                    errors::chain(&error)
                )),
            }
        }
        self.loaded(problems)
    }

    fn read_keys(&mut self, problems: &mut Vec<String>) {
        match self.directory.scan() {
            Ok(Some(scan)) => self.take(scan, problems),
            Ok(None) if self.rings.is_empty() => {}
            Ok(None) => {
                let path = self.directory.path().display();
                problems.push(format!("{path} is gone; the keys read before stay in use"));
            }
            Err(error) => problems.push(self.with_consequence(errors::chain(&error))),
        }
    }

    fn take(&mut self, scan: Scan, problems: &mut Vec<String>) {
        let Scan { mut rings, problems: found } = scan;
        for Problem { vm, text } in found {
            match vm.and_then(|vm| self.rings.remove_entry(&vm)) {
                Some((vm, before)) => {
                    problems.push(format!("{text}; VM {vm} keeps the keys read before"));
                    rings.insert(vm, before);
                }
                None => {
                    problems.push(vm.map_or_else(|| text.clone(), |vm| format!("{text}; VM {vm} has no key")))
                }
            }
        }
        self.rings = rings;
    }

    fn with_consequence(&self, text: String) -> String {
        let then = if self.rings.is_empty() { "no VM has a key" } else { "the keys read before stay in use" };
        format!("{text}; {then}")
    }

    /// Keeps that these VMs were authenticated.
    ///
    /// # Errors
    /// If the marks cannot be written; the VMs must be authenticated all the same, and writing is tried again by
    /// [`look`](Self::look).
    pub fn mark(&mut self, vms: &[VmUuid]) -> Result<(), KeyFileError> {
        self.marked.extend(vms);
        self.unwritten.extend(vms);
        self.write_marks()
    }

    fn write_marks(&mut self) -> Result<(), KeyFileError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.marks.set(self.unwritten.iter().copied())?;
        self.unwritten.clear();
        Ok(())
    }

    /// An administrator does not demand any more that this VM is authenticated.
    pub fn relax(&mut self, vm: VmUuid) {
        self.unwritten.remove(&vm);
        if let Err(error) = self.marks.clear(vm) {
            tracing::warn!(%vm, err = %errors::chain(&error), "the VM stays marked as authenticated");
        }
    }

    /// Whether another host monitor of this host marked a VM, or an administrator took a mark away: then everything is
    /// to be loaded anew. Marks that could not be written are tried again.
    pub fn look(&mut self) -> Option<Loaded> {
        if !self.marks_matter() {
            return None;
        }
        // Why not was told when it first failed.
        let _ = self.write_marks();
        let marked = self.marks.read().ok()?;
        let is_new = !self.marks_known || &marked | &self.unwritten != self.marked;
        is_new.then(|| self.load())
    }

    /// Of VMs that are not marked. Nobody gets in for want of a file that says who must prove it.
    const fn demanded(&self) -> Mode {
        if self.marks_matter() && !self.marks_known { Mode::Required } else { self.mode }
    }

    /// Where nothing is demanded, nobody must be authenticated.
    const fn marks_matter(&self) -> bool {
        matches!(self.mode, Mode::Optional | Mode::Required)
    }

    fn loaded(&mut self, problems: Vec<String>) -> Loaded {
        let mut new_problems: Vec<String> =
            problems.iter().filter(|problem| !self.told.contains(*problem)).cloned().collect();
        self.told = problems.iter().cloned().collect();
        let more = new_problems.len().saturating_sub(PROBLEMS_TOLD);
        if more > 0 {
            new_problems.truncate(PROBLEMS_TOLD);
            let path = self.directory.path().display();
            new_problems
                .push(format!("{more} more key files in {path} cannot be used; `hmmgr key list` shows them"));
        }
        Loaded {
            authentication: effective(self.demanded(), &self.rings, &self.marked),
            marked: self.marked.clone(),
            vms: self.rings.len(),
            problems,
            new_problems,
        }
    }
}

impl Loaded {
    /// This VM was authenticated while the files were being read.
    pub fn mark(&mut self, vm: VmUuid) {
        self.marked.insert(vm);
        let authentication = self.authentication.entry(vm).or_default();
        authentication.mode = Mode::Required;
    }
}

/// A marked VM must be authenticated, with keys or without: then it has no path.
fn effective(
    mode: Mode,
    rings: &HashMap<VmUuid, KeyRing>,
    marked: &HashSet<VmUuid>,
) -> HashMap<VmUuid, Authentication> {
    let of = |vm: &VmUuid| if marked.contains(vm) { Mode::Required } else { mode };
    let with = rings.iter().map(|(vm, ring)| (*vm, ring.authentication(of(vm))));
    let without = marked.iter().filter(|vm| !rings.contains_key(*vm));
    with.chain(without.map(|vm| (*vm, Authentication::new(Mode::Required, [])))).collect()
}
