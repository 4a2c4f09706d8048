//! `hmmgr trunk` on real adapters with real rules, in a network namespace of each test's own.
//!
//! Each test runs itself again inside `unshare`, so it needs no root where the kernel allows user namespaces.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::Value;

#[path = "trunk/host.rs"]
mod host;

use host::{Host, frame, ip, send, send_by_tap};

/// Tells which tests run inside a namespace, and makes them run there.
macro_rules! host_test {
    ($(#[$attribute:meta])* fn $name:ident($host:ident: &Host) $body:block) => {
        #[test]
        $(#[$attribute])*
        fn $name() {
            host::run(stringify!($name), |$host| $body);
        }
    };
}

const OURS: u16 = 0x88B5;

host_test! {
    fn made_once_repaired_and_taken_away_whole(host: &Host) {
        let clean = host.state();
        assert!(host.ok("create trunkA --mtu 9000").contains("<source dev='trunkA' mode='vepa'/>"));
        let made = host.state();
        for side in ["trunkA", "trunkA-hm"] {
            let shown = ip(&format!("-d link show dev {side}"));
            for part in ["mtu 9000", "NOARP", "UP", "addrgenmode none", "alias vmpulse trunk trunkA"] {
                assert!(shown.contains(part), "{part} in {shown}");
            }
        }
        assert_eq!(host.changes("create trunkA"), [""; 0]);
        assert_eq!(host.state(), made, "a second time changes nothing");
        host.ok("check trunkA");

        let mac = ip("-br link show dev trunkA-hm");
        ip("link set dev trunkA-hm down");
        ip("link set dev trunkA mtu 1500");
        host.nft("delete table netdev vmpulse-trunkA-hm");
        let (code, said) = host.hmmgr("check");
        assert_eq!((code, said.matches("trunkA: ").count()), (1, 4), "{said}");
        assert_eq!(host.changes("create trunkA").len(), 3);
        host.ok("check");
        ip("link delete dev trunkA");
        host.ok("create --all");
        assert_eq!(ip("-br link show dev trunkA-hm"), mac, "made again it has the address it had");

        // One that cannot be made does not keep the others from it.
        host.ok("create trunkB");
        ip("link delete dev trunkA");
        ip("link delete dev trunkB");
        ip("link add name trunkA type bridge");
        let (code, said) = host.hmmgr("create --all");
        assert!(code == 1 && said.contains("trunkA is taken by bridge"), "{said}");
        host.ok("check trunkB");
        ip("link delete dev trunkA");

        host.ok("delete trunkA");
        host.ok("delete trunkB");
        assert_eq!(host.state(), clean);
        assert_eq!(host.hmmgr("delete trunkA").0, 1);
    }
}

host_test! {
    fn the_monitors_side_may_have_a_namespace_of_its_own(host: &Host) {
        let clean = host.state();
        let said = host.ok("create trunkA --netns vios");
        assert!(said.contains("policing_netns"), "{said}");
        host.ok("create trunkB --netns vios --policing off");
        assert!(ip("-n vios -br link").contains("trunkA-hm") && !ip("-br link").contains("-hm"));
        assert_eq!(host.changes("create trunkA"), [""; 0]);
        host.ok("delete trunkA");
        assert!(ip("netns list").contains("vios"), "trunkB is still in it");
        host.ok("delete trunkB");
        assert_eq!(host.state(), clean);
    }
}

host_test! {
    fn what_is_in_the_way_is_named_and_left(host: &Host) {
        ip("link add name trunkA type veth peer name other");
        let before = host.state();
        let (code, said) = host.hmmgr("create trunkA");
        assert!(code == 1 && said.contains("trunkA is taken by veth"), "{code}: {said}");
        assert_eq!(host.state(), before, "nothing was made and nothing was kept");
        assert!(host.hmmgr("create t --adapter nowhere").1.contains("no adapter nowhere"));
        for (line, code) in [("create trunkB --mtu 12", 2), ("create much-too-long", 2), ("show trunkB", 1)] {
            assert_eq!(host.hmmgr(line).0, code, "{line}");
        }
        host.ok("create trunkB");
        assert_eq!(host.hmmgr("create trunkB --netns vios").0, 2);
        ip("link add link trunkB name macvtap0 type macvtap mode vepa");
        let (code, said) = host.hmmgr("delete trunkB");
        assert!(code == 1 && said.contains("macvtap0"), "{said}");
        host.ok("delete trunkB --force");
        assert_eq!(host.state(), before);
    }
}

host_test! {
    fn strangers_take_nothing_from_those_who_are_known(host: &Host) {
        host.ok("create trunkA --source-rate 10 --source-burst 100 --strangers-rate 10 --strangers-burst 100");
        host.nft("add element netdev vmpulse-trunkA-hm known { 02:00:00:00:00:01, 02:00:00:00:00:02 }");
        let invented = (0..5000_u16).map(|n| frame([2, 9, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]], &[], OURS));
        send("trunkA", invented);
        send("trunkA", (0..80).map(|_| frame([2, 0, 0, 0, 0, 1], &[], OURS)));
        // Tagged or not, a source has one rate.
        send("trunkA", (0..500).map(|_| frame([2, 0, 0, 0, 0, 2], &[0x81, 0, 0, 100], OURS)));
        send("trunkA", (0..500).map(|_| frame([2, 0, 0, 0, 0, 2], &[], OURS)));
        send("trunkA", (0..30).map(|_| frame([2, 0, 0, 0, 0, 1], &[], 0x0806)));
        let count = |name: &str| host.shown("trunkA")["counters"][name].as_u64().unwrap();
        let passed = count("known_passed");
        assert_eq!(passed + count("known_dropped"), 1080);
        assert!((80 + 100..1080 / 2).contains(&passed), "{passed}: all of the one, a burst of the other");
        let strangers = count("strangers_passed");
        assert!((100..2500).contains(&strangers), "{strangers}");
        assert_eq!(strangers + count("strangers_dropped") + count("stranger_source_dropped"), 5000);
        assert!(count("foreign_dropped") >= 30);

        // At the limits as they are, the whole reports of a guest to four monitors meet none.
        host.ok("create trunkB");
        host.nft("add element netdev vmpulse-trunkB-hm known { 02:00:00:00:00:01 }");
        send("trunkB", (0..716).map(|_| frame([2, 0, 0, 0, 0, 1], &[], OURS)));
        let counters = host.shown("trunkB")["counters"].clone();
        assert_eq!((&counters["known_passed"], &counters["known_dropped"]), (&716.into(), &0.into()));

        // Other limits make another table, in which those known are known from the first moment.
        host.ok("create trunkA --source-burst 200");
        assert_eq!(host.shown("trunkA")["known"], 2);
    }
}

host_test! {
    fn a_guests_own_port_lets_only_its_own_address_pass(host: &Host) {
        host.ok("create trunkA --source-rate 10 --source-burst 100");
        ip("link add link trunkA name macvtap0 address 02:00:00:00:00:07 type macvtap mode vepa");
        ip("link set dev macvtap0 up");
        host.ok("port sync trunkA");
        assert_eq!(host.changes("port sync trunkA"), [""; 0]);
        send("macvtap0", (0..50).map(|_| frame([2, 0, 0, 0, 0, 7], &[], OURS)));
        send("macvtap0", (0..50).map(|_| frame([2, 0, 0, 0, 0, 8], &[], OURS)));
        send("macvtap0", (0..500).map(|_| frame([2, 0, 0, 0, 0, 7], &[], OURS)));
        let port = |host: &Host| host.shown("trunkA")["ports"][0].clone();
        assert_eq!(port(host)["dropped_forged"], 50);
        if send_by_tap("macvtap0", (0..50).map(|_| frame([2, 0, 0, 0, 0, 8], &[], OURS))) {
            assert_eq!(port(host)["dropped_forged"], 100);
        } else {
            eprintln!("SKIPPED: frames by the node of a macvtap, which only root can make");
        }
        assert!(port(host)["dropped_over"].as_u64().unwrap() > 250);

        // A tap's own address is not its guest's.
        ip("link add name tap0 type veth peer name guest0");
        assert_eq!(host.hmmgr("port add trunkA tap0").0, 2);
        host.ok("port add trunkA tap0 --mac 02:00:00:00:00:09");
        ip("link set dev tap0 up");
        ip("link set dev guest0 up");
        send("guest0", (0..20).map(|_| frame([2, 0, 0, 0, 0, 8], &[], OURS)));
        // A little of the other end's own IPv6 may be among them.
        assert!(host.shown("trunkA")["ports"][1]["dropped_forged"].as_u64().unwrap() >= 20);

        ip("link delete dev macvtap0");
        assert!(host.hmmgr("check").1.contains("macvtap0 is gone"));
        assert_eq!(host.changes("port sync trunkA"), ["polices the port macvtap0 no more"]);
        host.ok("port remove trunkA tap0");
        host.ok("check");
        let chains = host.nft("list table netdev vmpulse-trunkA-hm");
        assert!(!chains.contains("port-"), "{chains}");
    }
}

host_test! {
    fn frames_from_outside_are_policed_before_the_monitor_hears_them(host: &Host) {
        ip("link add name eth1 type veth peer name wire");
        ip("link set dev eth1 up");
        ip("link set dev wire up");
        let before = host.state();
        host.ok("create trunkA --adapter eth1 --source-rate 1 --source-burst 10");
        assert_eq!(host.changes("create trunkA"), [""; 0]);
        send("wire", (0..500).map(|_| frame([2, 0, 0, 0, 0, 1], &[], OURS)));
        send("wire", (0..10).map(|_| frame([2, 0, 0, 0, 0, 1], &[], 0x0806)));
        let shown = host.shown("trunkA");
        let heard: Value = serde_json::from_str(&ip("-j -s link show dev trunkA-hm")).unwrap();
        let heard = heard[0]["stats64"]["rx"]["packets"].as_u64().unwrap();
        assert!((20..250).contains(&heard), "{heard}: ten frames of others', and a burst of ours");
        assert!(shown["counters"]["stranger_source_dropped"].as_u64().unwrap() > 250, "{shown:#}");
        assert_eq!(shown["libvirt_interface"], Value::Null);
        host.ok("delete trunkA");
        assert_eq!(host.state(), before);
    }
}

host_test! {
    fn in_a_vlan_only_its_frames_reach_the_monitor(host: &Host) {
        host.ok("create trunkA --vlan 100");
        assert_eq!(host.changes("create trunkA"), [""; 0]);
        for (tag, frames) in [(&[0x81, 0, 0, 100][..], 20), (&[0x81, 0, 0, 101], 30), (&[], 40)] {
            send("trunkA", (0..frames).map(|_| frame([2, 0, 0, 0, 0, 1], tag, OURS)));
        }
        let shown = host.shown("trunkA");
        let count = |name: &str| shown["counters"][name].as_u64().unwrap();
        assert_eq!((&shown["vlan"], count("strangers_passed")), (&Value::from(100), 20), "{shown:#}");
        assert!(count("foreign_dropped") >= 70, "{shown:#}");
        assert_eq!(host.hmmgr("create trunkA --vlan 4095").0, 2);
        assert_eq!(host.changes("create trunkA --vlan 0").len(), 1, "another table");

        // On an adapter of the host's own other traffic passes, and ours of another VLAN does not.
        ip("link add name eth1 type veth peer name wire");
        ip("link set dev eth1 up");
        ip("link set dev wire up");
        host.ok("create trunkB --adapter eth1 --vlan 100");
        for (tag, frames) in [(&[0x81, 0, 0, 100][..], 20), (&[0x81, 0, 0, 101], 30), (&[], 40)] {
            send("wire", (0..frames).map(|_| frame([2, 0, 0, 0, 0, 1], tag, OURS)));
        }
        send("wire", (0..10).map(|_| frame([2, 0, 0, 0, 0, 1], &[], 0x0806)));
        let counters = &host.shown("trunkB")["counters"];
        assert_eq!((&counters["strangers_passed"], &counters["foreign_dropped"]), (&Value::from(20), &Value::from(70)));
    }
}

host_test! {
    fn the_daemon_gives_those_a_lane_whom_the_store_names(host: &Host) {
        host.ok("create trunkA --netns vios");
        host.store_a_guest_heard_before("02:00:00:00:00:01");
        let daemon = host.start_daemon("vios");
        host.wait_for("policing with one known guest", |policing| {
            policing["on"] == true && policing["known"] == 1 && policing["counters"]["known_passed"] == 0
        });
        let elements = host.nft("list set netdev vmpulse-trunkA-hm known");
        assert!(elements.contains("02:00:00:00:00:01"), "{elements}");

        host.nft("delete table netdev vmpulse-trunkA-hm");
        host.wait_for("policing to be off with its reason", |policing| {
            policing["on"] == false && policing["reason"].as_str().is_some_and(|why| why.contains("hmmgr trunk create"))
        });
        host.ok("create trunkA");
        host.nft("add element netdev vmpulse-trunkA-hm known { 02:00:00:00:00:77 }");
        host.wait_for("the new table to hold the guest and nobody else", |policing| {
            policing["on"] == true && policing["known"] == 1
        });
        let elements = host.nft("list set netdev vmpulse-trunkA-hm known");
        assert!(elements.contains("02:00:00:00:00:01") && !elements.contains(":77"), "{elements}");
        drop(daemon);
    }
}

host_test! {
    fn a_made_trunk_has_a_canary_that_is_no_guest(host: &Host) {
        host.ok("create trunkA --netns vios --mtu 9000");
        let daemon = host.start_daemon_with("vios", "vlan = 7\n");
        let beats = |status: &Value| status["canary"]["state"] == "beating";
        host.wait_for_status("the canary to beat", beats);
        host.wait_for("the canary to be known", |policing| policing["known"] == 1);
        let shown = ip("-d link show dev trunkA-cy");
        for part in ["mtu 9000", "NOARP", "UP", "mode vepa", "alias vmpulse canary of 5ac3e0dc"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        host.ok("check trunkA");
        assert_eq!(host.changes("port sync trunkA"), [""; 0]);
        assert!(!host.shown("trunkA").to_string().contains("trunkA-cy"));

        // What happens to the monitor's own adapter.
        ip("-n vios link set dev trunkA-hm mtu 8000");
        ip("-n vios link set dev trunkA-hm address 02:00:00:00:00:77");
        host.wait_for_status("the new address to be known", |status| status["mac"] == "02:00:00:00:00:77");
        host.wait_for_status("the canary to beat at the new address", |status| {
            beats(status) && status["isolated"] == false
        });
        ip("-n vios link set dev trunkA-hm down");
        host.wait_for_status("isolation", |status| status["isolated"] == true);
        ip("-n vios link set dev trunkA-hm up");
        host.wait_for_status("its end", |status| beats(status) && status["isolated"] == false);
        assert!(host.node_events("ADAPTER_CHANGED") >= 1);
        assert!(host.node_events("ISOLATED") >= 1);

        // Somebody sets the canary's own down: it is made anew, and nobody takes that for the trunk.
        let isolations = host.node_events("ISOLATED");
        let made = ip("-br link show dev trunkA-cy");
        ip("link set dev trunkA-cy down");
        host.wait_for_status("the canary to be up again", |status| {
            beats(status) && ip("link").lines().any(|line| line.contains("trunkA-cy") && line.contains(",UP"))
        });
        assert_eq!(ip("-br link show dev trunkA-cy").split_whitespace().nth(2), made.split_whitespace().nth(2));
        assert_eq!((host.node_events("ISOLATED"), host.node_events("CANARY_OFF")), (isolations, 1));

        // One that was killed leaves its adapter behind; the next one has a new one.
        let address = || ip("-br link show dev trunkA-cy");
        let old = address();
        drop(daemon);
        assert_eq!(address(), old);
        let _daemon = host.start_daemon_with("vios", "vlan = 7\n");
        host.wait_for_status("the next canary to beat", beats);
        assert_ne!(address(), old);
        host.ok("delete trunkA");
        host.wait_for_status("the canary to have gone with its trunk", |status| {
            status["canary"]["state"] == "off" && !ip("link").contains("trunkA-cy")
        });
    }
}

host_test! {
    fn what_the_guests_stand_on_goes_and_nobody_is_judged(host: &Host) {
        host.ok("create trunkA --netns vios");
        let make = || {
            ip("link add br0 type bridge mcast_snooping 0");
            ip("link set dev br0 up");
        };
        make();
        ip("link set dev trunkA master br0");
        let _daemon = host.start_daemon_with("vios", "canary = \"br0\"\n");
        let trusted = |status: &Value| status["canary"]["state"] == "beating" && status["isolated"] == false;
        let isolated = |status: &Value| status["canary"]["state"] == "off" && status["isolated"] == true;
        host.wait_for_status("the canary to beat", trusted);
        // The adapter may have got its carrier after the start.
        let events = || ["ADAPTER_DOWN", "ISOLATED"].map(|kind| host.node_events(kind));
        let [downs, isolations] = events();

        // The monitor's own adapter keeps its carrier; the canary goes with the bridge.
        ip("link delete dev br0");
        host.wait_for_status("isolation by what is gone", |status| {
            assert!(status["canary"]["state"] != "off" || status["isolated"] == true, "guests are judged: {status:#}");
            isolated(status)
        });
        make();
        ip("link set dev trunkA master br0");
        host.wait_for_status("the canary to beat on the next one", trusted);

        // Down, and somebody removes the canary from it meanwhile.
        ip("link set dev br0 down");
        ip("link delete dev trunkA-cy");
        host.wait_for_status("isolation by what is down", isolated);
        ip("link set dev br0 up");
        host.wait_for_status("the canary to beat again", trusted);

        // Made anew at once, and nothing is connected to it yet.
        ip("link delete dev br0");
        make();
        host.wait_for_status("the canary to be up and not heard", |status| {
            status["canary"]["state"] == "starting" && status["isolated"] == true
        });
        ip("link set dev trunkA master br0");
        host.wait_for_status("the canary to beat again", trusted);
        assert_eq!(events(), [downs, isolations + 3]);
    }
}
