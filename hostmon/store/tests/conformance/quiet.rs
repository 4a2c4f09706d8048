use std::time::Duration;

use vmpulse_store::*;

use crate::bench::*;

/// QUIET as it came this long ago.
fn asked_before(number: u32, asked_s: u64, age: Duration) -> HostMonitorWrite {
    let (asked, reason) = (seconds(asked_s), "backup".to_owned());
    HostMonitorWrite::QuietAsked { vm: vm(number), asked, age, reason }
}

fn asked(number: u32, asked_s: u64) -> HostMonitorWrite {
    asked_before(number, asked_s, Duration::ZERO)
}

fn ended(number: u32) -> HostMonitorWrite {
    HostMonitorWrite::QuietEnded { vm: vm(number), age: Duration::ZERO }
}

fn over(quiet: &Quiet) -> HostMonitorWrite {
    HostMonitorWrite::QuietOver { vm: quiet.vm, sequence: quiet.sequence, age: Duration::ZERO }
}

/// Writes, and returns the only answer.
fn answer(bench: &mut Bench, host_monitor: u32, write: HostMonitorWrite) -> QuietAnswer {
    let mut applied = bench.store.host_monitor_apply(hm(host_monitor), &[write]).unwrap();
    assert_eq!(applied.quiets.len(), 1);
    applied.quiets.remove(0)
}

/// Seconds granted of what VM 1 asked for.
fn granted_s(bench: &mut Bench, host_monitor: u32, asked_s: u64) -> u64 {
    answer(bench, host_monitor, asked(1, asked_s)).granted.as_secs()
}

/// The announced silence of VM 1 as this host monitor is told of it.
fn told(bench: &mut Bench, host_monitor: u32) -> Option<Quiet> {
    let mut quiet = bench.store.roster(hm(host_monitor)).unwrap().quiet;
    assert!(quiet.len() <= 1);
    quiet.pop()
}

fn changes(bench: &mut Bench) -> Vec<QuietChange> {
    bench.store.quiet_news().unwrap().into_iter().map(|news| news.change).collect()
}

pub(crate) fn every_host_monitor_knows_it_and_the_vm_is_not_silent(bench: &mut Bench) {
    bench.started();
    let first = answer(bench, 11, asked(1, 60));
    let quiet = first.quiet.unwrap();
    assert_eq!((first.vm, first.granted), (vm(1), seconds(60)));
    assert_eq!((quiet.vm, quiet.left, quiet.reason.as_str()), (vm(1), seconds(60), "backup"));
    bench.pass(20);
    bench.start_monitor(11);
    for host_monitor in [11, 12] {
        let told = told(bench, host_monitor).unwrap();
        assert_eq!((told.sequence, told.left), (quiet.sequence, seconds(40)), "also one that restarted");
    }
    let shown = bench.vm(1).quiet.unwrap();
    assert_eq!(shown.reason, "backup");
    assert_eq!(shown.until.since(bench.store.now().unwrap()), seconds(40));
    for host_monitor in [11, 12] {
        bench.write(host_monitor, &[missing(1, 30)]);
    }
    assert_eq!((bench.missed(1), bench.attention()), (None, vec![]), "they did not know of it");
    bench.write(11, &[HostMonitorWrite::PathQuiet { vm: vm(1) }]);
    bench.write(12, &[HostMonitorWrite::PathQuiet { vm: vm(1) }, over(&quiet)]);
    assert_eq!((bench.vm(1).quiet, told(bench, 11)), (None, None));
    assert_eq!(bench.missed(1), None, "they say it again some time after its end");
    for host_monitor in [11, 12] {
        bench.write(host_monitor, &[missing(1, 79)]);
    }
    assert_eq!(bench.missed_s(1), Some((79, 79)), "the age of the last heartbeat");
    assert_eq!(bench.missed(1).unwrap().excused, seconds(79), "of which nothing counts so far");
    bench.pass(5);
    assert_eq!((bench.missed_s(1), bench.missed(1).unwrap().excused), (Some((84, 84)), seconds(79)));
    bench.write(12, &[detected(1)]);
    bench.pass_alive(60, &[11, 12]);
    bench.write(12, &[missing(1, 10)]);
    assert_eq!(bench.missed(1).unwrap().excused, seconds(0), "a silence since then counts in full");
}

