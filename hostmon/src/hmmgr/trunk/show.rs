//! Trunks as they are shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use vmpulse_local::exit::Exit;

use super::{Output, print};
use crate::trunk_setup::TrunkError;
use crate::trunk_setup::plan::{Adapter, Limits, Port, TrunkPlan};
use crate::trunk_setup::rules;
use crate::trunk_setup::work::{Done, View, Works};

const NONE_MADE: &str = "no trunk was made here; `hmmgr trunk create NAME` makes one\n";

/// A trunk, as `-o json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a Adapter,
    guests_adapter: &'a Adapter,
    monitor_adapter: String,
    netns: Option<&'a Adapter>,
    mac: Option<String>,
    mtu: u32,
    ethertype: String,
    /// VLAN that it is carried in.
    vlan: Option<u16>,
    /// Nothing is wrong.
    ok: bool,
    wrong: &'a [String],
    remarks: &'a [String],
    /// Limits that the kernel enforces; none: it does not.
    policing: Option<&'a Limits>,
    known: usize,
    counters: &'a BTreeMap<String, u64>,
    ports: Vec<ShownPort<'a>>,
    /// None where guests are connected elsewhere.
    libvirt_interface: Option<String>,
}

#[derive(Serialize)]
struct ShownPort<'a> {
    adapter: &'a Adapter,
    mac: String,
    dropped_forged: u64,
    dropped_over: u64,
}

impl<'a> Shown<'a> {
    fn new(plan: &'a TrunkPlan, view: &'a View) -> Self {
        Self {
            name: &plan.name,
            guests_adapter: plan.guests_adapter(),
            monitor_adapter: plan.monitor_adapter(),
            netns: plan.netns.as_ref(),
            mac: plan.mac.map(|mac| mac.to_string()),
            mtu: plan.mtu,
            ethertype: format!("{:#06x}", plan.ethertype),
            vlan: plan.vlan,
            ok: view.wrong.is_empty(),
            wrong: &view.wrong,
            remarks: &view.remarks,
            policing: plan.policing.as_ref(),
            known: view.known,
            counters: &view.counters,
            ports: plan.ports.iter().map(|port| ShownPort::new(port, view)).collect(),
            libvirt_interface: plan.libvirt_interface(),
        }
    }
}

impl<'a> ShownPort<'a> {
    fn new(port: &'a Port, view: &View) -> Self {
        let count = |counter: String| view.counters.get(&counter).copied().unwrap_or_default();
        let [forged, over] = rules::port_counters(&port.adapter);
        Self {
            adapter: &port.adapter,
            mac: port.mac.to_string(),
            dropped_forged: count(forged),
            dropped_over: count(over),
        }
    }
}

/// What was done, and after a making what comes next.
pub(super) fn done(done: &Done, plan: Option<&TrunkPlan>) -> String {
    let mut text = String::new();
    for change in &done.changes {
        let _ = writeln!(text, "{}: {change}", done.trunk);
    }
    if done.changes.is_empty() {
        let _ = writeln!(text, "{}: nothing to do", done.trunk);
    }
    text + &plan.map(next).unwrap_or_default()
}

fn next(plan: &TrunkPlan) -> String {
    let mut text = format!(
        "\nThe host monitor listens on {0}. In its hostmon.toml:\ntrunk = \"{0}\"\n",
        plan.monitor_adapter()
    );
    if let Some(vlan) = plan.vlan {
        let _ = writeln!(text, "vlan = {vlan}      # in agent.toml of the guests, too");
    }
    if let Some(netns) = &plan.netns {
        if plan.policing.is_some() {
            text.push_str("# The rules are in this namespace, not in the monitor's:\npolicing_netns = \"/proc/1/ns/net\"\n");
        }
        let _ = writeln!(text, "Start it in the network namespace {netns}.");
    }
    if let Some(interface) = plan.libvirt_interface() {
        let _ = write!(text, "\nGuests are connected, in their domain of libvirt, by\n{interface}");
    }
    text
}

pub(super) fn list(works: &Works, output: Output) -> Result<Exit, TrunkError> {
    let all = views(works, works.records().all()?)?;
    if output == Output::Json {
        return Ok(json(&all));
    }
    if all.is_empty() {
        return Ok(print(NONE_MADE, Exit::Done));
    }
    let row = |cells: [&str; 7]| {
        let [name, guests, monitor, netns, mtu, policing, state] = cells;
        format!("{name:<13} {guests:<15} {monitor:<15} {netns:<15} {mtu:>5}  {policing:<8} {state}\n")
    };
    let mut text = row(["NAME", "GUESTS_SIDE", "MONITORS_SIDE", "NAMESPACE", "MTU", "POLICING", "STATE"]);
    for (plan, view) in &all {
        let netns = plan.netns.as_ref().map_or("-", Adapter::as_str);
        let state = view.wrong.first().map_or("ok", String::as_str);
        text.push_str(&row([
            plan.name.as_str(),
            plan.guests_adapter().as_str(),
            &plan.monitor_adapter(),
            netns,
            &plan.mtu.to_string(),
            if plan.policing.is_some() { "on" } else { "off" },
            state,
        ]));
    }
    Ok(print(&text, Exit::Done))
}

