//! What is asked, in order, and what happens in between.

use std::time::Duration;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::*;

use crate::machine::{Answer, Machine};
use HostMonitorWrite as Write;

/// Every request there is.
pub(crate) const ACTIONS: &[&str] = &[
    "ADD_MS",
    "REMOVE_MS",
    "ADD_VIOS",
    "REMOVE_VIOS",
    "ADD_VM",
    "REMOVE_VM",
    "START_VM",
    "STOP_VM",
    "REMOVE_HOST_GROUP",
    "CONFIGURE_HM",
    "QUICK_QUERY",
    "NEEDS_ATTENTION",
    "ACKNOWLEDGE",
    "QUERY_NODE_DATA",
    "QUERY_VM",
    "QUERY_MS_FOR_VMS",
    "QUERY_CONFLICT",
    "PUT_MSG",
    "QUERY_MSG",
    "GET_MSG",
    "ACK_MSG",
    "SYNC_MSG",
    "REMOVE_ALL_MSG",
];

const NEEDS_ATTENTION: (&str, &str) = ("NEEDS_ATTENTION", "<needsAtt dataType=\"GLOBAL_DATA\"/>");
const ACKNOWLEDGE: (&str, &str) = ("ACKNOWLEDGE", "<acknowledge hsTag=\"{hsTag}\"/>");

fn vm(number: u32) -> VmUuid {
    format!("00000000-0000-0000-0000-{number:012x}").parse().unwrap()
}

fn hm(number: u32) -> HostMonitorId {
    format!("ffffffff-0000-0000-0000-{number:012x}").parse().unwrap()
}

fn key(serial: &str) -> String {
    format!("machine_type=\"8286\" model=\"42A &amp; Söhne\" serial=\"{serial}\"")
}

fn vms(numbers: &[u32]) -> String {
    numbers.iter().map(|number| format!("<vm uuid=\"{}\"/>", vm(*number))).collect()
}

/// Goes through all of it.
pub(crate) fn run(machine: &mut Machine) -> Vec<Answer> {
    let mut run = Run { machine, answers: Vec::new() };
    run.nonsense();
    run.registration();
    run.monitors_start();
    run.attention();
    run.queries();
    run.exchange();
    run.registration_ends();
    run.answers
}

struct Run<'a> {
    machine: &'a mut Machine,
    answers: Vec<Answer>,
}