pub(crate) fn what_was_silent_is_not_while_it_lasts(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[missing(1, 19)]);
    bench.write(12, &[missing(1, 19)]);
    assert!(bench.missed(1).is_some());
    bench.write(12, &[asked(1, 60)]);
    assert_eq!((bench.missed(1), bench.attention()), (None, vec![]));
    bench.write(12, &[HostMonitorWrite::PathQuiet { vm: vm(1) }]);
    let missed = |bench: &mut Bench| bench.vm(1).paths.iter().map(|path| path.missed).collect::<Vec<_>>();
    assert_eq!(missed(bench), [Some(seconds(19)), None], "each host monitor speaks for its own path");
    bench.write(11, &[HostMonitorWrite::PathQuiet { vm: vm(1) }]);
    assert_eq!(missed(bench), [None, None]);
    bench.write(12, &[ended(1)]);
    assert_eq!(bench.missed(1), None);
}

pub(crate) fn said_on_both_trunks_it_costs_once(bench: &mut Bench) {
    bench.started();
    let first = answer(bench, 11, asked(1, 300)).quiet.unwrap();
    let second = answer(bench, 12, asked(1, 300)).quiet.unwrap();
    assert!(second.sequence > first.sequence);
    bench.write(11, &[over(&first)]);
    assert!(bench.vm(1).quiet.is_some(), "an older announcement's end ends nothing");
    bench.pass(300);
    bench.write(12, &[over(&second)]);
    assert_eq!(granted_s(bench, 11, 300), 300);
    assert_eq!(granted_s(bench, 12, 300), 300);
    let began = changes(bench).into_iter().filter(|change| matches!(change, QuietChange::Began { .. }));
    assert_eq!(began.count(), 2, "one each, not one for each trunk");
}

pub(crate) fn no_more_than_600_s_in_an_hour(bench: &mut Bench) {
    bench.started();
    for _ in 0..2 {
        assert_eq!(granted_s(bench, 11, 290), 290);
        bench.pass_alive(290, &[11, 12]);
        let quiet = told(bench, 12).unwrap();
        bench.write(12, &[over(&quiet)]);
    }
    bench.start_monitor(11);
    bench.start_monitor(12);
    let last = answer(bench, 12, asked(1, 290));
    assert_eq!(last.granted, seconds(20), "what is left, also for monitors that restarted");
    bench.pass_alive(20, &[11, 12]);
    bench.write(11, &[over(&last.quiet.unwrap())]);
    let refused = answer(bench, 11, asked(1, 60));
    assert_eq!((refused.granted, refused.quiet), (Duration::ZERO, None));
    assert_eq!(bench.vm(1).quiet, None);
    bench.pass_alive(3010, &[11, 12]);
    assert_eq!(granted_s(bench, 11, 290), 10, "the first ten seconds are an hour ago");
}

pub(crate) fn a_prolonged_one_costs_what_it_lasted(bench: &mut Bench) {
    bench.started();
    assert_eq!(granted_s(bench, 11, 300), 300);
    bench.pass_alive(200, &[11, 12]);
    assert_eq!(granted_s(bench, 12, 300), 300);
    bench.pass_alive(200, &[11, 12]);
    let third = answer(bench, 11, asked(1, 300));
    assert_eq!(third.granted, seconds(200), "400 s are over");
    assert_eq!(third.quiet.unwrap().left, seconds(200));
    bench.write(11, &[ended(1)]);
    assert_eq!(granted_s(bench, 11, 300), 200);
    assert_eq!(changes(bench).len(), 3, "began, ended, began: prolonging is no news");
}

