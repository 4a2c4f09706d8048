//! Questions, and the exchange of messages.

use vmpulse_hostmon::passthru::{MessageRequest, QueryRequest};
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::{MessagesWanted, VmsOf, VmsWanted};

use super::{key, open};

pub(super) fn query(asked: &QueryRequest) -> (&'static str, String) {
    match asked {
        QueryRequest::NodeData { of, limit } => {
            let body = format!("<queryNodeData max=\"{limit}\">{}</queryNodeData>", vios(*of));
            ("VIO_HS_QUERY_NODE_DATA", body)
        }
        QueryRequest::Vms(wanted) => ("VIO_HS_QUERY_VM", vms(wanted)),
        QueryRequest::Homes(vms) => {
            let body = format!("<queryMSForVMs><vmList>{}</vmList></queryMSForVMs>", list(vms));
            ("VIO_HS_QUERY_MS_FOR_VMS", body)
        }
        QueryRequest::Conflicts { limit } => {
            ("VIO_HS_QUERY_CONFLICT", format!("<queryConflict max=\"{limit}\"/>"))
        }
    }
}

fn vms(wanted: &VmsWanted) -> String {
    let VmsWanted { of, after, limit } = wanted;
    let mut body = String::new();
    let mut attributes = vec![("max", limit.to_string())];
    attributes.extend(after.map(|after| ("after", after.to_string())));
    open(&mut body, "queryVM", &attributes);
    match of {
        VmsOf::All => {}
        VmsOf::Host(host) => {
            open(&mut body, "vmList", &key(host));
            body.push_str("</vmList>");
        }
        VmsOf::List(vms) => {
            body.push_str("<vmList>");
            body.push_str(&list(vms));
            body.push_str("</vmList>");
        }
    }
    body + "</queryVM>"
}

pub(super) fn message(asked: &MessageRequest) -> (&'static str, String) {
    match asked {
        MessageRequest::Put { vm, acknowledge } => {
            let tag = acknowledge.map(|tag| format!(" hsTag=\"{tag}\"")).unwrap_or_default();
            let body = format!("<putMsg{tag}><vm uuid=\"{vm}\"><Command code=\"0x2\"/></vm></putMsg>");
            ("VIO_HS_PUT_MSG", body)
        }
        MessageRequest::List(MessagesWanted { vms, after, limit }) => {
            let after = after.map(|after| format!(" after=\"{after}\"")).unwrap_or_default();
            ("VIO_HS_QUERY_MSG", format!("<queryMsg max=\"{limit}\"{after}>{}</queryMsg>", list(vms)))
        }
        MessageRequest::Get(tag) => ("VIO_HS_GET_MSG", format!("<getMsg tag=\"{tag}\"/>")),
        MessageRequest::Acknowledge(tag) => ("VIO_HS_ACK_MSG", format!("<ackMsg tag=\"{tag}\"/>")),
        MessageRequest::Sync(of) => ("VIO_HS_SYNC_MSG", format!("<syncMsg>{}</syncMsg>", vios(*of))),
        MessageRequest::Remove(vms) => {
            let vms = vms.as_deref().map(list).unwrap_or_default();
            ("VIO_HS_REMOVE_ALL_MSG", format!("<removeAllMsg>{vms}</removeAllMsg>"))
        }
    }
}

fn vios(of: Option<HostMonitorId>) -> String {
    of.map(|id| format!("<vios uuid=\"{id}\"/>")).unwrap_or_default()
}

fn list(vms: &[VmUuid]) -> String {
    vms.iter().map(|vm| format!("<vm uuid=\"{vm}\"/>")).collect()
}
