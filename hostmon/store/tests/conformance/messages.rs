use vmpulse_store::*;

use crate::bench::*;

fn report(number: u32, message: MessageTag) -> HostMonitorWrite {
    HostMonitorWrite::Report { vm: vm(number), message, payload: b"<report/>".to_vec() }
}

fn put(bench: &mut Bench, number: u32) -> MessageView {
    bench.store.message_put(vm(number), None).unwrap().unwrap()
}

fn all() -> MessagesWanted {
    MessagesWanted { vms: vec![], after: None, limit: ANSWER_LIMIT }
}

fn states(bench: &mut Bench) -> Vec<(MessageTag, MessageState)> {
    let page = bench.store.messages(&all()).unwrap();
    page.messages.into_iter().map(|message| (message.tag, message.state)).collect()
}

/// The guest was told what the host monitor was asked to tell it.
fn carry_out(bench: &mut Bench, from: u32) {
    for request in bench.requests(from) {
        bench.write(from, &[HostMonitorWrite::RequestDone { tag: request.tag }]);
    }
}

fn asked_of(put: &MessageView) -> u32 {
    if put.host_monitor == hm(11) { 11 } else { 12 }
}

pub(crate) fn an_exchange_step_by_step_as_scripts_see_it(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[doorbell(1, 0x20)]);
    let attention = bench.store.needs_attention().unwrap().tag;
    let put = bench.store.message_put(vm(1), attention).unwrap().unwrap();
    assert_eq!((put.sequence, put.vm, put.state), (1, vm(1), MessageState::Asked));
    assert_eq!(bench.attention(), [], "its doorbell was acknowledged with it");
    bench.pass(4);
    let Message { view, payload } = bench.store.message(put.tag).unwrap().unwrap();
    assert_eq!((view.asked_age, view.arrived_age, view.bytes, payload), (seconds(4), None, None, None));
    let from = asked_of(&put);
    carry_out(bench, from);
    bench.write(from, &[report(1, put.tag)]);
    bench.pass(2);
    let Message { view, payload } = bench.store.message(put.tag).unwrap().unwrap();
    assert_eq!(
        (view.state, view.arrived_age, view.bytes),
        (MessageState::Arrived, Some(seconds(2)), Some(9))
    );
    assert_eq!(payload.as_deref(), Some(b"<report/>".as_slice()));
    let arrived = bench.store.reports_arrived().unwrap().remove(0);
    bench.store.report_apply(&arrived, None).unwrap();
    let Message { view, payload } = bench.store.message(put.tag).unwrap().unwrap();
    assert_eq!((view.state, view.bytes, payload), (MessageState::Taken, None, None));
    bench.write(from, &[HostMonitorWrite::ReportCleared { vm: vm(1), message: put.tag }]);
    assert_eq!((bench.store.message(put.tag).unwrap(), states(bench)), (None, vec![]));
    let again = bench.store.message_put(vm(1), None).unwrap().unwrap();
    assert!(again.tag > put.tag && again.sequence == 2);
    assert!(matches!(bench.store.message_put(vm(9), None), Err(StoreError::UnknownVm(_))));
}

pub(crate) fn what_is_not_answered_is_asked_again(bench: &mut Bench) {
    bench.started();
    let put = put(bench, 1);
    let from = asked_of(&put);
    carry_out(bench, from);
    bench.pass_alive(29, &[11, 12]);
    assert!(!bench.status(from).sync_message, "it may still come");
    bench.pass_alive(1, &[11, 12]);
    assert!(bench.status(from).sync_message && !bench.status(23 - from).sync_message);
    assert_eq!(bench.store.messages_sync(Some(hm(23 - from))).unwrap(), [0; 0], "it was asked nothing");
    let tags = bench.store.messages_sync(Some(hm(from))).unwrap();
    let requests: Vec<_> = [11, 12].into_iter().flat_map(|from| bench.requests(from)).collect();
    assert_eq!(requests.iter().map(|request| request.tag).collect::<Vec<_>>(), tags);
    assert_eq!(requests[0].what, RequestKind::AskReport { vm: vm(1), message: put.tag }, "the same exchange");
    // The first answer was on its way all the time; the second one is one too many.
    bench.write(from, &[report(1, put.tag), report(1, put.tag)]);
    assert_eq!(states(bench), [(put.tag, MessageState::Arrived)]);
    assert!(!bench.status(11).sync_message && !bench.status(12).sync_message);
    assert_eq!(bench.store.messages_sync(None).unwrap(), [0; 0], "what arrived waits for the controller");
    assert!(matches!(bench.store.messages_sync(Some(hm(77))), Err(StoreError::UnknownHostMonitor(_))));
}

