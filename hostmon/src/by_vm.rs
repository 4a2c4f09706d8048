//! A table by VM whose entries can be found again without a search.
//!
//! A heartbeat must cost little: who looks up the same VM again and again keeps a [`Hint`] of where it was. A hint
//! is never trusted: the VM is compared, and a hint that does not hold costs a search and is set right.

use std::collections::HashMap;
use std::num::NonZeroU32;

use vmpulse_protocol::id::VmUuid;

/// Where a VM is in one table, as long as it is in it. Any value is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint(NonZeroU32);

impl Hint {
    /// Tables have thousands of entries; four thousand million would not fit into memory.
    pub(crate) fn at_index(index: usize) -> Self {
        let number = u32::try_from(index.saturating_add(1)).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
    }

    /// As a position in a list.
    pub(crate) const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Default for Hint {
    fn default() -> Self {
        Self(NonZeroU32::MIN)
    }
}

/// See the module.
#[derive(Debug)]
pub struct ByVm<T> {
    index: HashMap<VmUuid, Hint>,
    places: Vec<Place<T>>,
    /// Places whose VM is gone.
    free: Vec<Hint>,
}

#[derive(Debug)]
struct Place<T> {
    vm: VmUuid,
    /// `None`: free.
    value: Option<T>,
}

impl<T> ByVm<T> {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self { index: HashMap::new(), places: Vec::new(), free: Vec::new() }
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (VmUuid, &T)> {
        self.places.iter().filter_map(|place| Some((place.vm, place.value.as_ref()?)))
    }

    /// The entry of a VM.
    #[must_use]
    pub fn get(&self, vm: &VmUuid) -> Option<&T> {
        self.at(*self.index.get(vm)?).map(|(_, value)| value)
    }

    /// The entry of a VM, to be changed.
    pub fn get_mut(&mut self, vm: &VmUuid) -> Option<&mut T> {
        let at = *self.index.get(vm)?;
        self.at_mut(at).map(|(_, value)| value)
    }

    /// The same, looked for first where the hint says.
    #[must_use]
    pub fn get_near(&self, vm: &VmUuid, hint: Hint) -> Option<&T> {
        let there = self.at(hint).filter(|(found, _)| found == vm);
        there.map(|(_, value)| value).or_else(|| self.get(vm))
    }

    /// The same, to be changed; the hint is set right.
    pub fn get_near_mut(&mut self, vm: &VmUuid, hint: &mut Hint) -> Option<&mut T> {
        if self.at(*hint).is_none_or(|(found, _)| found != *vm) {
            *hint = *self.index.get(vm)?;
        }
        self.at_mut(*hint).map(|(_, value)| value)
    }

    /// Where the VM is.
    #[must_use]
    pub fn hint(&self, vm: &VmUuid) -> Option<Hint> {
        self.index.get(vm).copied()
    }

    /// Who is there, with its entry.
    #[must_use]
    pub fn at(&self, hint: Hint) -> Option<(VmUuid, &T)> {
        let place = self.places.get(hint.index())?;
        place.value.as_ref().map(|value| (place.vm, value))
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, hint: Hint) -> Option<(VmUuid, &mut T)> {
        let place = self.places.get_mut(hint.index())?;
        place.value.as_mut().map(|value| (place.vm, value))
    }

    /// Whether a VM has an entry.
    #[must_use]
    pub fn contains_key(&self, vm: &VmUuid) -> bool {
        self.index.contains_key(vm)
    }

    /// Sets the entry of a VM; returns the one it had.
    pub fn insert(&mut self, vm: VmUuid, value: T) -> Option<T> {
        if let Some(present) = self.get_mut(&vm) {
            return Some(std::mem::replace(present, value));
        }
        let place = Place { vm, value: Some(value) };
        let end = Hint::at_index(self.places.len());
        let at = self.free.pop().unwrap_or(end);
        match self.places.get_mut(at.index()) {
            Some(free) => *free = place,
            None => {
                make_room(&mut self.places);
                self.places.push(place);
            }
        }
        self.index.insert(vm, at);
        None
    }

    /// Takes out the entry of a VM. Hints of others stay right.
    pub fn remove(&mut self, vm: &VmUuid) -> Option<T> {
        let at = self.index.remove(vm)?;
        self.free.push(at);
        self.places.get_mut(at.index())?.value.take()
    }

    /// Every VM that has an entry.
    pub fn keys(&self) -> impl Iterator<Item = &VmUuid> {
        // By their places, so that what follows from them has one order.
        self.places.iter().filter(|place| place.value.is_some()).map(|place| &place.vm)
    }

    /// Where each entry is.
    pub fn hints(&self) -> impl Iterator<Item = Hint> {
        let full = self.places.iter().enumerate().filter(|(_, place)| place.value.is_some());
        full.map(|(index, _)| Hint::at_index(index))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}

/// Lists of thousands that hardly ever grow leave less unused than a list that doubles.
pub(crate) fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().div_ceil(8).max(16));
    }
}

impl<T: Default> ByVm<T> {
    /// Changes the entry of a VM, made if it has none.
    pub fn change(&mut self, vm: VmUuid, change: impl FnOnce(&mut T)) {
        if !self.contains_key(&vm) {
            self.insert(vm, T::default());
        }
        if let Some(value) = self.get_mut(&vm) {
            change(value);
        }
    }
}

impl<T> Default for ByVm<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vm(number: u8) -> VmUuid {
        VmUuid::from_bytes([number; 16])
    }

    proptest! {
        /// Whatever is put in and taken out, and however wrong the hint: the same as a plain map.
        #[test]
        fn it_is_a_map(operations: Vec<(u8, u8, u32)>) {
            let (mut table, mut map) = (ByVm::new(), HashMap::new());
            for (step, (kind, number, hint)) in operations.into_iter().enumerate() {
                let (key, mut hint) = (vm(number % 16), Hint::at_index(hint as usize % 20));
                match kind % 4 {
                    0 => prop_assert_eq!(table.insert(key, step), map.insert(key, step)),
                    1 => prop_assert_eq!(table.remove(&key), map.remove(&key)),
                    2 => {
                        table.change(key, |value| *value += step);
                        *map.entry(key).or_default() += step;
                    }
                    _ => {
                        prop_assert_eq!(table.get_near(&key, hint), map.get(&key));
                        prop_assert_eq!(table.get_near_mut(&key, &mut hint), map.get_mut(&key));
                        if map.contains_key(&key) {
                            prop_assert_eq!(table.hint(&key), Some(hint));
                        }
                    }
                }
                prop_assert_eq!(table.len(), map.len());
                prop_assert!(map.iter().all(|(key, value)| table.get(key) == Some(value)));
                prop_assert!(table.keys().all(|key| map.contains_key(key)));
            }
        }
    }
}