pub(crate) fn the_guest_ends_it_and_keeps_the_rest(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[asked(1, 300)]);
    bench.pass_alive(30, &[11, 12]);
    let answered = answer(bench, 12, ended(1));
    assert_eq!((answered.granted, answered.quiet), (Duration::ZERO, None));
    assert_eq!((bench.vm(1).quiet, told(bench, 11)), (None, None));
    assert_eq!(answer(bench, 11, ended(1)).quiet, None, "twice is no error");
    bench.write(11, &[asked(1, 300)]);
    bench.pass_alive(300, &[11, 12]);
    let quiet = told(bench, 11).unwrap();
    bench.write(11, &[over(&quiet)]);
    assert_eq!(granted_s(bench, 11, 300), 270);
    let lasted = [
        QuietChange::Ended { by_guest: true, lasted: seconds(30) },
        QuietChange::Ended { by_guest: false, lasted: seconds(300) },
    ];
    let news = changes(bench);
    assert!(lasted.iter().all(|ended| news.contains(ended)), "{news:?}");
}

pub(crate) fn a_store_that_was_slow_prolongs_nothing(bench: &mut Bench) {
    bench.started();
    let waited = answer(bench, 11, asked_before(1, 60, seconds(15)));
    assert_eq!((waited.granted, waited.quiet.unwrap().left), (seconds(60), seconds(45)));
    bench.write(11, &[ended(1)]);
    let late = answer(bench, 11, asked_before(1, 60, seconds(61)));
    assert_eq!(late.quiet, None, "over before it could begin");
    // What host monitor 12 could not write for 20 s was said before this.
    bench.write(11, &[asked(1, 100)]);
    let stale = answer(bench, 12, asked_before(1, 30, seconds(20)));
    assert_eq!(stale.quiet.unwrap().left, seconds(100));
    bench.write(12, &[HostMonitorWrite::QuietEnded { vm: vm(1), age: seconds(20) }]);
    assert!(bench.vm(1).quiet.is_some());
}

pub(crate) fn a_clock_that_steps_neither_ends_nor_prolongs_it(bench: &mut Bench) {
    bench.started();
    let quiet = answer(bench, 11, asked(1, 60)).quiet.unwrap();
    bench.step(7200);
    bench.write(12, &[HostMonitorWrite::Heartbeat, missing(1, 19)]);
    bench.write(11, &[HostMonitorWrite::Heartbeat, missing(1, 19)]);
    assert!(bench.vm(1).quiet.is_some());
    assert_eq!((told(bench, 12).unwrap().left, bench.missed(1)), (Duration::ZERO, None));
    bench.step(-14_400);
    assert_eq!(told(bench, 12).unwrap().left, seconds(60), "never more than was granted");
    assert_eq!(bench.missed(1), None);
    let renewed = answer(bench, 12, asked(1, 50)).quiet.unwrap();
    assert!(renewed.sequence > quiet.sequence && renewed.left == seconds(50));
    bench.step(-3600);
    assert_eq!(answer(bench, 11, ended(1)).quiet, None, "ended by the guest, though the clock was set back");
    assert_eq!(bench.vm(1).quiet, None);
    bench.step(-3600);
    // What was spent, in the time that is now the future, is forgotten in an hour.
    assert!(granted_s(bench, 11, 300) > 0);
    bench.write(11, &[ended(1)]);
    bench.step(3601);
    assert_eq!(granted_s(bench, 11, 600), 600);
}

/// It began 7200 s ago and was silent as announced in between; then the clock is set back by this, and it falls silent.
fn counted_300_s_later(bench: &mut Bench, back_s: i64) -> Duration {
    bench.started();
    bench.pass_alive(7200, &[11, 12]);
    bench.write(11, &[asked(1, 60)]);
    bench.write(11, &[ended(1)]);
    bench.step(-back_s);
    bench.write(11, &[HostMonitorWrite::Heartbeat, missing(1, 19)]);
    bench.write(12, &[HostMonitorWrite::Heartbeat, missing(1, 19)]);
    bench.pass_alive(300, &[11, 12]);
    let silent = bench.missed(1).unwrap();
    silent.youngest.saturating_sub(silent.excused)
}

pub(crate) fn a_clock_set_back_behind_its_end_excuses_no_later_silence(bench: &mut Bench) {
    assert_eq!(counted_300_s_later(bench, 3600), seconds(300));
}

