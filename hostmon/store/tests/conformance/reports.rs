use vmpulse_store::*;

use crate::bench::*;

fn report(number: u32, message: MessageTag) -> HostMonitorWrite {
    HostMonitorWrite::Report {
        vm: vm(number),
        message,
        payload: format!("<report tag='{message}'/>").into_bytes(),
    }
}

fn application(name: &str, colour: Colour) -> ApplicationReport {
    ApplicationReport {
        name: name.into(),
        uuid: "1234567890123456789".into(),
        status: "NORMAL".into(),
        colour,
        critical: true,
        monitored: true,
        max_restart: 3,
        restarted: 1,
        version: "1.0 \"beta\"".into(),
        last_result: "NORMAL".into(),
        last_change_age_s: 12,
    }
}

/// A report of the agent's start `incarnation`.
fn content(incarnation: u64, sequence: i64, applications: &[ApplicationReport]) -> Option<ReportContent> {
    let incarnation = format!("{incarnation:016x}");
    Some(ReportContent { incarnation, sequence, applications: applications.to_vec() })
}

fn names(bench: &mut Bench) -> Vec<String> {
    bench.store.applications().unwrap().into_iter().map(|view| view.report.name).collect()
}

fn ask(bench: &mut Bench) -> MessageTag {
    bench.store.report_request(vm(1), None).unwrap().unwrap()
}

pub(crate) fn an_exchange_from_doorbell_to_clear(bench: &mut Bench) {
    bench.started();
    bench.write(12, &[doorbell(1, 0x20)]);
    let attention = bench.store.needs_attention().unwrap().tag;
    bench.write(12, &[doorbell(1, 0x08)]);
    let tag = bench.store.report_request(vm(1), attention).unwrap().unwrap();
    assert_eq!(bench.attention()[0].doorbell, 0x08, "acknowledged, but for what rang since");
    bench.pass(3);
    let pending = PendingReport { tag, vm: vm(1), age: seconds(3) };
    assert_eq!(bench.store.reports_pending().unwrap(), [pending]);

    let asked = if bench.requests(11).is_empty() { 12 } else { 11 };
    let request = bench.requests(asked).pop().unwrap();
    assert_eq!(request.what, RequestKind::AskReport { vm: vm(1), message: tag });
    bench.write(asked, &[HostMonitorWrite::RequestDone { tag: request.tag }, report(1, tag)]);
    assert_eq!(bench.store.reports_pending().unwrap(), []);
    let arrived = bench.store.reports_arrived().unwrap().remove(0);
    assert_eq!((arrived.tag, arrived.vm, arrived.host_monitor), (tag, vm(1), hm(asked)));
    assert_eq!(arrived.payload, format!("<report tag='{tag}'/>").into_bytes());

    let applications = [application("db", Colour::Red), application("app", Colour::Green)];
    assert!(bench.store.report_apply(&arrived, content(1, 1, &applications).as_ref()).unwrap());
    assert_eq!(bench.store.reports_arrived().unwrap(), []);
    let views = bench.store.applications().unwrap();
    assert_eq!(
        views.iter().map(|view| &view.report).collect::<Vec<_>>(),
        [&applications[1], &applications[0]]
    );
    assert_eq!((views[0].vm, views[0].vm_name.as_str()), (vm(1), "vm1"));
    let request = bench.requests(asked).pop().unwrap();
    assert_eq!(request.what, RequestKind::ReportTaken { vm: vm(1), message: tag });
    bench.write(asked, &[HostMonitorWrite::ReportCleared { vm: vm(1), message: tag }]);
    assert_eq!(bench.requests(asked), []);
    assert_eq!(names(bench), ["app", "db"], "what was applied stays");
}

pub(crate) fn only_the_open_request_is_answered(bench: &mut Bench) {
    bench.started();
    bench.started_vm(1, 2);
    let first = ask(bench);
    let second = ask(bench);
    assert_ne!(first, second);
    assert_eq!(bench.store.reports_pending().unwrap().len(), 1, "replaced");
    let too_large = vec![b'x'; MAX_REPORT + 1];
    let writes = [
        report(1, first),
        report(2, second),
        report(9, second),
        HostMonitorWrite::Report { vm: vm(1), message: second, payload: too_large },
    ];
    bench.write(11, &writes);
    assert_eq!(bench.store.reports_arrived().unwrap(), []);
    bench.write(11, &[report(1, second), report(1, second)]);
    assert_eq!(bench.store.reports_arrived().unwrap().len(), 1);
}

pub(crate) fn a_request_needs_an_open_path(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[missing(1, 19), doorbell(1, 2)]);
    let attention = bench.store.needs_attention().unwrap().tag;
    assert!(bench.store.report_request(vm(1), None).unwrap().is_some());
    assert_eq!((bench.requests(11).len(), bench.requests(12).len()), (0, 1), "by the path that beats");
    bench.write(12, &[missing(1, 19)]);
    assert_eq!(bench.store.report_request(vm(1), attention).unwrap(), None);
    assert_eq!(bench.attention()[0].doorbell, 2, "nothing asked, nothing acknowledged");
    assert!(matches!(bench.store.report_request(vm(9), None), Err(StoreError::UnknownVm(_))));
}

pub(crate) fn a_request_needs_a_path_that_counts(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.write(11, &[opened(1)]);
    assert_eq!(bench.store.report_request(vm(1), None).unwrap(), None, "a handshake proves no heartbeat");
    bench.write(11, &[detected(1), heard(false)]);
    assert_eq!(bench.store.report_request(vm(1), None).unwrap(), None, "a blind monitor hears no answer");
    bench.write(11, &[heard(true)]);
    assert!(bench.store.report_request(vm(1), None).unwrap().is_some());
}

