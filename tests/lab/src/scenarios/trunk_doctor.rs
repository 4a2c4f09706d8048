//! `hmmgr doctor` on a host that is well, and on one with each fault after the other: each is found by its name, and nothing else
//! is; when it is mended nothing is found any more.

use std::time::Duration;

use serde_json::Value;

use super::Scenario;
use crate::daemons::{Chain, Plan, text_of};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::process::{self, Place, Said, sh};
use crate::wait::{self, Stopwatch};
use crate::workspace::{make_dir, write};
use crate::world::{self, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "trunk-doctor",
    about: "hmmgr doctor finds each fault of a trunk by its name, and nothing on a host that is well",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// What is said of the machine's own clock is not the world's.
const WITHOUT_CLOCK: &[&str] = &["--without", "clock"];
const FAILED: i32 = 1;

/// A fault: what makes it, what mends it, and what must be found of it.
struct Fault {
    makes: &'static [&'static str],
    mends: &'static [&'static str],
    /// All that is to be found, the fault itself first.
    findings: &'static [&'static str],
}

/// On trunk A, in the host's namespace, whatever carries guests in this world.
const FAULTS: [Fault; 9] = [
    Fault {
        makes: &["ip link set dev trunkA-hm mtu 1400"],
        mends: &["ip link set dev trunkA-hm mtu 1500"],
        findings: &["mtu"],
    },
    Fault {
        makes: &["ip link set dev trunkA arp on"],
        mends: &["ip link set dev trunkA arp off"],
        findings: &["adapter"],
    },
    Fault {
        makes: &["ip addr add 192.0.2.1/24 dev trunkA-hm"],
        mends: &["ip addr del 192.0.2.1/24 dev trunkA-hm"],
        findings: &["ip-address"],
    },
    Fault {
        makes: &["ip link add link trunkA name bad0 type macvlan mode bridge"],
        mends: &["ip link del bad0"],
        findings: &["bridge-mode"],
    },
    Fault {
        makes: &["nft add table netdev vmpulse-gone-hm", "nft add chain netdev vmpulse-gone-hm known"],
        mends: &["nft delete table netdev vmpulse-gone-hm"],
        findings: &["policing-stale"],
    },
    Fault {
        makes: &[
            "mkdir -p /etc/vmpulse/keys",
            "chmod 755 /etc/vmpulse/keys",
            "chown 12345 /etc/vmpulse/keys",
        ],
        mends: &["rm -r /etc/vmpulse/keys"],
        findings: &["keys-unusable"],
    },
    Fault {
        makes: &[
            "nft flush chain netdev vmpulse-trunkA-hm police",
            "nft delete chain netdev vmpulse-trunkA-hm police",
        ],
        mends: &["hmmgr trunk create trunkA"],
        findings: &["policing"],
    },
    Fault {
        makes: &[
            "ip link add br0 type bridge",
            "ip link set br0 up",
            "ip link set trunkA-hm master br0",
            "bridge link set dev trunkA-hm hairpin on",
        ],
        mends: &["ip link del br0"],
        findings: &["reflects"],
    },
    Fault {
        makes: &[
            "nft add table netdev drops",
            "nft add chain netdev drops out { type filter hook egress device \"trunkA\" priority -10 ; policy drop ; }",
        ],
        mends: &["nft delete table netdev drops"],
        // The canary does not get through either.
        findings: &["not-probed", "not-heard"],
    },
];

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan { policed: true, pseudo_guests: 2, ..Plan::default() })?;
    chain.register_and_wait()?;
    let watch = Stopwatch::start();
    nothing_is_found(&chain)?;
    report.figure(format!("two trunks that are well: nothing found, in {:.1} s", watch.seconds()));
    the_clock_is_told_as_it_is(&chain, report)?;
    // On a port of a bridge, which carries trunks where we are not root, no macvlan can stand.
    let macvlans = chain.world.kit().real_root;
    for fault in FAULTS.iter().filter(|fault| macvlans || !fault.findings.contains(&"bridge-mode")) {
        make(&chain, fault.makes)?;
        let made = found_until(&chain, WITHOUT_CLOCK, fault.findings);
        make(&chain, fault.mends)?;
        made?;
    }
    nothing_is_found_soon(&chain)?;
    report.figure(format!("{} faults of trunk and host made, found, mended", FAULTS.len()));

    guests_port_in_a_bridge(&chain)?;
    without_capabilities(&chain)?;
    around_the_trunk(&mut chain)?;
    nothing_is_left(&chain)?;
    chain.still_runs()
}