pub(crate) fn a_clock_set_back_behind_the_vms_start_excuses_no_later_silence(bench: &mut Bench) {
    assert_eq!(counted_300_s_later(bench, 86_400), seconds(300));
}

pub(crate) fn only_monitored_vms_are_recorded(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    for number in [1, 9] {
        let answered = answer(bench, 11, asked(number, 60));
        assert_eq!(
            (answered.granted, answered.quiet),
            (seconds(60), None),
            "its silence is nobody's concern"
        );
    }
    assert_eq!((told(bench, 11), changes(bench)), (None, vec![]));
    bench.store.vms_start(&[vm(1)]).unwrap();
    assert!(answer(bench, 11, asked(1, 60)).quiet.is_some());
}

pub(crate) fn a_visitor_is_quiet_where_it_is_heard(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    bench.write(21, &[opened(1)]);
    bench.write(21, &[asked(1, 60)]);
    assert!(told(bench, 21).is_some() && told(bench, 11).is_some());
    assert_eq!(told(bench, 22), None, "it never shook hands there");
}

pub(crate) fn its_news_are_told_exactly_once(bench: &mut Bench) {
    let event = |name: &str| NewEvent {
        incident: "quiet".into(),
        name: name.into(),
        severity: Severity::Maintenance,
        entity: "VM".into(),
        resource: "VM : vm1".into(),
        description: "0000-000 text".into(),
    };
    bench.started();
    assert_eq!(bench.store.quiet_news().unwrap(), []);
    bench.write(11, &[asked(1, 60)]);
    let began = bench.store.quiet_news().unwrap().remove(0);
    assert_eq!((began.vm, began.reason.as_str()), (vm(1), "backup"));
    assert_eq!(began.change, QuietChange::Began { granted: seconds(60) });
    bench.write(12, &[ended(1)]);
    assert_eq!(changes(bench).len(), 2, "its end waits behind its beginning");
    assert!(bench.store.quiet_tell(&began, &event("BEGAN")).unwrap());
    assert!(!bench.connect().quiet_tell(&began, &event("BEGAN")).unwrap(), "also not by another controller");
    let over = bench.store.quiet_news().unwrap().remove(0);
    assert!(bench.store.quiet_tell(&over, &event("ENDED")).unwrap());
    let refusals = |bench: &mut Bench| {
        let news = bench.store.quiet_news().unwrap();
        news.into_iter().filter(|news| matches!(news.change, QuietChange::Refused { .. })).collect::<Vec<_>>()
    };
    // What is left after the ten seconds that the first one cost.
    assert_eq!(granted_s(bench, 11, 600), 590);
    assert_eq!(refusals(bench), [], "a shorter one is no refusal");
    bench.pass_alive(590, &[11, 12]);
    bench.write(11, &[ended(1)]);
    for _ in 0..100 {
        bench.write(12, &[asked(1, 60)]);
    }
    let refused = refusals(bench);
    assert_eq!((refused.len(), refused[0].change), (1, QuietChange::Refused { asked: seconds(60) }));
    assert!(bench.store.quiet_tell(&refused[0], &event("REFUSED")).unwrap());
    bench.write(12, &[asked(1, 60)]);
    assert_eq!(refusals(bench), [], "once in an hour");
    let names: Vec<_> = bench.store.events(10).unwrap().into_iter().map(|record| record.event.name).collect();
    assert_eq!(names, ["BEGAN", "ENDED", "REFUSED"]);
}

pub(crate) fn short_ones_do_not_pile_up(bench: &mut Bench) {
    bench.started();
    let mut granted = 0;
    for _ in 0..500 {
        granted += u64::from(granted_s(bench, 11, 1) > 0);
        bench.write(11, &[ended(1)]);
    }
    assert_eq!(granted, 60, "each costs ten seconds of the hour");
    assert!(changes(bench).len() <= 2 * 60 + 1);
    bench.pass_alive(3601, &[11, 12]);
    assert_eq!(granted_s(bench, 11, 300), 300);
}
