//! Path classes on a trunk.

use vmpulse_inject::wait;
use vmpulse_inject::wire::netns::within;
use vmpulse_link::{FrameBuffer, FramePort};

use super::accounts::Passing::{Counted, Dropped};
use super::{HEADER, PATIENCE, all, inside, none, run};

#[test]
fn a_wire_without_faults_passes_everything_and_leaves_no_trace() {
    inside("paths::a_wire_without_faults_passes_everything_and_leaves_no_trace", |bed| {
        let before = bed.traces();
        let on = bed.good("wire on --group rehearsal --trunk tk");
        assert!(on.contains("nothing goes wrong"), "{on}");
        bed.all_pass();
        assert!(bed.good("wire on --group rehearsal --trunk tk").contains("already"));
        let largest = [&HEADER[..], &[7; 1400]].concat();
        bed.guests.send(&largest).unwrap();
        let mut buffer = FrameBuffer::new();
        wait::until("the largest frame passes", PATIENCE, || {
            Ok(bed.monitor.receive(&mut buffer).unwrap().is_some_and(|got| got == largest))
        })
        .unwrap();
        wait::until("the wire counts them", PATIENCE, || {
            Ok(bed
                .good("wire status")
                .contains("tk up: taken 401, passed 401; tk down: taken 400, passed 400"))
        })
        .unwrap();
        bed.good("wire off");
        assert_eq!(bed.traces(), before);
        bed.all_pass();
    });
}

#[test]
fn all_classes_at_once_each_do_their_part_and_go_one_by_one() {
    inside("paths::all_classes_at_once_each_do_their_part_and_go_one_by_one", |bed| {
        let before = bed.traces();
        bed.good("path-delay on --group rehearsal --trunk tk --delay 5..20");
        bed.good("path-loss on --group rehearsal --trunk tk --loss 200 --way up");
        bed.good("path-duplicate on --group rehearsal --trunk tk --duplicate 300");
        let [up, down] = bed.exchange();
        let distinct = |came: &[u32]| came.iter().copied().collect::<std::collections::BTreeSet<_>>().len();
        assert!((200..390).contains(&distinct(&up)), "{}", distinct(&up));
        assert_eq!(distinct(&down), all().len(), "nothing is lost on the way down");
        assert!((450..600).contains(&down.len()), "{}", down.len());
        assert!(!down.is_sorted(), "a delay that varies changes the order");
        bed.good("path-delay off");
        bed.good("path-duplicate off");
        let [up, down] = bed.exchange();
        assert!(up.len() < 390 && up.is_sorted() && down == all());
        bed.good("path-loss off");
        assert_eq!(bed.traces(), before);
        bed.all_pass();
    });
}

