//! What is recorded.

use vmpulse_store::{
    Conflict, Conflicts, HostKey, NodeData, NodeEvent, PathDetail, VmDetail, VmHome, VmPage,
};

use super::{Attribute, Xml, key_attributes, missed_attributes};
use crate::passthru::request::QueryAnswer;

pub(super) fn answer(xml: &mut Xml, answer: &QueryAnswer) {
    match answer {
        QueryAnswer::NodeData(data) => node_data(xml, data),
        QueryAnswer::Vms(page) => vms(xml, page),
        QueryAnswer::Homes { homes, unknown } => homes_of(xml, homes, unknown),
        QueryAnswer::Conflicts(found) => conflicts(xml, found),
    }
}

fn node_data(xml: &mut Xml, data: &NodeData) {
    xml.within("queryNodeData", tagged(data.tag, data.more), |xml| {
        xml.line_end();
        for event in &data.events {
            xml.within("nodeEvent", event_attributes(event), |xml| xml.text(&event.text));
            xml.line_end();
        }
    });
}

fn event_attributes(event: &NodeEvent) -> Vec<Attribute> {
    let mut attributes = vec![("uuid", event.host_monitor.to_string())];
    attributes.extend(event.trunk.clone().map(|trunk| ("trunk", trunk)));
    attributes.extend(host_attributes(event.host.as_ref()));
    attributes.push(("kind", event.kind.clone()));
    attributes.push(("ageSec", event.age.as_secs().to_string()));
    attributes
}

fn conflicts(xml: &mut Xml, found: &Conflicts) {
    xml.within("queryConflict", tagged(found.tag, found.more), |xml| {
        xml.line_end();
        for conflict in &found.conflicts {
            xml.within("conflict", conflict_attributes(conflict), |xml| xml.text(&conflict.text));
            xml.line_end();
        }
    });
}

fn conflict_attributes(conflict: &Conflict) -> Vec<Attribute> {
    let mut attributes = vec![
        ("type", conflict.kind.clone()),
        ("uuid", conflict.uuid.clone()),
        ("macAddr", conflict.mac.clone()),
        ("viosUuid", conflict.host_monitor.to_string()),
    ];
    attributes.extend(host_attributes(conflict.host.as_ref()));
    attributes.push(("ageSec", conflict.age.as_secs().to_string()));
    attributes
}

fn tagged(tag: Option<i64>, more: bool) -> Vec<Attribute> {
    let tag = tag.map(|tag| ("hsTag", tag.to_string()));
    tag.into_iter().chain(more.then(|| ("more", "1".to_owned()))).collect()
}

fn host_attributes(host: Option<&HostKey>) -> Vec<Attribute> {
    host.map(key_attributes).unwrap_or_default()
}

fn vms(xml: &mut Xml, page: &VmPage) {
    let next = page.next.map(|next| ("next", next.to_string()));
    xml.within("queryVM", next.into_iter().collect(), |xml| {
        xml.line_end();
        for vm in &page.vms {
            xml.within("vm", vm_attributes(vm), |xml| {
                xml.line_end();
                for path in &vm.paths {
                    xml.empty("path", path_attributes(path));
                    xml.line_end();
                }
            });
            xml.line_end();
        }
        unknown(xml, &page.unknown);
    });
}

fn unknown<'a>(xml: &mut Xml, vms: impl IntoIterator<Item = &'a vmpulse_protocol::id::VmUuid>) {
    for vm in vms {
        xml.empty("unknown", vec![("uuid", vm.to_string())]);
        xml.line_end();
    }
}

fn vm_attributes(vm: &VmDetail) -> Vec<Attribute> {
    let view = &vm.view;
    let mut attributes = vec![("uuid", view.uuid.to_string()), ("name", view.name.clone())];
    attributes.extend(key_attributes(&view.host));
    attributes.push(("state", view.state.to_string()));
    attributes.push(("stateSec", vm.state_age.as_secs().to_string()));
    attributes.extend(view.suspended.map(|reason| ("suspended", reason.to_string())));
    attributes.extend(vm.suspended_age.map(|age| ("suspendedSec", age.as_secs().to_string())));
    attributes.push(("agentSeen", bit(view.agent_seen_at.is_some())));
    attributes.extend(view.missed.iter().flat_map(missed_attributes));
    attributes.extend(view.quiet.as_ref().map(|quiet| ("quiet", quiet.reason.clone())));
    attributes.extend((vm.doorbell != 0).then(|| ("shortMsg", format!("{:#x}", vm.doorbell))));
    attributes.extend(view.version_conflict.then(|| ("versionConflict", bit(true))));
    attributes.extend(vm.fenced.then(|| ("isFenced", bit(true))));
    attributes
}

/// Address and version are left out before the first handshake.
fn path_attributes(path: &PathDetail) -> Vec<Attribute> {
    let PathDetail { view, counted, beating, authenticated, guardian, awaited } = path;
    let mut attributes = vec![("uuid", view.host_monitor.to_string())];
    attributes.extend(view.trunk.clone().map(|trunk| ("trunk", trunk)));
    attributes.extend((!view.mac.is_empty()).then(|| ("macAddr", view.mac.clone())));
    attributes.extend((!view.version.is_empty()).then(|| ("version", view.version.clone())));
    attributes.extend([
        ("known", bit(view.known)),
        ("counted", bit(*counted)),
        ("beating", bit(*beating)),
        ("authenticated", bit(*authenticated)),
        ("sender", if *guardian { "GUARDIAN" } else { "AGENT" }.to_owned()),
    ]);
    attributes.extend(view.missed.map(|missed| ("missedHbMs", missed.as_millis().to_string())));
    attributes.extend(awaited.map(|awaited| ("awaitedSec", awaited.as_secs().to_string())));
    attributes
}

fn bit(set: bool) -> String {
    u8::from(set).to_string()
}

fn homes_of(
    xml: &mut Xml,
    homes: &[VmHome],
    strangers: &std::collections::BTreeSet<vmpulse_protocol::id::VmUuid>,
) {
    xml.within("queryMSForVMs", vec![], |xml| {
        xml.line_end();
        for of_host in homes.chunk_by(|one, other| one.host == other.host) {
            let key = of_host.first().map(|home| key_attributes(&home.host)).unwrap_or_default();
            xml.within("vmList", key, |xml| {
                xml.line_end();
                for home in of_host {
                    xml.empty("vm", vec![("uuid", home.vm.to_string()), ("state", home.state.to_string())]);
                    xml.line_end();
                }
            });
            xml.line_end();
        }
        unknown(xml, strangers);
    });
}
