//! How a wire gets into a path that is in use, and out of it.
//!
//! ```text
//!            guests' end                                monitor's end
//!   guests ----> trunkA ==========(nothing changed)========== trunkA-hm ----> monitor
//!                  |   ^                                       |   ^
//!        rule:     v   | with                         rule:    v   | with
//!        no mark  tap  | a mark                       no mark tap  | a mark
//!                  |   |                                       |   |
//!                  +-> line (up) -+                            +-> line (down)
//! ```
//! Where frames leave an end of the trunk, a rule of nftables (`fwd`, hook egress) gives those without our mark to a tap device of
//! this process, which sends out by the same end, marked, what it lets pass. The trunk's devices keep their names, addresses, MTU and
//! state, nobody's socket notices anything, and policing judges a frame after the wire, as if the wire were the guest.
//!
//! # Nothing is left behind
//! The table of the rule is owned by a process (`flags owner`) that ends when this one does, and the kernel removes it then; so it does
//! with the tap. A wire that is killed is a wire that is out of the path: frames pass as if it had never been.
//!
//! # Several wires
//! Each class has a stage. A rule lets pass what bears the mark of its own stage or of a later one, and stages are asked in their order,
//! so a frame goes through every wire once.

use std::process::{Child, Stdio};
use std::time::Duration;

use tokio::runtime::Handle;
use vmpulse_link::{FramePort, LinkError, Tap};

use super::netns::{nowhere, there, within};
use super::programs::{command, run};
use super::trunk::{End, interface};
use crate::error::{Inject, InjectError};
use crate::wait;

/// The mark of stage 0: "vmp", so that it is nobody else's.
const MARK: u32 = 0x766d_7000;
/// More stages than there are classes.
const STAGES: u32 = 16;
/// Before the rules of `hmmgr` (priority 0), which then see what the wire lets pass.
const PRIORITY: i32 = -500;
/// Frames that may wait for this process in the kernel: what comes while it is not run for 400 ms at 20,000 a second.
const TAP_QUEUE: &str = "8192";
/// How long nft may take; far more than it ever does.
const PATIENCE: Duration = Duration::from_secs(10);

/// The place of a class among the wires of one trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage(pub u8);

impl Stage {
    fn mark(self) -> u32 {
        MARK + u32::from(self.0)
    }

    /// The tap of an end: as `vi-20u`, unique in its namespace.
    fn tap(self, end: &End) -> String {
        format!("vi-{}{}{}", self.0, end.number, if end.way.word() == "up" { 'u' } else { 'd' })
    }

    fn table(self, end: &End) -> String {
        format!("vmpulse-inject-{}", self.tap(end))
    }

    fn script(self, end: &End) -> String {
        let (table, tap, device) = (self.table(end), self.tap(end), &end.interface);
        let (priority, first, last) = (PRIORITY + i32::from(self.0), self.mark(), MARK + STAGES - 1);
        format!(
            "add table netdev {table} {{ flags owner; }}\n\
             add chain netdev {table} out {{ type filter hook egress device \"{device}\" priority {priority}; policy accept; }}\n\
             add rule netdev {table} out meta mark {first}-{last} accept\n\
             add rule netdev {table} out fwd to \"{tap}\"\n"
        )
    }
}

/// Whether this kernel can, tried where nobody sees it.
///
/// # Errors
/// `Unsupported`, with what is missing.
pub fn check_kernel() -> Inject<()> {
    let unsupported = |error: InjectError| {
        InjectError::Unsupported(format!(
            "this machine cannot divert frames: {error} (Linux 5.16 or later with nftables' netdev family and /dev/net/tun is needed)"
        ))
    };
    let runtime = runtime()?;
    let handle = runtime.handle().clone();
    run("ip", &["-V"]).map_err(unsupported)?;
    nowhere(move || {
        let _inside = handle.enter();
        let end = End {
            trunk: "try".to_owned(),
            number: 0,
            way: super::Way::Up,
            interface: "lo".to_owned(),
            netns: None,
        };
        let stage = Stage(0);
        let _tap = Tap::create(&stage.tap(&end)).map_err(link)?;
        Rule::make(&end, stage).map(drop)
    })
    .map_err(unsupported)
}

/// A runtime on this thread.
///
/// # Errors
/// The system's.
pub fn runtime() -> Inject<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(InjectError::os("cannot make a runtime"))
}

/// A diverted end: frames that leave it come out of `tap`, and go on by `port`.
#[derive(Debug)]
pub struct Diverted {
    /// What left the end.
    pub tap: Tap,
    /// By which it goes on.
    pub port: FramePort,
    /// The rule; frames pass by themselves when it is closed.
    pub rule: Rule,
}

