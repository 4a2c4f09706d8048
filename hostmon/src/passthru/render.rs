//! Writing an answer. What came from guests or from people is escaped, and what XML cannot hold is replaced.

mod message;
mod query;
mod registered;

use std::borrow::Cow;
use std::fmt::Write as _;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use vmpulse_store::{
    HostAttention, HostKey, HostMonitorStatus, MissedHeartbeats, NeedsAttention, QuickQuery, VmAttention,
};

use super::request::{Refusal, Response};

/// An attribute to write.
type Attribute = (&'static str, String);

/// The answer as XML, with a final line end.
#[must_use]
pub fn render(response: &Response) -> String {
    let mut xml = Xml(Writer::new(Vec::new()));
    xml.event(Event::Decl(BytesDecl::new("1.0", None, None)));
    xml.line_end();
    xml.within("VIO", vec![], |xml| {
        xml.within("Response", vec![], |xml| body(xml, response));
    });
    xml.line_end();
    String::from_utf8_lossy(&xml.0.into_inner()).into_owned()
}

fn body(xml: &mut Xml, response: &Response) {
    match response {
        Response::HostsAdded => xml.empty("addMS", vec![]),
        Response::VmsAdded => xml.empty("addVM", vec![]),
        Response::VmsStarted(tags) => {
            xml.within("startVM", vec![], |xml| registered::transactions(xml, tags))
        }
        Response::VmsStopped(tags) => xml.within("stopVM", vec![], |xml| registered::transactions(xml, tags)),
        Response::VmsRemoved(removed) => registered::vms_removed(xml, removed),
        Response::MonitorsAdded => xml.empty("addVIOS", vec![]),
        Response::MonitorsRemoved(unknown) => xml.with_or_empty("removeVIOS", unknown.len(), |xml| {
            registered::uuids(xml, "unknownVIOS", unknown);
        }),
        Response::HostsRemoved(unknown) => xml.with_or_empty("removeMS", unknown.len(), |xml| {
            registered::hosts(xml, "unknownMS", unknown);
        }),
        Response::HostGroupRemoved(removed) => xml.within("removeHostGroup", vec![], |xml| {
            registered::hosts(xml, "removedMS", removed);
        }),
        Response::Configured(version) => {
            xml.empty("configureHM", vec![("version", version.to_string())]);
        }
        Response::QuickQuery(answer) => quick_query(xml, answer),
        Response::NeedsAttention(answer) => needs_attention(xml, answer),
        Response::Acknowledged => xml.empty("acknowledge", vec![]),
        Response::Query(answer) => query::answer(xml, answer),
        Response::Message(answer) => message::answer(xml, answer),
        Response::Error(Refusal { code, text }) => {
            xml.within("Error", vec![("code", code.as_str().to_owned())], |xml| xml.text(text));
        }
    }
}

fn quick_query(xml: &mut Xml, answer: &QuickQuery) {
    xml.within("quickQuery", vec![], |xml| {
        xml.within("viosStatList", vec![], |xml| {
            for host in &answer.hosts {
                xml.within("viosStatus", key_attributes(&host.key), |xml| {
                    xml.line_end();
                    for monitor in &host.host_monitors {
                        xml.empty("viosStat", monitor_attributes(monitor));
                        xml.line_end();
                    }
                });
            }
        });
    });
}

/// `hmResponseSec` is left out before the first heartbeat.
fn monitor_attributes(monitor: &HostMonitorStatus) -> Vec<Attribute> {
    let mut attributes = vec![
        ("uuid", monitor.id.to_string()),
        ("state", monitor.state.to_string()),
        ("hmResponsive", u8::from(monitor.responsive).to_string()),
    ];
    attributes.extend(monitor.heartbeat_age.map(|age| ("hmResponseSec", age.as_secs().to_string())));
    attributes.push(("hasData", u8::from(monitor.has_data).to_string()));
    attributes.push(("reason", format!("{:#010x}", monitor.reason)));
    attributes.push(("syncMsg", u8::from(monitor.sync_message).to_string()));
    attributes
}

fn needs_attention(xml: &mut Xml, answer: &NeedsAttention) {
    let tag = answer.tag.map(|tag| ("hsTag", tag.to_string())).into_iter().collect();
    xml.within("needsAtt", tag, |xml| {
        xml.within("vmStatList", vec![], |xml| {
            for host in &answer.hosts {
                host_attention(xml, host);
            }
        });
    });
}

fn host_attention(xml: &mut Xml, host: &HostAttention) {
    xml.within("vmList", key_attributes(&host.key), |xml| {
        xml.line_end();
        for vm in &host.vms {
            xml.within("vmStat", vec![("uuid", vm.uuid.clone())], |xml| {
                xml.within("VM", vm_attributes(vm), |xml| {
                    for monitor in &vm.missed_entries {
                        xml.empty("missedHMEntry", vec![("uuid", monitor.to_string())]);
                    }
                    if let Some(discovery) = vm.discovery {
                        xml.empty("discoveryInfo", vec![("type", discovery.to_string())]);
                    }
                });
            });
            xml.line_end();
        }
    });
}

fn vm_attributes(vm: &VmAttention) -> Vec<Attribute> {
    let mut attributes = vec![("state", vm.state.to_string())];
    attributes.extend(vm.missed.iter().flat_map(missed_attributes));
    if vm.doorbell != 0 {
        attributes.push(("shortMsg", format!("{:#x}", vm.doorbell)));
    }
    if vm.state_changed {
        attributes.push(("stateChg", "1".to_owned()));
    }
    attributes.extend(vm.version_conflict.then(|| ("versionConflict", "1".to_owned())));
    attributes.extend(vm.fenced.then(|| ("isFenced", "1".to_owned())));
    attributes
}

fn missed_attributes(missed: &MissedHeartbeats) -> Vec<Attribute> {
    let mut attributes = vec![
        ("missedHb", missed.youngest.as_secs().to_string()),
        ("missedHbMax", missed.oldest.as_secs().to_string()),
        ("missedHbMs", missed.youngest.as_millis().to_string()),
    ];
    if !missed.excused.is_zero() {
        attributes.push(("missedHbAnnouncedMs", missed.excused.as_millis().to_string()));
    }
    if missed.common {
        attributes.push(("common", "1".to_owned()));
    }
    attributes
}

fn key_attributes(key: &HostKey) -> Vec<Attribute> {
    vec![
        ("machine_type", key.machine_type.clone()),
        ("model", key.model.clone()),
        ("serial", key.serial.clone()),
    ]
}

/// A writer into memory, which cannot fail.
struct Xml(Writer<Vec<u8>>);

impl Xml {
    fn event(&mut self, event: Event<'_>) {
        let _cannot_fail = self.0.write_event(event);
    }

    fn start(name: &'static str, attributes: Vec<Attribute>) -> BytesStart<'static> {
        let mut start = BytesStart::new(name);
        for (name, value) in attributes {
            start.push_attribute((name, representable(&value).as_ref()));
        }
        start
    }

    fn within(&mut self, name: &'static str, attributes: Vec<Attribute>, body: impl FnOnce(&mut Self)) {
        self.event(Event::Start(Self::start(name, attributes)));
        body(self);
        self.event(Event::End(BytesEnd::new(name)));
    }

    /// An empty element if there is nothing to be in it.
    fn with_or_empty(&mut self, name: &'static str, inside: usize, body: impl FnOnce(&mut Self)) {
        if inside == 0 { self.empty(name, vec![]) } else { self.within(name, vec![], body) }
    }

    fn empty(&mut self, name: &'static str, attributes: Vec<Attribute>) {
        self.event(Event::Empty(Self::start(name, attributes)));
    }

    fn text(&mut self, text: &str) {
        self.event(Event::Text(BytesText::new(&representable(text))));
    }

    /// A text that XML can hold.
    fn verbatim(&mut self, text: &str) {
        self.event(Event::Text(BytesText::new(text)));
    }

    fn line_end(&mut self) {
        self.event(Event::Text(BytesText::from_escaped("\n")));
    }
}

/// Control characters and what XML 1.0 has no place for become U+FFFD.
fn representable(text: &str) -> Cow<'_, str> {
    let bad = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        let _cannot_fail = clean.write_char(if bad(c) { char::REPLACEMENT_CHARACTER } else { c });
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests;