/// As an administrator runs it, in the host's namespace, with the settings of the monitor of trunk A.
fn doctor(chain: &Chain, words: &[&str]) -> Lab<Said> {
    process::run(command(chain, &[], words)?)
}

fn command(chain: &Chain, before: &[&str], words: &[&str]) -> Lab<std::process::Command> {
    let monitor = chain.monitor(0)?;
    let program = chain.world.kit().program("hmmgr");
    let place = Place::net("host");
    let mut command = match before {
        [] => place.command(&program),
        [first, rest @ ..] => {
            let mut command = place.command(first);
            command.args(rest).arg(&program);
            command
        }
    };
    command.arg("--settings").arg(monitor.settings()).args(["-o", "json", "doctor"]).args(words);
    Ok(command)
}

fn findings(said: &Said) -> Lab<Vec<String>> {
    let answer: Value = serde_json::from_str(&said.stdout)
        .map_err(|error| LabError::Unexpected(format!("`{}`: {error}: {}", said.command, said.text())))?;
    let all = answer.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
    let code = if all.is_empty() { Some(0) } else { Some(FAILED) };
    expect(said.code() == code, || {
        format!("`{}` ended with {:?}: {}", said.command, said.code(), said.text())
    })?;
    Ok(all.iter().map(|finding| text_of(finding, "finding")).collect())
}

fn nothing_is_found(chain: &Chain) -> Lab<()> {
    let said = doctor(chain, WITHOUT_CLOCK)?;
    expect(findings(&said)?.is_empty(), || format!("a host that is well: {}", said.text()))
}

/// Monitors look at their rules every five seconds.
fn nothing_is_found_soon(chain: &Chain) -> Lab<()> {
    let read = || Ok(doctor(chain, WITHOUT_CLOCK)?.text());
    wait::until_text(LIMIT, "nothing to be found any more", read, |text| text.contains("\"ok\": true"))
        .map(drop)
}

/// Exactly this: what follows from it of itself, as that the monitor does not find rules that are gone, has the same name.
fn found_until(chain: &Chain, words: &[&str], wanted: &[&str]) -> Lab<()> {
    let mut last = String::new();
    let found =
        wait::until(LIMIT, &format!("{} to be found, and nothing else", wanted.join(" and ")), || {
            let said = doctor(chain, words)?;
            let found = findings(&said)?;
            last = said.text();
            let all = wanted.iter().all(|one| found.iter().any(|found| found == one));
            Ok((all && found.iter().all(|one| wanted.contains(&one.as_str()))).then_some(()))
        });
    found.map_err(|error| error.seen_last(|| last))
}

fn make(chain: &Chain, lines: &[&str]) -> Lab<()> {
    for line in lines {
        match line.strip_prefix("hmmgr ") {
            Some(words) => {
                let mut command = Place::net("host").command(chain.world.kit().program("hmmgr"));
                command.args(words.split(' '));
                process::run(command)?.ok()?;
            }
            None => drop(sh(&Place::net("host"), line)?),
        }
    }
    Ok(())
}

/// What the kernel says, and nothing else: this machine may have no NTP.
fn the_clock_is_told_as_it_is(chain: &Chain, report: &mut Report) -> Lab<()> {
    let said = doctor(chain, &[])?;
    let found = findings(&said)?;
    expect(found.iter().all(|one| one == "clock-unsynchronised"), || said.text())?;
    report.figure(format!(
        "this machine's clock: {}",
        if found.is_empty() { "in step" } else { "not kept in step, found" }
    ));
    Ok(())
}

