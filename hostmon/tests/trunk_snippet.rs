//! `hmmgr trunk snippet`: systemd-networkd makes the very trunk of it that `hmmgr trunk create` makes, and libvirt's own schema
//! takes it. In a network namespace of each test's own.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_protocol::time::Instant;

#[path = "trunk/host.rs"]
#[allow(dead_code, unused_imports)]
mod host;

use host::{Host, ip};

const NETWORKD: &str = "/lib/systemd/systemd-networkd";
/// Reached only if something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn networkd_makes_the_very_same_trunk() {
    if !Path::new(NETWORKD).exists() {
        return eprintln!("SKIPPED: there is no {NETWORKD} here (package systemd)");
    }
    host::run("networkd_makes_the_very_same_trunk", |host| {
        host.ok("create trunkA --mtu 9000");
        // Networkd takes a /sys that cannot be written for a container, and does without udev then.
        sh("mount -o remount,ro,bind /sys");
        sh(
            "mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp",
        );
        sh("chmod -R 777 /run/systemd/netif");
        host.ok("snippet trunkA --for systemd-networkd --write /run/systemd/network");
        let made = links();
        // As after a reboot.
        ip("link delete dev trunkA");
        host.nft("delete table netdev vmpulse-trunkA-hm");
        let mut networkd =
            Command::new(NETWORKD).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let clock = MonotonicClock::start();
        while links() != made && clock.now().since(Instant::ZERO) < PATIENCE {
            std::thread::yield_now();
        }
        networkd.kill().unwrap();
        networkd.wait().unwrap();
        assert_eq!(links(), made);
        // There is no udev here, which would have left the marks; rules are not networkd's.
        let mut changes = host.changes("create trunkA");
        changes.sort();
        assert_eq!(changes, ["made the table vmpulse-trunkA-hm", "marked trunkA", "marked trunkA-hm"]);
        host.ok("check");
    });
}

/// Both sides, without what differs each time: the address of the guests' side, which nobody speaks to.
fn links() -> Vec<Value> {
    let text = ip("-j -d link show");
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut ours: Vec<Value> = Vec::new();
    for link in
        all.iter().filter(|link| link["ifname"].as_str().is_some_and(|name| name.starts_with("trunk")))
    {
        let flags: Vec<&str> = link["flags"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let is = |flag| flags.contains(&flag);
        let mac = link["address"].as_str().filter(|_| link["ifname"] == "trunkA-hm");
        ours.push(serde_json::json!({
            "name": link["ifname"], "other_end": link["link"], "mtu": link["mtu"], "kind": link["linkinfo"]["info_kind"],
            "mac": mac, "ipv6": link["inet6_addr_gen_mode"], "up": is("UP"), "noarp": is("NOARP"), "carrier": is("LOWER_UP"),
        }));
    }
    ours.sort_by_key(|link| link["name"].to_string());
    ours
}

#[test]
fn libvirt_takes_the_interface_and_the_network() {
    if !["virt-xml-validate", "xmllint"].iter().all(|program| Path::new("/usr/bin").join(program).exists()) {
        return eprintln!(
            "SKIPPED: virt-xml-validate is not here (packages libvirt-clients and libxml2-utils)"
        );
    }
    host::run("libvirt_takes_the_interface_and_the_network", |host| {
        host.ok("create trunkA --policing off");
        let answer: Value = serde_json::from_str(&host.ok("snippet trunkA --for libvirt -o json")).unwrap();
        let text = |number: usize| answer["files"][number]["text"].as_str().unwrap().to_owned();
        let domain = |interface: &str| {
            format!(
                "<domain type='kvm'><name>g</name><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os>\
                 <devices>{interface}</devices></domain>"
            )
        };
        assert!(text(0).contains("dev='trunkA' mode='vepa'"));
        validate(&domain(&text(0)), "domain");
        validate(&text(1), "network");
        validate(
            &domain("<interface type='network'><source network='vmpulse-trunkA'/></interface>"),
            "domain",
        );
        let refused =
            std::panic::catch_unwind(|| validate(&domain(&text(0).replace("vepa", "veba")), "domain"));
        assert!(refused.is_err(), "the schema tells a wrong mode");
    });
}

fn validate(xml: &str, schema: &str) {
    std::fs::File::create("/run/it.xml").unwrap().write_all(xml.as_bytes()).unwrap();
    let said = Command::new("virt-xml-validate").args(["/run/it.xml", schema]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

fn sh(line: &str) {
    let said = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(said.status.success(), "{line}: {}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn the_unit_is_one_that_systemd_reads() {
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        return eprintln!("SKIPPED: systemd-analyze is not here (package systemd)");
    }
    host::run("the_unit_is_one_that_systemd_reads", |host: &Host| {
        host.ok("create trunkA --policing off");
        host.ok("snippet trunkA --for systemd --write /run");
        let said =
            Command::new("systemd-analyze").args(["verify", "/run/vmpulse-trunks.service"]).output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        // The program is not installed where tests run; everything else it would say is a fault of the unit.
        let faults: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("vmpulse-trunks") && !line.contains("hmmgr is not executable"))
            .collect();
        assert!(faults.is_empty(), "{text}");
    });
}