/// Diverts what leaves an end.
///
/// # Errors
/// The system's; everything is as it was then.
pub fn divert(end: &End, stage: Stage) -> Inject<Diverted> {
    let handle = Handle::current();
    within(end.netns.as_deref(), || {
        let _inside = handle.enter();
        let name = stage.tap(end);
        let tap = Tap::create(&name).map_err(link)?;
        // The kernel would say something of its own on it. A kernel without IPv6 has no such file.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        run("ip", &["link", "set", "dev", &name, "txqueuelen", TAP_QUEUE, "arp", "off", "up"])?;
        let port = FramePort::sender(&end.interface, Some(stage.mark())).map_err(link)?;
        Ok(Diverted { tap, port, rule: Rule::make(end, stage)? })
    })
}

/// The rule that diverts, for as long as this value lives.
#[derive(Debug)]
pub struct Rule {
    nft: Child,
}

impl Rule {
    fn make(end: &End, stage: Stage) -> Inject<Rule> {
        let mut owner = command("nft");
        // It reads commands until its input ends, and its tables end with it. What it has to say goes to our log.
        owner.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null());
        let nft = owner.spawn().map_err(InjectError::os("cannot run nft"))?;
        let mut rule = Rule { nft };
        rule.tell(&stage.script(end))?;
        wait::until("nft makes its rule", PATIENCE, || Ok(!rule.lives()? || rule_stands(end, stage)?))?;
        if rule.lives()? { Ok(rule) } else { Err(InjectError::Failed("nft ended at once.".to_owned())) }
    }

    fn tell(&mut self, script: &str) -> Inject<()> {
        use std::io::Write;
        let Some(pipe) = self.nft.stdin.as_mut() else { return Ok(()) };
        pipe.write_all(script.as_bytes())
            .and_then(|()| pipe.flush())
            .map_err(InjectError::os("cannot tell nft its rule"))
    }

    /// Whether its owner still runs.
    ///
    /// # Errors
    /// The system's.
    pub fn lives(&mut self) -> Inject<bool> {
        let ended = self.nft.try_wait().map_err(InjectError::os("cannot look after nft"))?;
        Ok(ended.is_none())
    }

    /// Takes it away; frames pass by themselves when this returns.
    ///
    /// # Errors
    /// When nft does not end.
    pub fn close(mut self) -> Inject<()> {
        drop(self.nft.stdin.take());
        wait::until("nft ends", PATIENCE, || self.lives().map(|lives| !lives))
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        let _ = self.nft.kill();
        let _ = self.nft.wait();
    }
}

/// What there is of a wire at an end: its tap, its rule.
///
/// # Errors
/// When it cannot be known.
pub fn standing(end: &End, stage: Stage) -> Inject<Vec<String>> {
    if !there(end.netns.as_deref()) {
        return Ok(Vec::new());
    }
    within(end.netns.as_deref(), || {
        let mut there = Vec::new();
        if interface(&stage.tap(end))?.is_some() {
            there.push(format!("the device {}", stage.tap(end)));
        }
        if table_stands(end, stage)? {
            there.push(format!("the table {}", stage.table(end)));
        }
        Ok(there)
    })
}

/// Frames that the kernel dropped because too many waited for this process.
#[must_use]
pub fn dropped_before(end: &End, stage: Stage) -> u64 {
    let told = within(end.netns.as_deref(), || run("ip", &["-j", "-s", "link", "show", &stage.tap(end)]));
    let told: serde_json::Value =
        told.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    told.pointer("/0/stats64/tx/dropped").and_then(serde_json::Value::as_u64).unwrap_or_default()
}

/// Takes away what a killed wire could have left, which is nothing where the kernel does as it should.
///
/// # Errors
/// What could not be taken away.
pub fn sweep(end: &End, stage: Stage) -> Inject<()> {
    if !there(end.netns.as_deref()) {
        return Ok(());
    }
    within(end.netns.as_deref(), || {
        if table_stands(end, stage)? {
            run("nft", &["delete", "table", "netdev", &stage.table(end)])?;
        }
        if interface(&stage.tap(end))?.is_some() {
            run("ip", &["link", "delete", "dev", &stage.tap(end)])?;
        }
        Ok(())
    })
}

/// In this thread's namespace.
fn table_stands(end: &End, stage: Stage) -> Inject<bool> {
    let tables = run("nft", &["list", "tables", "netdev"])?;
    let line = format!("table netdev {}", stage.table(end));
    Ok(tables.lines().any(|one| one.trim() == line))
}

/// The rule is the last thing that is made.
fn rule_stands(end: &End, stage: Stage) -> Inject<bool> {
    let rules = || run("nft", &["list", "table", "netdev", &stage.table(end)]);
    Ok(table_stands(end, stage)? && rules().is_ok_and(|rules| rules.contains("fwd to")))
}

fn link(error: LinkError) -> InjectError {
    if let LinkError::Io { action, interface, source } = error {
        return InjectError::Os { what: format!("cannot {action} {interface}"), source };
    }
    InjectError::Failed(format!("{error}."))
}