impl Run<'_> {
    fn ask(&mut self, action: &str, body: &str) {
        let request = format!(
            "<?xml version=\"1.0\"?>\n<VIO xmlns=\"http://ausgsa.austin.ibm.com/projects/v/vios/schema/vioHADR2.00\" \
             version=\"2.00\" author=\"me\" title=\"{action}\">\n<Request action_str=\"VIO_HS_{action}\">{body}</Request>\n</VIO>\n"
        );
        let answer = self.machine.ask_on(&request);
        self.answers.push(answer);
    }

    fn ask_all(&mut self, requests: &[(&str, &str)]) {
        for (action, body) in requests {
            self.ask(action, body);
        }
    }

    fn write(&mut self, from: u32, writes: &[Write]) {
        self.machine.store().host_monitor_apply(hm(from), writes).unwrap();
    }

    /// What no store is asked for.
    fn nonsense(&mut self) {
        let long = format!("<x>{}</x>", " ".repeat(1 << 20));
        for request in [
            "",
            "<",
            "<VIO/>",
            "<!DOCTYPE VIO [<!ENTITY x \"y\">]><VIO/>",
            "<VIO><Request action_str=\"VIO_HS_MAKE_COFFEE\"/></VIO>",
            "<VIO><Request action_str=\"VIO_HS_QUICK_QUERY\"><x/></Request></VIO>",
            &long,
        ] {
            let answer = self.machine.ask(request);
            self.answers.push(answer);
        }
        self.ask_all(&[
            ("QUERY_VM", "<queryVM max=\"0\"/>"),
            ("QUERY_VM", "<queryVM><vmList/></queryVM>"),
            ("QUERY_NODE_DATA", "<queryNodeData max=\"1001\"/>"),
            ("PUT_MSG", "<putMsg/>"),
            ("GET_MSG", "<getMsg tag=\"x\"/>"),
        ]);
    }

    fn registration(&mut self) {
        let monitor = |number| format!("<vios uuid=\"{}\" partNum=\"{number}\"/>", hm(number));
        let host = |serial: &str, monitors: &str| format!("<viosList {}>{monitors}</viosList>", key(serial));
        let both = host("b", &(monitor(11) + &monitor(12))) + &host("A", &monitor(21)) + &host("ä", "");
        let add_vms =
            |serial: &str, list: &str| format!("<addVM><vmList {}>{list}</vmList></addVM>", key(serial));
        let named = format!(
            "<vm uuid=\"{}\" name=\"web &lt;1&gt; é\"/>{}",
            vm(1).to_string().to_uppercase(),
            vms(&[2, 3, 4])
        );
        let empty = [("QUICK_QUERY", ""), NEEDS_ATTENTION, ("QUERY_VM", ""), ("QUERY_NODE_DATA", "")];
        self.ask_all(&empty);
        self.ask_all(&[("QUERY_CONFLICT", ""), ("QUERY_MSG", ""), ("SYNC_MSG", ""), ("REMOVE_ALL_MSG", "")]);
        self.ask("ADD_MS", &format!("<addMS>{both}</addMS>"));
        self.ask("ADD_MS", &format!("<addMS>{both}</addMS>"));
        self.ask("ADD_VM", &add_vms("b", &named));
        self.ask("ADD_VM", &add_vms("A", &vms(&[5, 2])));
        self.ask("ADD_VM", &add_vms("nowhere", &vms(&[5])));
        self.ask("ADD_VM", &add_vms("A", &vms(&[5, 6])));
        let start = |list: &str| format!("<startVM><vmList>{list}</vmList></startVM>");
        self.ask("START_VM", &start(&vms(&[1, 99])));
        self.ask("START_VM", &format!("<startVM><vmList {}>{}</vmList></startVM>", key("A"), vms(&[1])));
        self.ask("START_VM", &start(&vms(&[1, 2, 3])));
        self.ask("START_VM", &start(&vms(&[1])));
        self.ask_all(&[("QUICK_QUERY", ""), NEEDS_ATTENTION]);
        self.ask("NEEDS_ATTENTION", "<needsAtt dataType=\"LOCAL_DATA\"/>");
        self.machine.is_home_of(&hm(12).to_string());
        self.ask("NEEDS_ATTENTION", "<needsAtt dataType=\"LOCAL_DATA\"/>");
        self.ask_all(&[ACKNOWLEDGE, NEEDS_ATTENTION, ACKNOWLEDGE, ACKNOWLEDGE]);
        self.ask("ACKNOWLEDGE", "<acknowledge hsTag=\"4711\"/>");
    }

    fn start(&mut self, number: u32) {
        let start = HostMonitorStart {
            trunk: format!("trunk{number}"),
            mac: format!("02:ff:00:00:00:{number:02x}"),
            vlan: (number == 12).then_some(7),
            incarnation: format!("1700000000.000000000.{number}"),
            versions: "2.0-2.1".into(),
            heartbeat_interval: Duration::from_secs(30),
        };
        self.write(number, &[Write::Started(start)]);
    }

    fn monitors_start(&mut self) {
        for number in [11, 12, 21, 31] {
            self.start(number);
        }
        let event = |kind: &str, text: &str| Write::NodeEvent { kind: kind.into(), text: text.into() };
        self.write(11, &[event("FORGERY", "a guest <says> \"\u{1b}[2J\u{0}\""), event("BLIND", "blind")]);
        self.write(31, &[event("ADAPTER_DOWN", "nobody registered it")]);
        let down = Write::NodeChanged {
            state: NodeState::Down,
            reason: REASON_NODE_SHUTDOWN,
            mode: MonitorMode::Down,
        };
        self.write(21, &[down]);
        self.ask_all(&[
            ("QUICK_QUERY", ""),
            ("QUERY_NODE_DATA", "<queryNodeData max=\"2\"/>"),
            ACKNOWLEDGE,
            ("QUERY_NODE_DATA", ""),
        ]);
        self.ask("QUERY_NODE_DATA", &format!("<queryNodeData><vios uuid=\"{}\"/></queryNodeData>", hm(21)));
        self.ask("QUERY_NODE_DATA", &format!("<queryNodeData><vios uuid=\"{}\"/></queryNodeData>", hm(77)));
        self.ask_all(&[("QUICK_QUERY", "")]);
        self.start(21);
        self.write(21, &[event("SIGHTED", "back again")]);
        self.ask_all(&[ACKNOWLEDGE, ("QUICK_QUERY", ""), ("QUERY_NODE_DATA", "")]);
    }

    fn attention(&mut self) {
        for from in [11, 12] {
            let writes: Vec<_> =
                [1, 2, 3].into_iter().flat_map(|n| [opened(n, from == 12), detected(n)]).collect();
            self.write(from, &writes);
        }
        // Monitored for long, and not heard.
        self.machine.long_ago().vms_start(&[vm(5)]).unwrap();
        self.write(21, &[opened(2, false), opened(4, true), opened(6, false), Write::Heartbeat]);
        self.write(11, &[opened(4, false), opened(90, false)]);
        self.ask_all(&[NEEDS_ATTENTION, ACKNOWLEDGE, NEEDS_ATTENTION]);
        let missing = |number, common| {
            let age = Duration::from_secs(40 + u64::from(number));
            Write::PathMissing { vm: vm(number), age, common }
        };
        let stranger = |uuid: &str| {
            let (uuid, mac) = (uuid.into(), "02:00:00:00:00:99".into());
            Write::Discovered { uuid, mac, kind: Discovery::CannotManage }
        };
        self.write(11, &[doorbell(1, 0x28), missing(2, true), missing(3, false), stranger("B\u{7}")]);
        self.write(12, &[missing(2, true), conflict(3, ConflictKind::Version), stranger("a")]);
        self.write(12, &[conflict(1, ConflictKind::Uuid), conflict(91, ConflictKind::Version)]);
        self.write(11, &[Write::PathGuardian { vm: vm(1), guardian: true }]);
        let shut = Write::Suspended { vm: vm(3), reason: SuspendReason::Administrator, age: Duration::ZERO };
        self.write(11, &[shut]);
        self.machine.store().vm_fence(vm(6), true).unwrap();
        self.ask_all(&[NEEDS_ATTENTION, ("NEEDS_ATTENTION", "<needsAtt dataType=\"LOCAL_DATA\"/>")]);
        self.write(11, &[doorbell(1, 0x20)]);
        self.ask_all(&[ACKNOWLEDGE, NEEDS_ATTENTION, ("QUICK_QUERY", "")]);
    }

    fn queries(&mut self) {
        let list = |numbers: &[u32]| format!("<vmList>{}</vmList>", vms(numbers));
        let (most, few) = (list(&[9, 3, 1, 2, 1]), list(&[9, 2]));
        self.ask_all(&[
            ("QUERY_VM", ""),
            ("QUERY_VM", "<queryVM max=\"2\"/>"),
            ("QUERY_VM", &format!("<queryVM max=\"2\" after=\"{}\"/>", vm(2))),
            ("QUERY_VM", &format!("<queryVM max=\"2\">{most}</queryVM>")),
            ("QUERY_VM", &format!("<queryVM after=\"{}\">{most}</queryVM>", vm(2))),
            ("QUERY_VM", &format!("<queryVM><vmList {}/></queryVM>", key("A"))),
            ("QUERY_VM", &format!("<queryVM><vmList {}/></queryVM>", key("nowhere"))),
            ("QUERY_MS_FOR_VMS", &format!("<queryMSForVMs>{}</queryMSForVMs>", list(&[1, 9, 5, 2]))),
            ("QUERY_MS_FOR_VMS", &format!("<queryMSForVMs>{few}</queryMSForVMs>")),
            ("QUERY_MS_FOR_VMS", "<queryMSForVMs><vmList/></queryMSForVMs>"),
            ("QUERY_CONFLICT", "<queryConflict max=\"1\"/>"),
            ACKNOWLEDGE,
            ("QUERY_CONFLICT", ""),
            ACKNOWLEDGE,
            ("QUERY_CONFLICT", ""),
        ]);
    }

    fn report(&mut self, from: u32, payload: &[u8]) {
        let mut store = self.machine.store();
        let asked = store.reports_pending().unwrap().remove(0);
        let report = Write::Report { vm: asked.vm, message: asked.tag, payload: payload.to_vec() };
        store.host_monitor_apply(hm(from), &[report]).unwrap();
    }

    fn exchange(&mut self) {
        let put = |number: u32| {
            format!("<putMsg><vm uuid=\"{}\"><Command code=\"0x2\"/></vm></putMsg>", vm(number))
        };
        let tagged = put(1).replace("<putMsg>", "<putMsg hsTag=\"{hsTag}\">");
        let (get, acknowledge) = ("<getMsg tag=\"{tag}\"/>", "<ackMsg tag=\"{tag}\"/>");
        let (get, acknowledge) = (("GET_MSG", get), ("ACK_MSG", acknowledge));
        self.ask_all(&[
            ("PUT_MSG", &put(2)),
            ("PUT_MSG", &put(9)),
            ("PUT_MSG", &put(1).replace("0x2", "0x3")),
            ("PUT_MSG", &put(1).replace("<putMsg>", "<putMsg hsTag=\"4711\">")),
            NEEDS_ATTENTION,
            ("PUT_MSG", &tagged),
            NEEDS_ATTENTION,
            ("QUERY_MSG", ""),
            get,
            acknowledge,
        ]);
        let report = format!(
            "<report version=\"1.0\" vm=\"{}\" incarnation=\"5c0ffee012345678\" sequence=\"1\">\n\t\
             <application name=\"app1\" uuid=\"1567267349133928000\" status=\"NORMAL\" colour=\"GREEN\" critical=\"yes\" \
             monitored=\"1\" max_restart=\"3\" nooftimes_restarted=\"1\" version=\"&lt;é\" last_result=\"NORMAL\" \
             last_change_s=\"42\"/></report>",
            vm(1)
        );
        self.report(12, report.as_bytes());
        self.ask_all(&[("QUERY_MSG", ""), get, acknowledge, acknowledge, get, ("QUERY_MSG", "")]);
        self.ask_all(&[("PUT_MSG", &put(1)), ("SYNC_MSG", "")]);
        self.report(11, report.as_bytes());
        self.ask_all(&[get, acknowledge, ("PUT_MSG", &put(1))]);
        self.report(11, b"\xff\r\n<!DOCTYPE");
        self.ask_all(&[get, acknowledge]);
        // Asked for long ago, and never answered.
        self.long_silence();
        self.ask_all(&[("QUICK_QUERY", "")]);
        self.ask("SYNC_MSG", &format!("<syncMsg><vios uuid=\"{}\"/></syncMsg>", hm(12)));
        self.ask("SYNC_MSG", &format!("<syncMsg><vios uuid=\"{}\"/></syncMsg>", hm(77)));
        let of = |numbers: &[u32]| format!("<queryMsg max=\"1\">{}</queryMsg>", vms(numbers));
        self.ask_all(&[
            ("QUERY_MSG", &of(&[1, 9])),
            ("QUERY_MSG", "<queryMsg max=\"1\" after=\"{tag}\"/>"),
            ("REMOVE_ALL_MSG", &format!("<removeAllMsg>{}</removeAllMsg>", vms(&[9]))),
            ("REMOVE_ALL_MSG", &format!("<removeAllMsg>{}</removeAllMsg>", vms(&[1]))),
            ("REMOVE_ALL_MSG", "<removeAllMsg/>"),
            ("QUERY_MSG", ""),
            get,
        ]);
    }

    /// By the path that beats it was asked minutes ago; a host monitor lived then, too.
    fn long_silence(&mut self) {
        let mut then = self.machine.long_ago();
        then.host_monitor_apply(hm(12), &[Write::Heartbeat]).unwrap();
        assert!(then.message_put(vm(1), None).unwrap().is_some());
        for number in [11, 12] {
            self.write(number, &[Write::Heartbeat]);
        }
    }

    /// What unregisters, stops and configures.
    fn registration_ends(&mut self) {
        let list =
            |name: &str, numbers: &[u32]| format!("<{name}><vmList>{}</vmList></{name}>", vms(numbers));
        let of_host = |name: &str, serial: &str, inside: &str| {
            format!("<{name}><vmList {}>{inside}</vmList></{name}>", key(serial))
        };
        let vios = |number: u32| format!("<vios uuid=\"{}\"/>", hm(number));
        let host = |name: &str, serial: &str, inside: &str| {
            format!("<{name}><viosList {}>{inside}</viosList></{name}>", key(serial))
        };
        self.ask_all(&[
            ("STOP_VM", &list("stopVM", &[1, 99])),
            ("STOP_VM", &list("stopVM", &[1, 2, 4])),
            NEEDS_ATTENTION,
            ("REMOVE_VM", &of_host("removeVM", "A", &vms(&[2]))),
            ("REMOVE_VM", &list("removeVM", &[2, 4, 98])),
            ("START_VM", &list("startVM", &[2])),
            ("QUERY_VM", ""),
        ]);
        // The host monitors have carried out what they were asked.
        for from in [11, 12, 21] {
            let mut store = self.machine.store();
            for request in store.roster(hm(from)).unwrap().requests {
                store.host_monitor_apply(hm(from), &[Write::RequestDone { tag: request.tag }]).unwrap();
            }
        }
        self.write(11, &[opened(4, false), opened(2, false)]);
        self.ask_all(&[("QUERY_VM", ""), NEEDS_ATTENTION, ACKNOWLEDGE]);
        self.ask_all(&[
            ("ADD_VIOS", &host("addVIOS", "nowhere", &vios(31))),
            ("ADD_VIOS", &host("addVIOS", "A", &vios(31))),
            ("CONFIGURE_HM", "<configureHM/>"),
            ("CONFIGURE_HM", "<configureHM logLevel=\"debug\"/>"),
            ("CONFIGURE_HM", &format!("<configureHM uuid=\"{}\" heartbeatIntervalMs=\"1000\"/>", hm(11))),
            ("CONFIGURE_HM", &format!("<configureHM {} versions=\"2.1\"/>", key("nowhere"))),
            ("REMOVE_VIOS", &format!("<removeVIOS>{}{}</removeVIOS>", vios(12), vios(77))),
            ("QUICK_QUERY", ""),
            ("QUERY_NODE_DATA", ""),
            ACKNOWLEDGE,
            ("ADD_MS", &host("addMS", "b", "").replace("serial=", "hostGroup=\"test\" serial=")),
            ("REMOVE_HOST_GROUP", "<removeHostGroup name=\"nobody\"/>"),
            ("REMOVE_HOST_GROUP", "<removeHostGroup name=\"test\"/>"),
            (
                "REMOVE_MS",
                &host("removeMS", "A", "")
                    .replace("/viosList>", &format!("/viosList><viosList {}/>", key("b"))),
            ),
            ("QUICK_QUERY", ""),
            NEEDS_ATTENTION,
            ("QUERY_VM", ""),
            ("QUERY_CONFLICT", ""),
        ]);
    }
}

fn opened(number: u32, authenticated: bool) -> Write {
    let mac = format!("02:00:00:00:00:{number:02x}");
    Write::PathOpened { vm: vm(number), mac, version: "2.1".into(), authenticated, age: Duration::ZERO }
}

fn detected(number: u32) -> Write {
    Write::PathDetected { vm: vm(number) }
}

fn doorbell(number: u32, bits: u32) -> Write {
    Write::Doorbell { vm: vm(number), bits }
}

fn conflict(number: u32, kind: ConflictKind) -> Write {
    let (uuid, mac) = (vm(number).to_string(), "02:00:00:00:00:77".to_owned());
    Write::Conflict { uuid, mac, kind, text: "it speaks HVNCP <9.0>".to_owned() }
}
