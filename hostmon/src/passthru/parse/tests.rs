use super::*;
use vmpulse_store::{HostKey, SettingsChange, SettingsScope, VmList};

const NAMESPACE: &str = "http://ausgsa.austin.ibm.com/projects/v/vios/schema/vioHADR2.00";

fn envelope(action: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<VIO xmlns=\"{NAMESPACE}\" version=\"2.00\" author=\"me\" title=\"Req\">\n  \
         <Request action_str=\"{action}\">{body}</Request>\n</VIO>\n"
    )
}

fn refused(text: &str) -> Refusal {
    parse(text.as_bytes()).unwrap_err()
}

const KEY: &str = "machine_type=\"8286\" model=\"42A\" serial=\"21E0B2V\"";
const UUID: &str = "61BE20F0-09A8-4753-B5E5-564F8A545ED5";

fn key() -> HostKey {
    HostKey { machine_type: "8286".into(), model: "42A".into(), serial: "21E0B2V".into() }
}

#[test]
fn hosts_with_their_host_monitors() {
    let body = format!(
        "<addMS><viosList {KEY}><vios uuid=\"{UUID}\" isHM=\"1\" partNum=\"2\" macAddr=\"0200AB000001\"/>\
         <vios uuid=\"5ac3e0dc-13fc-4221-9617-8ef61c4cdd83\" macAddr=\"02:00:ab:00:00:02\"/>\
         <vios uuid=\"315ce56b-9ba0-46a1-b4bc-da6108574e7e\" isHM=\"0\"/></viosList>\
         <viosList machine_type=\"QEMU\" model=\"a &amp; b\" serial=\"1\" hostGroup=\"blue\"/></addMS>"
    );
    let Request::AddHosts(grouped) = parse(envelope("VIO_HS_ADD_MS", &body).as_bytes()).unwrap() else {
        panic!("another request");
    };
    let groups: Vec<_> = grouped.iter().map(|one| one.group.as_deref()).collect();
    assert_eq!(groups, [None, Some("blue")]);
    let hosts: Vec<_> = grouped.into_iter().map(|one| one.host).collect();
    assert_eq!(hosts.iter().map(|host| host.host_monitors.len()).collect::<Vec<_>>(), [2, 0]);
    assert_eq!((&hosts[0].key, hosts[1].key.model.as_str()), (&key(), "a & b"));
    let [one, two] = hosts[0].host_monitors.as_slice() else { panic!("two are host monitors") };
    assert_eq!((one.id.to_string(), one.part_number), (UUID.to_lowercase(), 2));
    assert_eq!(one.mac.as_deref(), Some("02:00:ab:00:00:01"));
    assert_eq!((two.part_number, two.mac.as_deref()), (0, Some("02:00:ab:00:00:02")));
}

#[test]
fn vms_to_add_and_to_start() {
    let add = format!("<addVM><vmList {KEY}><vm uuid=\"{UUID}\" name=\"web &lt;1&gt;\"/></vmList></addVM>");
    let vm = VmRegistration { uuid: UUID.parse().unwrap(), name: Some("web <1>".into()) };
    let expected = Request::AddVms { host: key(), vms: vec![vm.clone()] };
    assert_eq!(parse(envelope("VIO_HS_ADD_VM", &add).as_bytes()).unwrap(), expected);

    let start = format!(
        "<startVM><vmList><vm uuid=\"{UUID}\"/></vmList><vmList {KEY}><vm uuid=\"{UUID}\"/></vmList></startVM>"
    );
    let lists = [None, Some(key())].map(|host| VmList { host, vms: vec![vm.uuid] });
    let expected = Request::StartVms(lists.to_vec());
    assert_eq!(parse(envelope("VIO_HS_START_VM", &start).as_bytes()).unwrap(), expected);
    for (action, element, expected) in [
        ("VIO_HS_STOP_VM", "stopVM", Request::StopVms(lists.to_vec())),
        ("VIO_HS_REMOVE_VM", "removeVM", Request::RemoveVms(lists.to_vec())),
    ] {
        let body = start.replace("startVM", element);
        assert_eq!(parse(envelope(action, &body).as_bytes()).unwrap(), expected);
    }
}

#[test]
fn what_is_taken_out() {
    let parsed = |action: &str, body: String| parse(envelope(action, &body).as_bytes()).unwrap();
    let body = format!("<removeVIOS><vios uuid=\"{UUID}\"/></removeVIOS>");
    let expected = Request::RemoveMonitors(vec![UUID.parse().unwrap()]);
    assert_eq!(parsed("VIO_HS_REMOVE_VIOS", body), expected);
    let body = format!("<removeMS><viosList {KEY}/></removeMS>");
    assert_eq!(parsed("VIO_HS_REMOVE_MS", body), Request::RemoveHosts(vec![key()]));
    let body = "<removeHostGroup name=\"a &lt; b\"/>".to_owned();
    assert_eq!(parsed("VIO_HS_REMOVE_HOST_GROUP", body), Request::RemoveHostGroup("a < b".into()));
    let body = format!("<addVIOS><viosList {KEY}><vios uuid=\"{UUID}\" partNum=\"7\"/></viosList></addVIOS>");
    let Request::AddMonitors(hosts) = parsed("VIO_HS_ADD_VIOS", body) else { panic!("another request") };
    assert_eq!((&hosts[0].key, hosts[0].host_monitors[0].part_number), (&key(), 7));
}