pub(crate) fn an_exchange_moves_to_the_path_that_is_left(bench: &mut Bench) {
    bench.started();
    let put = put(bench, 1);
    let (from, other) = (asked_of(&put), 23 - asked_of(&put));
    bench.write(from, &[missing(1, 19)]);
    assert_eq!(bench.store.messages_sync(None).unwrap().len(), 1);
    assert_eq!((bench.requests(from).len(), bench.requests(other).len()), (0, 1));
    bench.write(other, &[report(1, put.tag)]);
    assert_eq!(states(bench), [(put.tag, MessageState::Arrived)]);
    let arrived = bench.store.reports_arrived().unwrap().remove(0);
    assert_eq!(arrived.host_monitor, hm(other));
    // No path is left: nothing can be asked, and nothing is lost.
    let again = put_again(bench, other);
    assert_eq!(bench.store.messages_sync(None).unwrap(), [0; 0]);
    bench.write(other, &[detected(1)]);
    assert_eq!(bench.store.messages_sync(None).unwrap().len(), 1);
    assert_eq!(states(bench).last(), Some(&(again, MessageState::Asked)));
}

/// Asks, and then the last path goes.
fn put_again(bench: &mut Bench, last: u32) -> MessageTag {
    let again = put(bench, 1).tag;
    bench.write(last, &[missing(1, 19)]);
    again
}

pub(crate) fn a_taken_report_is_said_again(bench: &mut Bench) {
    bench.started();
    let put = put(bench, 1);
    let from = asked_of(&put);
    bench.write(from, &[report(1, put.tag)]);
    let arrived = bench.store.reports_arrived().unwrap().remove(0);
    bench.store.report_apply(&arrived, None).unwrap();
    carry_out(bench, from);
    assert_eq!(bench.requests(from), []);
    assert_eq!(bench.store.messages_sync(None).unwrap().len(), 1);
    let told = bench.requests(from).pop().unwrap().what;
    assert_eq!(told, RequestKind::ReportTaken { vm: vm(1), message: put.tag });
}

pub(crate) fn removing_ends_every_exchange(bench: &mut Bench) {
    bench.started();
    for number in [2, 3] {
        bench.started_vm(1, number);
    }
    let tags = [1, 2, 3].map(|number| put(bench, number).tag);
    for (number, tag) in [(1, tags[0]), (2, tags[1])] {
        bench.write(11, &[report(number, tag)]);
    }
    put(bench, 1);
    let unknown = bench.store.messages_remove(Some(&[vm(1), vm(9)]));
    assert!(matches!(unknown, Err(StoreError::UnknownVm(_))));
    assert_eq!(states(bench).len(), 4, "all or none");
    assert_eq!(bench.store.messages_remove(Some(&[vm(1)])).unwrap(), 2);
    assert_eq!(states(bench), [(tags[1], MessageState::Arrived), (tags[2], MessageState::Asked)]);
    assert_eq!(bench.store.messages_remove(None).unwrap(), 2);
    assert_eq!((states(bench), bench.requests(11), bench.requests(12)), (vec![], vec![], vec![]));
    assert_eq!(bench.store.messages_remove(None).unwrap(), 0);
    // A late answer is none.
    bench.write(11, &[report(3, tags[2])]);
    assert_eq!(states(bench), []);
}

pub(crate) fn exchanges_come_page_by_page(bench: &mut Bench) {
    bench.started();
    for number in 2..=5 {
        bench.started_vm(1, number);
    }
    let tags: Vec<_> = (1..=5).map(|number| put(bench, number).tag).collect();
    let mut wanted = MessagesWanted { limit: 2, ..all() };
    let mut found = Vec::new();
    loop {
        let page = bench.store.messages(&wanted).unwrap();
        assert!(page.messages.len() <= 2);
        found.extend(page.messages.into_iter().map(|message| message.tag));
        wanted.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(found, tags);
    let of_two = MessagesWanted { vms: vec![vm(4), vm(2), vm(9)], ..all() };
    let found: Vec<_> =
        bench.store.messages(&of_two).unwrap().messages.into_iter().map(|message| message.tag).collect();
    assert_eq!(found, [tags[1], tags[3]]);
}

/// What is rolled back, removed or restarted gives no name to something else.
pub(crate) fn numbers_are_never_given_twice(bench: &mut Bench) {
    bench.started();
    let first = put(bench, 1).tag;
    assert!(bench.store.vms_start(&[vm(1), vm(9)]).is_err());
    bench.store.messages_remove(None).unwrap();
    let second = put(bench, 1).tag;
    assert!(second > first);
    let request = bench.requests(11).into_iter().chain(bench.requests(12)).next().unwrap().tag;
    assert!(request > second);
}
