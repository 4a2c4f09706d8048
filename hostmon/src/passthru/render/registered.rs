//! Answers to requests that stop and remove: what was asked of host monitors, and what was not there.

use vmpulse_store::{HostKey, TransactionTag, VmsRemoved};

use super::{Xml, key_attributes};

pub(super) fn transactions(xml: &mut Xml, tags: &[TransactionTag]) {
    for tag in tags {
        xml.empty("transaction", vec![("tag", tag.to_string())]);
    }
}

pub(super) fn vms_removed(xml: &mut Xml, removed: &VmsRemoved) {
    xml.with_or_empty("removeVM", removed.transactions.len() + removed.unknown.len(), |xml| {
        transactions(xml, &removed.transactions);
        uuids(xml, "unknownVM", &removed.unknown);
    });
}

pub(super) fn uuids<T: ToString>(xml: &mut Xml, name: &'static str, found: &[T]) {
    for uuid in found {
        xml.empty(name, vec![("uuid", uuid.to_string())]);
    }
}

pub(super) fn hosts(xml: &mut Xml, name: &'static str, found: &[HostKey]) {
    for key in found {
        xml.empty(name, key_attributes(key));
    }
}