#[test]
fn settings_of_host_monitors() {
    let configure = |attributes: &str| {
        let body = format!("<configureHM {attributes}/>");
        let parsed = parse(envelope("VIO_HS_CONFIGURE_HM", &body).as_bytes()).unwrap();
        let Request::Configure { scope, change } = parsed else { panic!("another request: {parsed:?}") };
        (scope, change)
    };
    let (scope, change) = configure("logLevel=\"vmpulse_hostmon=debug,info\" heartbeatIntervalMs=\"100\"");
    assert_eq!(scope, SettingsScope::All);
    let expected = SettingsChange {
        log_level: Some(Some("vmpulse_hostmon=debug,info".into())),
        heartbeat_interval_ms: Some(Some(100)),
        ..SettingsChange::default()
    };
    assert_eq!(change, expected);
    let (scope, change) = configure(&format!("{KEY} storeHeartbeatIntervalMs=\"default\" versions=\"2.1\""));
    assert_eq!(scope, SettingsScope::Host(key()));
    assert_eq!((change.store_heartbeat_interval_ms, change.log_level), (Some(None), None));
    assert_eq!(change.versions.flatten().map(|versions| versions.to_string()).as_deref(), Some("2.1-2.1"));
    let (scope, change) = configure(&format!("uuid=\"{UUID}\" logLevel=\"default\" versions=\"default\""));
    assert_eq!(scope, SettingsScope::One(UUID.parse().unwrap()));
    assert_eq!((change.log_level, change.versions), (Some(None), Some(None)));
}