pub(super) fn show(works: &Works, output: Output, name: &Adapter) -> Result<Exit, TrunkError> {
    let all = views(works, vec![works.records().get(name)?])?;
    if output == Output::Json {
        return Ok(json(&all));
    }
    Ok(print(&all.iter().map(|(plan, view)| describe(plan, view)).collect::<String>(), Exit::Done))
}

/// Ends with 1 if there is something to say.
pub(super) fn check(works: &Works, output: Output, name: Option<&Adapter>) -> Result<Exit, TrunkError> {
    let plans = match name {
        Some(name) => vec![works.records().get(name)?],
        None => works.records().all()?,
    };
    let all = views(works, plans)?;
    let bad = all.iter().any(|(_, view)| !view.wrong.is_empty() || !view.remarks.is_empty());
    let exit = if bad { Exit::Failed } else { Exit::Done };
    if output == Output::Json {
        let _shown = json(&all);
        return Ok(exit);
    }
    if all.is_empty() {
        return Ok(print(NONE_MADE, exit));
    }
    let mut text = String::new();
    for (plan, view) in &all {
        for finding in view.wrong.iter().chain(&view.remarks) {
            let _ = writeln!(text, "{}: {finding}", plan.name);
        }
        if !view.wrong.is_empty() {
            let rest =
                if view.remarks.is_empty() { "it" } else { "its adapters and rules, and nothing else," };
            let _ = writeln!(text, "{0}: `hmmgr trunk create {0}` puts {rest} in order", plan.name);
        } else if view.remarks.is_empty() {
            let _ = writeln!(text, "{}: ok", plan.name);
        }
    }
    Ok(print(&text, exit))
}

fn views(works: &Works, plans: Vec<TrunkPlan>) -> Result<Vec<(TrunkPlan, View)>, TrunkError> {
    plans.into_iter().map(|plan| works.view(&plan).map(|view| (plan, view))).collect()
}

fn json(all: &[(TrunkPlan, View)]) -> Exit {
    #[derive(Serialize)]
    struct Trunks<'a> {
        trunks: Vec<Shown<'a>>,
    }
    let trunks = all.iter().map(|(plan, view)| Shown::new(plan, view)).collect();
    print(&(serde_json::to_string_pretty(&Trunks { trunks }).unwrap_or_default() + "\n"), Exit::Done)
}

fn describe(plan: &TrunkPlan, view: &View) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "{:<21}{value}", format!("{key}:"));
    };
    line("Trunk", plan.name.to_string());
    line("Guests_side", plan.guests_adapter().to_string());
    line("Monitors_side", plan.monitor_adapter());
    line("Namespace", plan.netns.as_ref().map_or("-".to_owned(), Adapter::to_string));
    line("MAC", plan.mac.map(|mac| mac.to_string()).unwrap_or_default());
    line("MTU", plan.mtu.to_string());
    line("EtherType", format!("{:#06x}", plan.ethertype));
    line("VLAN", plan.vlan.map_or("-".to_owned(), |vlan| vlan.to_string()));
    line("Guests_adapters", view.guests.len().to_string());
    match &plan.policing {
        Some(limits) => {
            line("Policing", format!("on, {} addresses known", view.known));
            let Limits { source_per_second, source_burst, strangers_per_second, strangers_burst } = limits;
            line("Limit_source", format!("{source_per_second}/s, burst {source_burst}"));
            line("Limit_strangers", format!("{strangers_per_second}/s, burst {strangers_burst}"));
        }
        None => line("Policing", "off".to_owned()),
    }
    for counter in rules::COUNTERS {
        if let Some(frames) = view.counters.get(counter) {
            line("Frames", format!("{counter} {frames}"));
        }
    }
    for port in plan.ports.iter().map(|port| ShownPort::new(port, view)) {
        let ShownPort { adapter, mac, dropped_forged, dropped_over } = port;
        line("Port", format!("{adapter} {mac}, dropped: forged {dropped_forged}, over {dropped_over}"));
    }
    for finding in &view.wrong {
        line("Wrong", finding.clone());
    }
    for remark in &view.remarks {
        line("Remark", remark.clone());
    }
    text + &next(plan)
}