#[test]
fn settings_change_while_a_wire_runs_and_mistakes_in_them_are_told() {
    inside("paths::settings_change_while_a_wire_runs_and_mistakes_in_them_are_told", |bed| {
        bed.good("path-loss on --group rehearsal --trunk tk --loss 1000");
        assert_eq!(bed.exchange(), [none(), none()]);
        let settings = bed.state().join("path-loss.settings");
        std::fs::write(&settings, r#"{"cut": "down"}"#).unwrap();
        let so = |text: &str| {
            let told = || Ok(bed.good("path-loss status").contains(text));
            wait::until(text, PATIENCE, told).unwrap();
        };
        so("cut down");
        assert_eq!(bed.exchange(), [all(), none()]);
        std::fs::write(&settings, r#"{"loss_per_mille": 5000}"#).unwrap();
        so("was not taken: loss_per_mille is 5000");
        assert_eq!(bed.exchange(), [all(), none()]);
        bed.good("path-loss off");
        bed.all_pass();
    });
}

#[test]
fn a_wire_that_is_killed_is_out_of_the_path() {
    inside("paths::a_wire_that_is_killed_is_out_of_the_path", |bed| {
        let before = bed.traces();
        bed.good("path-loss on --group rehearsal --trunk tk --loss 1000");
        let wires = vmpulse_inject::process::all()
            .into_iter()
            .filter(|one| one.words().contains(&"worker".to_owned()));
        wires.for_each(|wire| wire.kill().unwrap());
        wait::until("rules and devices go", PATIENCE, || {
            Ok(bed.traces().0 == before.0 && bed.traces().1 == before.1)
        })
        .unwrap();
        bed.all_pass();
        assert!(bed.good("path-loss status").contains("OFF"));
        bed.good("path-loss off");
        assert_eq!(bed.traces(), before);
    });
}

#[test]
fn what_is_held_back_goes_out_when_the_wire_ends() {
    inside("paths::what_is_held_back_goes_out_when_the_wire_ends", |bed| {
        bed.good("path-delay on --group rehearsal --trunk tk --delay 60000 --keep-order");
        assert_eq!(bed.send_all(), [none(), none()]);
        wait::until("the wire counts them", PATIENCE, || {
            Ok(bed.good("path-delay status").matches("waiting 400").count() == 2)
        })
        .unwrap();
        assert_eq!(bed.receive([0, 0]), [none(), none()]);
        bed.good("path-delay off");
        assert_eq!(bed.receive([all().len(); 2]), [all(), all()]);
    });
}

#[test]
fn the_monitors_end_may_be_in_a_namespace_of_its_own() {
    inside("paths::the_monitors_end_may_be_in_a_namespace_of_its_own", |bed| {
        run("ip", "netns add mon");
        let silent = || {
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            Ok(())
        };
        within(Some("mon"), silent).unwrap();
        run("ip", "link del tk");
        run("ip", "link add tk type veth peer name monitor netns mon");
        run("ip", "-n mon link set monitor up");
        run("ip", "link set tk up");
        run("ip", "link add link tk name g1 address 52:54:00:00:00:01 type macvlan mode vepa");
        run("ip", "link set g1 up");
        let handle = tokio::runtime::Handle::current();
        let monitor = within(Some("mon"), || {
            let _inside = handle.enter();
            Ok(FramePort::open("monitor").unwrap())
        });
        let bed = bed.with_monitor(monitor.unwrap());
        bed.settle();
        let place = "--trunk tk --monitor-end monitor --monitor-netns mon";
        let rules = || run("ip", "netns exec mon nft list ruleset");
        bed.good(&format!("path-loss on --group rehearsal {place} --loss 1000"));
        assert!(rules().contains("vi-10d"), "{}", rules());
        assert_eq!(bed.exchange(), [none(), none()]);
        bed.good("path-loss off");
        bed.all_pass();
        bed.good(&format!("path-cut on --group rehearsal {place} --how link-down"));
        bed.good("path-cut off");
        assert_eq!(rules(), "");
    });
}

#[test]
fn a_trunk_that_is_removed_ends_its_wire() {
    inside("paths::a_trunk_that_is_removed_ends_its_wire", |bed| {
        bed.good("wire on --group rehearsal --trunk tk");
        run("ip", "link del tk");
        let over = || Ok(bed.good("wire status").trim_end().ends_with("OFF"));
        wait::until("the wire ends", PATIENCE, over).unwrap();
        bed.good("wire off");
        let (links, tables, files) = bed.traces();
        assert!(!links.contains("vi-") && tables.is_empty() && files.is_empty(), "{links}{tables}{files:?}");
    });
}

#[test]
fn a_cut_path_carries_nothing_the_ways_that_were_asked() {
    inside("paths::a_cut_path_carries_nothing_the_ways_that_were_asked", |bed| {
        let before = bed.traces();
        for (options, passing) in [
            ("", [Dropped, Dropped]),
            ("--way up", [Dropped, Counted]),
            ("--way down", [Counted, Dropped]),
            ("--how link-down", [Dropped, Dropped]),
        ] {
            bed.good(&format!("path-cut on --group rehearsal --trunk tk {options}"));
            let mut buffer = FrameBuffer::new();
            if options.contains("link-down") {
                // An adapter that goes down says so once, at both ends.
                let _ = bed.guests.receive(&mut buffer);
                let _ = bed.monitor.receive(&mut buffer);
                let up = run("ip", "-o link show tk-hm");
                assert!(!up.contains(",UP"), "{up}");
            } else {
                let came = passing.map(|way| if way == Counted { all() } else { none() });
                assert_eq!(bed.exchange_by(passing), came, "{options}");
            }
            bed.good("path-cut off");
            wait::until("the devices are as before", PATIENCE, || Ok(bed.traces() == before)).unwrap();
            bed.settle();
            bed.all_pass();
        }
    });
}

#[test]
fn what_is_no_trunk_of_the_group_is_not_touched() {
    inside("paths::what_is_no_trunk_of_the_group_is_not_touched", |bed| {
        run("ip", "link add other type veth peer name other-hm");
        let before = bed.traces();
        let refused = |words: &str, code: i32, text: &str| {
            let output = bed.inject(words);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{words}: {said}");
            assert!(said.contains(text), "{words}: {said}");
            assert_eq!(bed.traces(), before);
        };
        refused("path-loss on --group rehearsal --trunk other", 77, "--target trunk:other");
        refused("path-cut on --group production --trunk tk", 77, "marked for the group rehearsal");
        refused("path-loss on --group rehearsal --trunk tk --loss 2000", 2, "loss_per_mille");
        refused("path-delay on --group rehearsal --trunk tk --delay soon", 2, "FROM..TO");
        refused("path-loss on --group rehearsal", 2, "--trunk");
        run("ip", "addr add 10.9.9.9/24 dev tk");
        refused("path-cut on --group rehearsal --trunk tk", 77, "IP address");
    });
}

#[test]
fn nobody_waits_for_a_cut_that_the_monitor_cannot_notice() {
    inside("paths::nobody_waits_for_a_cut_that_the_monitor_cannot_notice", |bed| {
        let ends = |options: &str, code: i32| {
            let before = bed.traces();
            // There is no store: what may be expected is made, and cannot be judged.
            let words =
                format!("path-cut on --group rehearsal --trunk tk --expect --hamgr /nonexistent {options}");
            let output = bed.inject(&words);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{words}: {said}");
            assert_eq!(said.contains("expected: VIOS_ISOLATED within 30 s"), code == 75, "{said}");
            assert_eq!(bed.traces() == before, code == 2, "{words}");
            if code != 2 {
                bed.good("path-cut off");
            }
        };
        for options in ["", "--way up", "--way down"] {
            ends(options, 2);
        }
        ends("--how link-down", 75);
        run("ip", "link add link tk name tk-cy type macvlan mode vepa");
        let alias =
            ["link", "set", "tk-cy", "alias", "vmpulse canary of 7e57ab1e-0002-4000-8000-000000000041"];
        assert!(std::process::Command::new("ip").args(alias).status().unwrap().success());
        ends("", 75);
        ends("--way up", 75);
        ends("--way down", 2);
        let made =
            bed.inject("path-cut on --group rehearsal --trunk tk --way down --expect --expect-watch 1");
        assert_eq!(made.status.code(), Some(75), "what must not come can be watched for");
        bed.good("path-cut off");
    });
}