#[test]
fn queries_in_any_namespace() {
    let plain = "<VIO><!-- who is well? --><Request action_str=\"VIO_HS_QUICK_QUERY\"/></VIO>";
    assert_eq!(parse(plain.as_bytes()).unwrap(), Request::QuickQuery);
    let prefixed =
        "<v:VIO xmlns:v=\"urn:other\"><v:Request action_str=\"VIO_HS_QUICK_QUERY\"></v:Request></v:VIO>";
    assert_eq!(parse(prefixed.as_bytes()).unwrap(), Request::QuickQuery);
    for (body, scope) in [
        ("", Scope::Global),
        ("<needsAtt/>", Scope::Global),
        ("<needsAtt dataType=\"GLOBAL_DATA\"/>", Scope::Global),
        ("<needsAtt dataType=\"LOCAL_DATA\"/>", Scope::Local),
    ] {
        let request = parse(envelope("VIO_HS_NEEDS_ATTENTION", body).as_bytes()).unwrap();
        assert_eq!(request, Request::NeedsAttention(scope), "{body}");
    }
    let body = "<acknowledge hsTag=\"-3026381694404356594\"/>";
    let request = parse(envelope("VIO_HS_ACKNOWLEDGE", body).as_bytes()).unwrap();
    assert_eq!(request, Request::Acknowledge(-3_026_381_694_404_356_594));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let vm = |attributes: &str| format!("<addVM><vmList {KEY}><vm {attributes}/></vmList></addVM>");
    let vios = |attributes: &str| format!("<addMS><viosList {KEY}><vios {attributes}/></viosList></addMS>");
    for (action, body, word) in [
        ("VIO_HS_ADD_VM", String::new(), "addVM is missing in Request"),
        ("VIO_HS_ADD_VM", vm("uuid=\"nonsense\""), "uuid \"nonsense\" is not a UUID"),
        ("VIO_HS_ADD_VM", vm("name=\"a\""), "needs the attribute uuid"),
        ("VIO_HS_ADD_VM", vm(&format!("uuid=\"{UUID}\" nmae=\"a\"")), "vm has no attribute nmae"),
        ("VIO_HS_ADD_VM", vm(&format!("uuid=\"{UUID}\" name=\"a&#10;b\"")), "control characters"),
        ("VIO_HS_ADD_VM", vm(&format!("uuid=\"{UUID}\" name=\"{}\"", "x".repeat(256))), "1 to 255 bytes"),
        ("VIO_HS_ADD_VM", format!("<addVM><vmList {KEY}/></addVM>"), "vm is missing in vmList"),
        ("VIO_HS_ADD_VM", "<addVM><vmList model=\"x\"/></addVM>".into(), "vm is missing in vmList"),
        ("VIO_HS_ADD_VM", "<addVM/><addVM/>".into(), "only one addVM"),
        ("VIO_HS_ADD_VM", "<startVM/>".into(), "startVM does not belong in Request"),
        ("VIO_HS_ADD_MS", vios("uuid=\"\""), "is not a UUID"),
        ("VIO_HS_ADD_MS", vios(&format!("uuid=\"{UUID}\" isHM=\"yes\"")), "isHM"),
        ("VIO_HS_ADD_MS", vios(&format!("uuid=\"{UUID}\" partNum=\"-1\"")), "partNum"),
        ("VIO_HS_ADD_MS", vios(&format!("uuid=\"{UUID}\" macAddr=\"02:00\"")), "macAddr"),
        ("VIO_HS_ADD_MS", vios(&format!("uuid=\"{UUID}\" macAddr=\"0200:ab00:0001\"")), "macAddr"),
        ("VIO_HS_START_VM", "<startVM><vmList/></startVM>".into(), "vm is missing in vmList"),
        ("VIO_HS_STOP_VM", "<stopVM><vmList model=\"x\"><vm/></vmList></stopVM>".into(), "machine_type"),
        ("VIO_HS_REMOVE_VM", "<removeVM/>".into(), "vmList is missing in removeVM"),
        ("VIO_HS_ADD_VIOS", format!("<addVIOS><viosList {KEY}/></addVIOS>"), "vios is missing in viosList"),
        ("VIO_HS_REMOVE_VIOS", "<removeVIOS/>".into(), "vios is missing in removeVIOS"),
        (
            "VIO_HS_REMOVE_MS",
            format!("<removeMS><viosList {KEY}><vios/></viosList></removeMS>"),
            "nothing belongs",
        ),
        ("VIO_HS_REMOVE_HOST_GROUP", "<removeHostGroup name=\" \"/>".into(), "1 to 255 bytes"),
        ("VIO_HS_CONFIGURE_HM", "<configureHM/>".into(), "needs one of logLevel"),
        ("VIO_HS_CONFIGURE_HM", format!("<configureHM uuid=\"{UUID}\" {KEY} versions=\"2.0\"/>"), "not both"),
        ("VIO_HS_CONFIGURE_HM", "<configureHM logLevel=\"loud\"/>".into(), "logLevel must be a log level"),
        (
            "VIO_HS_CONFIGURE_HM",
            "<configureHM heartbeatIntervalMs=\"99\"/>".into(),
            "100 to 60000 milliseconds",
        ),
        ("VIO_HS_CONFIGURE_HM", "<configureHM storeHeartbeatIntervalMs=\"1s\"/>".into(), "or default"),
        ("VIO_HS_CONFIGURE_HM", "<configureHM versions=\"2.0-3.0\"/>".into(), "a range within 2.0-2.1"),
        ("VIO_HS_QUICK_QUERY", "<x/>".into(), "nothing belongs in Request"),
        ("VIO_HS_QUICK_QUERY", "text".into(), "only elements belong in Request"),
        ("VIO_HS_NEEDS_ATTENTION", "<needsAtt dataType=\"ALL\"/>".into(), "dataType"),
        ("VIO_HS_ACKNOWLEDGE", "<acknowledge hsTag=\"x\"/>".into(), "hsTag"),
    ] {
        let refusal = refused(&envelope(action, &body));
        assert_eq!(refusal.code, Code::Malformed, "{body}");
        assert!(refusal.text.contains(word) && refusal.text.contains("line 3"), "{body}: {}", refusal.text);
    }
    assert_eq!(refused("<VIO><Request/></VIO>").code, Code::Malformed);
    assert_eq!(refused("<vio/>").text, "vio is not expected: the request is in VIO, at line 1 column 1");
}

#[test]
fn actions_that_there_never_are() {
    assert_eq!(refused(&envelope("VIO_HS_MAKE_COFFEE", "")).code, Code::UnknownAction);
}

#[test]
fn hostile_input_is_refused() {
    let declared = "<!DOCTYPE VIO [<!ENTITY x \"y\">]><VIO><Request action_str=\"&x;\"/></VIO>";
    let external = "<!DOCTYPE VIO SYSTEM \"file:///etc/passwd\"><VIO/>";
    let included = envelope(
        "VIO_HS_QUICK_QUERY",
        "<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"/etc/passwd\"/>",
    );
    let located = "<VIO xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"a b\"/>";
    let nested = "<a>".repeat(90_000);
    let many = format!("<VIO>{}</VIO>", "<a/>".repeat(200_000));
    for text in ["", "<", "<VIO>", declared, external, &included, located, &nested, &many] {
        assert_eq!(refused(text).code, Code::Malformed, "{}", text.get(..60).unwrap_or(text));
    }
    assert_eq!(parse(&[0xff, 0xfe, b'<']).unwrap_err().code, Code::Malformed);
    assert_eq!(parse(&vec![b' '; MAX_REQUEST_BYTES + 1]).unwrap_err().code, Code::TooLarge);
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let _either = parse(text.as_bytes());
    }

    #[test]
    fn arbitrary_bodies_never_panic(body in "[<>/a-zA-Z\"= &;]{0,80}") {
        let _either = parse(envelope("VIO_HS_ADD_VM", &body).as_bytes());
    }
}

mod asking;