pub(crate) fn an_older_report_changes_nothing(bench: &mut Bench) {
    bench.started();
    let tag = ask(bench);
    bench.write(11, &[report(1, tag)]);
    let older = bench.store.reports_arrived().unwrap().remove(0);
    let tag = ask(bench);
    assert_eq!(bench.store.reports_arrived().unwrap().len(), 1, "asking again leaves what came");
    bench.write(12, &[report(1, tag)]);
    let newer = bench.store.reports_arrived().unwrap();
    assert_eq!((newer.len(), newer[0].tag), (1, tag), "the newer replaces it");
    let new = content(1, 7, &[application("new", Colour::Green)]);
    assert!(bench.store.report_apply(&newer[0], new.as_ref()).unwrap());
    let old = content(1, 8, &[application("old", Colour::Red)]);
    assert!(!bench.store.report_apply(&older, old.as_ref()).unwrap());
    assert!(!bench.store.report_apply(&newer[0], content(1, 9, &[]).as_ref()).unwrap());
    assert_eq!(names(bench), ["new"], "applied once, and never back");
}

pub(crate) fn a_guest_clears_its_own_exchange_only(bench: &mut Bench) {
    bench.started();
    bench.started_vm(1, 2);
    let tag = ask(bench);
    bench.write(11, &[report(1, tag)]);
    bench.write(11, &[HostMonitorWrite::ReportCleared { vm: vm(2), message: tag }]);
    bench.write(11, &[HostMonitorWrite::ReportCleared { vm: vm(9), message: tag }]);
    assert_eq!(bench.store.reports_arrived().unwrap().len(), 1);
    bench.write(12, &[HostMonitorWrite::ReportCleared { vm: vm(1), message: tag }]);
    assert_eq!(bench.store.reports_arrived().unwrap(), []);
}

pub(crate) fn nothing_piles_up(bench: &mut Bench) {
    bench.started();
    for round in 0..20 {
        let tag = ask(bench);
        if round % 2 == 0 {
            bench.write(11, &[report(1, tag)]);
        }
        if round % 3 == 0 {
            for arrived in bench.store.reports_arrived().unwrap() {
                let taken = content(1, round, &[application("app", Colour::Green)]);
                bench.store.report_apply(&arrived, taken.as_ref()).unwrap();
            }
        }
    }
    assert!(bench.store.reports_pending().unwrap().len() <= 1);
    assert!(bench.store.reports_arrived().unwrap().len() <= 1);
    let open = bench.requests(11).len() + bench.requests(12).len();
    assert!(open <= 6, "one of each kind per host monitor, not {open}");
}

pub(crate) fn old_requests_are_dropped(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.pass(600);
    assert_eq!(bench.requests(11).len(), 1);
    bench.pass(1);
    assert_eq!(bench.requests(11), []);
}

/// The report that is there now, taken with this content. Returns whether it was applied.
fn take(bench: &mut Bench, from: u32, incarnation: u64, sequence: i64, name: &str) -> bool {
    let tag = ask(bench);
    bench.write(from, &[report(1, tag)]);
    let arrived = bench.store.reports_arrived().unwrap().remove(0);
    let content = content(incarnation, sequence, &[application(name, Colour::Green)]);
    bench.store.report_apply(&arrived, content.as_ref()).unwrap()
}

pub(crate) fn a_report_is_applied_once_and_the_newest_stays(bench: &mut Bench) {
    bench.started();
    assert!(take(bench, 11, 0xa, 5, "five"));
    assert!(!take(bench, 12, 0xa, 5, "again"), "by the other path");
    assert!(!take(bench, 12, 0xa, 4, "four"), "an older one");
    assert!(take(bench, 12, 0xa, 6, "six"));
    assert_eq!(names(bench), ["six"]);
}

pub(crate) fn starts_of_an_agent_are_ordered_by_their_handshakes(bench: &mut Bench) {
    bench.started();
    assert!(take(bench, 12, 0xa, 900, "before"));
    bench.write(11, &[opened(1)]);
    assert!(take(bench, 11, 0xb, 1, "after"), "the agent was started anew, and counts from 1");
    // The other path was not opened again: what comes there is of the start before.
    assert!(!take(bench, 12, 0xa, 901, "late"), "of the start before, however many it had sent");
    assert_eq!(names(bench), ["after"]);
    bench.write(12, &[opened(1)]);
    assert!(take(bench, 12, 0xb, 2, "on both"));
    // One that was restored from a snapshot shakes hands anew, and has a number that was there before.
    bench.write(11, &[opened(1), opened(1)]);
    assert!(take(bench, 11, 0xb, 1, "restored"));
    assert!(!take(bench, 11, 0xb, 1, "once"));
    assert_eq!(names(bench), ["restored"]);
}

pub(crate) fn a_report_that_cannot_be_read_is_taken_and_changes_nothing(bench: &mut Bench) {
    bench.started();
    assert!(take(bench, 11, 0xa, 1, "app"));
    let tag = ask(bench);
    bench.write(11, &[report(1, tag)]);
    let arrived = bench.store.reports_arrived().unwrap().remove(0);
    assert!(!bench.store.report_apply(&arrived, None).unwrap());
    assert_eq!((names(bench), bench.store.reports_arrived().unwrap().len()), (vec!["app".to_owned()], 0));
    let told = bench.requests(11).pop().map(|request| request.what);
    assert_eq!(told, Some(RequestKind::ReportTaken { vm: vm(1), message: tag }));
}
