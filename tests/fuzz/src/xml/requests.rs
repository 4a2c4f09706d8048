//! Requests to the store: what is understood means the same when it is written anew, and every answer is XML.

use std::fmt::Write as _;

use roxmltree::Document;
use vmpulse_hostmon::passthru::{Request, Response, Scope, parse, render};
use vmpulse_store::HostKey;

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
            for host in hosts {
                open(&mut body, "viosList", &key(&host.key));
                for monitor in &host.host_monitors {
                    let mut attributes =
                        vec![("uuid", monitor.id.to_string()), ("partNum", monitor.part_number.to_string())];
                    attributes.extend(monitor.mac.clone().map(|mac| ("macAddr", mac)));
                    open(&mut body, "vios", &attributes);
                    body.push_str("</vios>");
                }
                body.push_str("</viosList>");
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
        Request::StartVms(lists) => {
            let mut body = "<startVM>".to_owned();
            for list in lists {
                open(&mut body, "vmList", &list.host.as_ref().map(key).unwrap_or_default());
                for vm in &list.vms {
                    open(&mut body, "vm", &[("uuid", vm.to_string())]);
                    body.push_str("</vm>");
                }
                body.push_str("</vmList>");
            }
            ("VIO_HS_START_VM", body + "</startVM>")
        }
        Request::QuickQuery => ("VIO_HS_QUICK_QUERY", String::new()),
        Request::NeedsAttention(scope) => {
            let scope = if *scope == Scope::Global { "GLOBAL_DATA" } else { "LOCAL_DATA" };
            ("VIO_HS_NEEDS_ATTENTION", format!("<needsAtt dataType=\"{scope}\"/>"))
        }
        Request::Acknowledge(tag) => ("VIO_HS_ACKNOWLEDGE", format!("<acknowledge hsTag=\"{tag}\"/>")),
    };
    format!("<VIO><Request action_str=\"{action}\">{body}</Request></VIO>")
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
