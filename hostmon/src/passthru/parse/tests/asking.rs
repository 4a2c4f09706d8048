//! Questions, and the exchange of messages.

use vmpulse_store::{ANSWER_LIMIT, MessagesWanted, VmsOf, VmsWanted};

use super::*;
use crate::passthru::{MessageRequest, QueryRequest};

fn parsed(action: &str, body: &str) -> Request {
    parse(envelope(action, body).as_bytes()).unwrap()
}

#[test]
fn questions() {
    let vm = UUID.parse().unwrap();
    let vms = |of, after, limit| Request::Query(QueryRequest::Vms(VmsWanted { of, after, limit }));
    assert_eq!(parsed("VIO_HS_QUERY_VM", ""), vms(VmsOf::All, None, ANSWER_LIMIT));
    let some =
        format!("<queryVM max=\"7\" after=\"{UUID}\"><vmList><vm uuid=\"{UUID}\"/></vmList></queryVM>");
    assert_eq!(parsed("VIO_HS_QUERY_VM", &some), vms(VmsOf::List(vec![vm]), Some(vm), 7));
    let of_host = format!("<queryVM><vmList {KEY}/></queryVM>");
    assert_eq!(parsed("VIO_HS_QUERY_VM", &of_host), vms(VmsOf::Host(key()), None, ANSWER_LIMIT));
    let homes = format!("<queryMSForVMs><vmList><vm uuid=\"{UUID}\"/></vmList></queryMSForVMs>");
    assert_eq!(parsed("VIO_HS_QUERY_MS_FOR_VMS", &homes), Request::Query(QueryRequest::Homes(vec![vm])));
    let node_data = |of, limit| Request::Query(QueryRequest::NodeData { of, limit });
    assert_eq!(parsed("VIO_HS_QUERY_NODE_DATA", ""), node_data(None, ANSWER_LIMIT));
    let of_one = format!("<queryNodeData max=\"1\"><vios uuid=\"{UUID}\"/></queryNodeData>");
    assert_eq!(parsed("VIO_HS_QUERY_NODE_DATA", &of_one), node_data(Some(UUID.parse().unwrap()), 1));
    let conflicts = |limit| Request::Query(QueryRequest::Conflicts { limit });
    assert_eq!(parsed("VIO_HS_QUERY_CONFLICT", ""), conflicts(ANSWER_LIMIT));
    assert_eq!(parsed("VIO_HS_QUERY_CONFLICT", "<queryConflict max=\"1000\"/>"), conflicts(1000));
}

#[test]
fn the_exchange_of_messages() {
    let vm = UUID.parse().unwrap();
    let put = |tag: &str| {
        let body = format!("<putMsg{tag}><vm uuid=\"{UUID}\"><Command code=\"0x2\"/></vm></putMsg>");
        parsed("VIO_HS_PUT_MSG", &body)
    };
    let expected = |acknowledge| Request::Message(MessageRequest::Put { vm, acknowledge });
    assert_eq!((put(""), put(" hsTag=\"-7\"")), (expected(None), expected(Some(-7))));
    let list =
        |vms, after, limit| Request::Message(MessageRequest::List(MessagesWanted { vms, after, limit }));
    assert_eq!(parsed("VIO_HS_QUERY_MSG", ""), list(vec![], None, ANSWER_LIMIT));
    let some = format!("<queryMsg after=\"4\" max=\"2\"><vm uuid=\"{UUID}\"/></queryMsg>");
    assert_eq!(parsed("VIO_HS_QUERY_MSG", &some), list(vec![vm], Some(4), 2));
    let message = |action: &str, body: &str| {
        let Request::Message(message) = parsed(action, body) else { panic!("another request") };
        message
    };
    assert_eq!(message("VIO_HS_GET_MSG", "<getMsg tag=\"9\"/>"), MessageRequest::Get(9));
    assert_eq!(message("VIO_HS_ACK_MSG", "<ackMsg tag=\"9\"/>"), MessageRequest::Acknowledge(9));
    assert_eq!(message("VIO_HS_SYNC_MSG", ""), MessageRequest::Sync(None));
    let sync = format!("<syncMsg><vios uuid=\"{UUID}\"/></syncMsg>");
    assert_eq!(message("VIO_HS_SYNC_MSG", &sync), MessageRequest::Sync(Some(UUID.parse().unwrap())));
    assert_eq!(message("VIO_HS_REMOVE_ALL_MSG", "<removeAllMsg/>"), MessageRequest::Remove(None));
    let remove = format!("<removeAllMsg><vm uuid=\"{UUID}\"/></removeAllMsg>");
    assert_eq!(message("VIO_HS_REMOVE_ALL_MSG", &remove), MessageRequest::Remove(Some(vec![vm])));
}

#[test]
fn what_is_not_meant_is_refused_with_its_place() {
    let vm = format!("<vm uuid=\"{UUID}\"/>");
    let command =
        |code: &str| format!("<putMsg><vm uuid=\"{UUID}\"><Command code=\"{code}\"/></vm></putMsg>");
    for (action, body, word) in [
        ("QUERY_VM", "<queryVM max=\"0\"/>".to_owned(), "1 to 1000"),
        ("QUERY_VM", "<queryVM max=\"1001\"/>".to_owned(), "1 to 1000"),
        ("QUERY_VM", "<queryVM after=\"x\"/>".to_owned(), "UUID"),
        ("QUERY_VM", "<queryVM><vmList/></queryVM>".to_owned(), "host or hold VMs"),
        ("QUERY_VM", format!("<queryVM><vmList {KEY}>{vm}</vmList></queryVM>"), "not both"),
        ("QUERY_VM", "<queryVM><vmList machine_type=\"x\"/></queryVM>".to_owned(), "model"),
        ("QUERY_MS_FOR_VMS", String::new(), "queryMSForVMs is missing"),
        ("QUERY_MS_FOR_VMS", "<queryMSForVMs><vmList/></queryMSForVMs>".to_owned(), "vm is missing"),
        ("QUERY_NODE_DATA", "<queryNodeData><vios/></queryNodeData>".to_owned(), "uuid"),
        ("QUERY_CONFLICT", "<queryConflict><x/></queryConflict>".to_owned(), "nothing belongs"),
        ("PUT_MSG", command("0x3"), "there is no command"),
        ("PUT_MSG", command("2"), "there is no command"),
        ("PUT_MSG", format!("<putMsg>{vm}</putMsg>"), "Command is missing"),
        ("PUT_MSG", format!("<putMsg>{vm}{vm}</putMsg>"), "only one vm"),
        ("GET_MSG", "<getMsg/>".to_owned(), "tag"),
        ("ACK_MSG", "<ackMsg tag=\"x\"/>".to_owned(), "tag must be a number"),
        ("SYNC_MSG", format!("<syncMsg>{vm}</syncMsg>"), "does not belong"),
        ("REMOVE_ALL_MSG", "<removeAllMsg tag=\"1\"/>".to_owned(), "no attribute"),
    ] {
        let refusal = refused(&envelope(&format!("VIO_HS_{action}"), &body));
        assert_eq!(refusal.code, Code::Malformed, "{body}");
        assert!(refusal.text.contains(word) && refusal.text.contains("line 3"), "{body}: {}", refusal.text);
    }
}
