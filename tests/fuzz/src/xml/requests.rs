//! Requests to the store: what is understood means the same when it is written anew, and every answer is XML.

mod asking;

use std::fmt::Write as _;

use roxmltree::Document;
use vmpulse_hostmon::passthru::{Request, Response, Scope, parse, render};
use vmpulse_store::{GroupedHost, HostKey, HostRegistration, SettingsChange, SettingsScope, VmList};

pub(super) fn check(input: &[u8]) {
    match parse(input) {
        Ok(request) => assert_eq!(parse(write(&request).as_bytes()).as_ref(), Ok(&request)),
        Err(refusal) => {
            assert!(!refusal.text.is_empty());
            let code = refusal.code.as_str();
            let answer = render(&Response::Error(refusal));
            let document = Document::parse(&answer).expect("an answer is XML");
            let error = document.descendants().find(|node| node.has_tag_name("Error")).expect("an error");
            assert_eq!(error.attribute("code"), Some(code));
        }
    }
}

/// As `docs/reference/requests.md` has it.
fn write(request: &Request) -> String {
    let (action, body) = match request {
        Request::AddHosts(hosts) => {
            let mut body = "<addMS>".to_owned();
            for GroupedHost { host, group } in hosts {
                let mut attributes = key(&host.key);
                attributes.extend(group.clone().map(|group| ("hostGroup", group)));
                vios_list(&mut body, &attributes, host);
            }
            ("VIO_HS_ADD_MS", body + "</addMS>")
        }
        Request::AddVms { host, vms } => {
            let mut body = "<addVM>".to_owned();
            open(&mut body, "vmList", &key(host));
            for vm in vms {
                let mut attributes = vec![("uuid", vm.uuid.to_string())];
                attributes.extend(vm.name.clone().map(|name| ("name", name)));
                open(&mut body, "vm", &attributes);
                body.push_str("</vm>");
            }
            ("VIO_HS_ADD_VM", body + "</vmList></addVM>")
        }
        Request::StartVms(lists) => ("VIO_HS_START_VM", vm_lists("startVM", lists)),
        Request::StopVms(lists) => ("VIO_HS_STOP_VM", vm_lists("stopVM", lists)),
        Request::RemoveVms(lists) => ("VIO_HS_REMOVE_VM", vm_lists("removeVM", lists)),
        Request::AddMonitors(hosts) => {
            // One whose every node has no host monitor is a list of nothing, which cannot be written.
            let mut body = "<addVIOS>".to_owned();
            for host in hosts {
                vios_list(&mut body, &key(&host.key), host);
                if host.host_monitors.is_empty() {
                    let none = "<vios uuid=\"00000000-0000-0000-0000-000000000001\" isHM=\"0\"/></viosList>";
                    body.truncate(body.len() - "</viosList>".len());
                    body.push_str(none);
                }
            }
            ("VIO_HS_ADD_VIOS", body + "</addVIOS>")
        }
        Request::RemoveMonitors(ids) => {
            let list: String = ids.iter().map(|id| format!("<vios uuid=\"{id}\"/>")).collect();
            ("VIO_HS_REMOVE_VIOS", format!("<removeVIOS>{list}</removeVIOS>"))
        }
        Request::RemoveHosts(hosts) => {
            let mut body = "<removeMS>".to_owned();
            for host in hosts {
                open(&mut body, "viosList", &key(host));
                body.push_str("</viosList>");
            }
            ("VIO_HS_REMOVE_MS", body + "</removeMS>")
        }
        Request::RemoveHostGroup(name) => {
            let mut body = String::new();
            open(&mut body, "removeHostGroup", &[("name", name.clone())]);
            ("VIO_HS_REMOVE_HOST_GROUP", body + "</removeHostGroup>")
        }
        Request::Configure { scope, change } => {
            let mut body = String::new();
            open(&mut body, "configureHM", &settings(scope, change));
            ("VIO_HS_CONFIGURE_HM", body + "</configureHM>")
        }
        Request::QuickQuery => ("VIO_HS_QUICK_QUERY", String::new()),
        Request::NeedsAttention(scope) => {
            let scope = if *scope == Scope::Global { "GLOBAL_DATA" } else { "LOCAL_DATA" };
            ("VIO_HS_NEEDS_ATTENTION", format!("<needsAtt dataType=\"{scope}\"/>"))
        }
        Request::Acknowledge(tag) => ("VIO_HS_ACKNOWLEDGE", format!("<acknowledge hsTag=\"{tag}\"/>")),
        Request::Query(asked) => asking::query(asked),
        Request::Message(asked) => asking::message(asked),
    };
    format!("<VIO><Request action_str=\"{action}\">{body}</Request></VIO>")
}

fn vm_lists(name: &str, lists: &[VmList]) -> String {
    let mut body = format!("<{name}>");
    for list in lists {
        open(&mut body, "vmList", &list.host.as_ref().map(key).unwrap_or_default());
        for vm in &list.vms {
            open(&mut body, "vm", &[("uuid", vm.to_string())]);
            body.push_str("</vm>");
        }
        body.push_str("</vmList>");
    }
    body + &format!("</{name}>")
}

fn vios_list(body: &mut String, attributes: &[(&str, String)], host: &HostRegistration) {
    open(body, "viosList", attributes);
    for monitor in &host.host_monitors {
        let mut attributes =
            vec![("uuid", monitor.id.to_string()), ("partNum", monitor.part_number.to_string())];
        attributes.extend(monitor.mac.clone().map(|mac| ("macAddr", mac)));
        open(body, "vios", &attributes);
        body.push_str("</vios>");
    }
    body.push_str("</viosList>");
}

fn settings(scope: &SettingsScope, change: &SettingsChange) -> Vec<(&'static str, String)> {
    let mut attributes = match scope {
        SettingsScope::All => vec![],
        SettingsScope::Host(host) => key(host),
        SettingsScope::One(id) => vec![("uuid", id.to_string())],
    };
    let text = |value: Option<String>| value.unwrap_or_else(|| "default".to_owned());
    let SettingsChange { log_level, heartbeat_interval_ms, store_heartbeat_interval_ms, versions } =
        change.clone();
    attributes.extend(log_level.map(|level| ("logLevel", text(level))));
    for (name, interval) in [
        ("heartbeatIntervalMs", heartbeat_interval_ms),
        ("storeHeartbeatIntervalMs", store_heartbeat_interval_ms),
    ] {
        attributes.extend(interval.map(|ms| (name, text(ms.map(|ms| ms.to_string())))));
    }
    attributes.extend(versions.map(|versions| ("versions", text(versions.map(|one| one.to_string())))));
    attributes
}

fn key(key: &HostKey) -> Vec<(&'static str, String)> {
    let HostKey { machine_type, model, serial } = key.clone();
    vec![("machine_type", machine_type), ("model", model), ("serial", serial)]
}

fn open(body: &mut String, name: &str, attributes: &[(&str, String)]) {
    let _ = write!(body, "<{name}");
    for (attribute, value) in attributes {
        let value = value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        let _ = write!(body, " {attribute}=\"{value}\"");
    }
    body.push('>');
}