/// A bridge carries trunk B: a port that is not isolated is found, and hairpin at the other end by frames that come back.
fn guests_port_in_a_bridge(chain: &Chain) -> Lab<()> {
    make(
        chain,
        &[
            "hmmgr trunk create trunkC",
            "ip link add brC type bridge mcast_snooping 0",
            "ip link set brC up",
            "ip link set trunkC master brC",
            "ip link add tap0 type veth peer name tap0x",
            "ip link set tap0 master brC",
            "bridge link set dev tap0 isolated on",
        ],
    )?;
    let words = ["trunkC", "--without", "clock,daemon"];
    let well = doctor(chain, &words)?;
    expect(findings(&well)?.is_empty(), || format!("a bridge that is well: {}", well.text()))?;
    make(chain, &["bridge link set dev tap0 isolated off"])?;
    found_until(chain, &words, &["bridge-port"])?;
    make(
        chain,
        &[
            "bridge link set dev tap0 isolated on",
            "ip link add brD type bridge",
            "ip link set brD up",
            "ip link set trunkC-hm master brD",
            "bridge link set dev trunkC-hm hairpin on",
        ],
    )?;
    found_until(chain, &words, &["reflects"])?;
    found_until(chain, &["trunkC", "--without", "clock,probe"], &["daemon"])?;
    make(chain, &["ip link del brD", "ip link del brC", "ip link del tap0", "hmmgr trunk delete trunkC"])
}

/// Root without capabilities is told which.
fn without_capabilities(chain: &Chain) -> Lab<()> {
    let before = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"];
    let said = process::run(command(chain, &before, WITHOUT_CLOCK)?)?;
    let found = findings(&said)?;
    let named = said.text().contains("CAP_NET_RAW") && !said.text().contains("without CAP_NET_ADMIN");
    expect(found.contains(&"no-permission".to_string()) && named, || said.text())
}

/// The store is gone or another version's; the monitor is set otherwise than its trunk, and then does not run.
fn around_the_trunk(chain: &mut Chain) -> Lab<()> {
    let folder = make_dir(world::dir("store-of-another"))?;
    let missing = format!("sqlite://{}/none.db", folder.display());
    let store = |url: &str| -> Lab<Vec<String>> {
        let mut command = command(chain, &[], &["--store", url])?;
        command.args(WITHOUT_CLOCK);
        findings(&process::run(command)?)
    };
    let is =
        |found: Vec<String>, wanted: &str| expect(found == [wanted], || format!("{found:?} is not {wanted}"));
    is(store(&missing)?, "store-missing")?;
    let file = folder.join("other.db");
    write(&file, "this is no store, and is longer than the sixteen bytes that a store begins with")?;
    is(store(&format!("sqlite://{}", file.display()))?, "store-unreachable")?;
    is(store("postgresql://nobody@127.0.0.1:1/none?sslmode=disable")?, "store-unreachable")?;

    make(chain, &["hmmgr trunk create trunkA --vlan 100"])?;
    found_until(chain, &["trunkA", "--without", "clock"], &["settings-differ"])?;
    make(chain, &["hmmgr trunk create trunkA --vlan 0"])?;
    chain.monitor_mut(0)?.crash()?;
    found_until(chain, WITHOUT_CLOCK, &["daemon"])?;
    chain.monitor_mut(0)?.restart()?;
    nothing_is_found_soon(chain)
}

/// Ports that frames were sent from are gone, and no guest was called silent for any of this but where its trunk was cut.
fn nothing_is_left(chain: &Chain) -> Lab<()> {
    let links = sh(&Place::net("host"), "ip -br link")?;
    expect(!links.contains("vmdr"), || format!("a port was left:\n{links}"))?;
    chain.wait_until_beating(LIMIT)
}
