//! From what is there to what should be: the steps in between, none if all is well. Pure.
//!
//! What is made in one step is looked at again before the next ones are worked out, so a trunk is in order when no step is
//! left, and running this again changes nothing.

use super::plan::{Adapter, Port, TrunkPlan};
use super::rules;
use super::seen::{Link, Links, Table};

/// What is there now.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Adapters of the guests' side's namespace.
    pub near: Links,
    /// Adapters of the monitor's own namespace; `None`: it has none, or that is not there.
    pub far: Option<Links>,
    /// The table, as far as it is there.
    pub table: Option<Table>,
    /// Whether the trunk was made before: an adapter that fits is then ours, marked or not.
    pub recorded: bool,
}

impl Observed {
    /// Adapters of the monitor's side's namespace; `None` if that is not there.
    #[must_use]
    pub fn monitors(&self, plan: &TrunkPlan) -> Option<&Links> {
        if plan.netns.is_some() { self.far.as_ref() } else { Some(&self.near) }
    }

    /// Ports whose adapters are there, with the kind of each.
    #[must_use]
    pub fn ports<'a>(&'a self, plan: &'a TrunkPlan) -> Vec<(&'a Port, &'a str)> {
        let kind = |port: &Port| self.near.find(port.adapter.as_str()).map(Link::kind);
        plan.ports.iter().filter_map(|port| Some((port, kind(port)?))).collect()
    }
}

/// What is to be done in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run `ip` with these arguments.
    Ip(Vec<String>),
    /// Make the table, anew if it is there.
    Table,
    /// Take the table away.
    NoTable,
    /// Police this port.
    Port(Adapter),
}

/// Something that is not as it should be, and what puts it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is wrong.
    pub wrong: String,
    /// What is done.
    pub does: String,
    /// How.
    pub action: Action,
}

/// The steps that can be taken now.
///
/// # Errors
/// What is in the way, and what to do about it.
pub fn steps(plan: &TrunkPlan, observed: &Observed) -> Result<Vec<Step>, String> {
    let Some(monitors) = observed.monitors(plan) else {
        return Ok(plan.netns.iter().map(add_namespace).collect());
    };
    let hm = plan.monitor_adapter();
    let near = near_side(plan, observed)?;
    let far = ours(plan, observed, monitors.find(&hm), expected_kind(plan))?;
    let Some(far) = far else {
        return add_adapters(plan, near.is_some(), observed);
    };
    if plan.adapter.is_none() && near.is_none() {
        return Err(format!(
            "{hm} is there, but its other end is not called {}; end it with `ip link delete dev {hm}`, then run this again",
            plan.name
        ));
    }
    let mut steps = Vec::new();
    if let Some(near) = near.filter(|_| plan.adapter.is_none()) {
        steps.extend(settings(plan, near, None));
    }
    steps.extend(address(plan, far));
    steps.extend(settings(plan, far, plan.netns.as_ref()));
    steps.extend(table(plan, observed));
    if steps.iter().all(|step| step.action != Action::Table) {
        steps.extend(ports(plan, observed));
    }
    Ok(steps)
}

/// What an administrator should know and we do not change.
#[must_use]
pub fn remarks(plan: &TrunkPlan, observed: &Observed) -> Vec<String> {
    let mut remarks = Vec::new();
    let sides = [
        observed.near.find(plan.name.as_str()),
        observed.monitors(plan).and_then(|links| links.find(&plan.monitor_adapter())),
    ];
    for side in sides.into_iter().flatten() {
        for address in side.ip_addresses() {
            remarks.push(format!("{} has the IP address {address}; a trunk carries no IP", side.name));
        }
    }
    let standing = observed.near.standing_on(plan.guests_adapter().as_str());
    for guest in standing.filter(|link| link.name != plan.monitor_adapter()) {
        if !matches!(guest.mode(), "vepa" | "private") {
            remarks.push(format!(
                "{} stands on the trunk in mode {}: guests can reach each other; make it mode vepa",
                guest.name,
                guest.mode()
            ));
        }
    }
    for port in plan.ports.iter().filter(|port| observed.near.find(port.adapter.as_str()).is_none()) {
        remarks.push(format!(
            "the port {} is gone; `hmmgr trunk port sync {}` forgets it",
            port.adapter, plan.name
        ));
    }
    remarks
}

/// The adapter that guests' frames pass.
fn near_side<'a>(plan: &TrunkPlan, observed: &'a Observed) -> Result<Option<&'a Link>, String> {
    let Some(adapter) = &plan.adapter else {
        return ours(plan, observed, observed.near.find(plan.name.as_str()), "veth");
    };
    let link = observed.near.find(adapter.as_str());
    let link =
        link.ok_or_else(|| format!("there is no adapter {adapter} here; `ip link` names those that are"))?;
    if link.link_type != "ether" {
        return Err(format!("{adapter} is no Ethernet adapter"));
    }
    if !link.has("UP") {
        return Err(format!("{adapter} is down; set it up first: `ip link set dev {adapter} up`"));
    }
    if link.mtu < plan.mtu {
        return Err(format!("{adapter} has an MTU of {0}; say `--mtu {0}`, or raise it", link.mtu));
    }
    Ok(Some(link))
}

const fn expected_kind(plan: &TrunkPlan) -> &'static str {
    if plan.adapter.is_some() { "macvlan" } else { "veth" }
}

/// An adapter of that name is ours by its mark, or if the trunk was made before and it can be the one.
fn ours<'a>(
    plan: &TrunkPlan,
    observed: &Observed,
    link: Option<&'a Link>,
    kind: &str,
) -> Result<Option<&'a Link>, String> {
    let Some(link) = link else { return Ok(None) };
    let unmarked = link.alias.is_empty() && observed.recorded;
    if link.kind() == kind && (link.alias == plan.mark() || unmarked) {
        return Ok(Some(link));
    }
    let what = if link.kind().is_empty() { "an adapter" } else { link.kind() };
    Err(format!(
        "{} is taken by {what} that does not belong to this trunk; choose another name for the trunk, or remove it \
         (`ip link delete dev {}`)",
        link.name, link.name
    ))
}

fn add_namespace(netns: &Adapter) -> Step {
    ip(
        format!("the network namespace {netns} is not there"),
        format!("made the network namespace {netns}"),
        &["netns", "add", netns.as_str()],
    )
}

fn add_adapters(plan: &TrunkPlan, near_is_there: bool, observed: &Observed) -> Result<Vec<Step>, String> {
    let hm = plan.monitor_adapter();
    if plan.adapter.is_none() && near_is_there {
        let name = &plan.name;
        let on: Vec<&str> = observed.near.standing_on(name.as_str()).map(|link| link.name.as_str()).collect();
        let warning =
            if on.is_empty() { String::new() } else { format!(" (it takes {} with it)", on.join(", ")) };
        return Err(format!(
            "{name} is there, but its other end {hm} is not where it should be; \
             `hmmgr trunk delete {name} --force`{warning}, then make it again"
        ));
    }
    let mtu = plan.mtu.to_string();
    let mac = plan.mac.map(|mac| mac.to_string());
    let mut arguments = vec!["link", "add"];
    match &plan.adapter {
        Some(adapter) => arguments.extend(["link", adapter.as_str(), "name", &hm, "mtu", &mtu]),
        None => {
            let peer =
                ["name", plan.name.as_str(), "mtu", &mtu, "type", "veth", "peer", "name", &hm, "mtu", &mtu];
            arguments.extend(peer);
        }
    }
    if let Some(mac) = &mac {
        arguments.extend(["address", mac]);
    }
    if let Some(netns) = &plan.netns {
        arguments.extend(["netns", netns.as_str()]);
    }
    if plan.adapter.is_some() {
        // In this mode it hears guests whose frames a switch sends back, too.
        arguments.extend(["type", "macvlan", "mode", "vepa"]);
    }
    let what = match &plan.adapter {
        Some(adapter) => format!("{hm} on {adapter}"),
        None => format!("{} and {hm}", plan.name),
    };
    Ok(vec![ip(format!("{hm} is not there"), format!("made {what}"), &arguments)])
}

/// Up, of the right size, marked, and without anything of IP.
fn settings(plan: &TrunkPlan, link: &Link, netns: Option<&Adapter>) -> Vec<Step> {
    let name = link.name.as_str();
    let mut steps = Vec::new();
    let mut set = |wrong: String, does: String, words: &[&str]| {
        steps.push(set_link(netns, name, wrong, does, words));
    };
    if link.alias != plan.mark() {
        set(format!("{name} is not marked"), format!("marked {name}"), &["alias", &plan.mark()]);
    }
    if link.mtu != plan.mtu {
        let mtu = plan.mtu.to_string();
        set(
            format!("{name} has an MTU of {}, not {mtu}", link.mtu),
            format!("set the MTU of {name}"),
            &["mtu", &mtu],
        );
    }
    // Without IPv6 there is no mode at all.
    if !matches!(link.inet6_addr_gen_mode.as_str(), "" | "none") {
        let words = ["addrgenmode", "none"];
        set(format!("{name} gives itself IPv6 addresses"), format!("keeps IPv6 off {name}"), &words);
    }
    if !link.has("NOARP") {
        set(format!("{name} answers ARP"), format!("keeps ARP off {name}"), &["arp", "off"]);
    }
    if !link.has("UP") {
        set(format!("{name} is down"), format!("set {name} up"), &["up"]);
    }
    steps
}

fn address(plan: &TrunkPlan, far: &Link) -> Option<Step> {
    let mac = plan.mac.filter(|mac| far.mac() != Some(*mac))?;
    let (name, mac) = (far.name.as_str(), mac.to_string());
    Some(set_link(
        plan.netns.as_ref(),
        name,
        format!("{name} has the address {}, not {mac}", far.address),
        format!("gave {name} the address {mac}"),
        &["address", &mac],
    ))
}

fn table(plan: &TrunkPlan, observed: &Observed) -> Option<Step> {
    let name = rules::table(&plan.monitor_adapter());
    let step = |wrong: &str, does: String, action| {
        Some(Step { wrong: format!("the table {name} {wrong}"), does, action })
    };
    let Some(limits) = &plan.policing else {
        let _there = observed.table.as_ref()?;
        return step("polices, and should not", format!("removed the table {name}"), Action::NoTable);
    };
    let made = || format!("made the table {name}");
    let Some(table) = &observed.table else {
        return step("is not there: the trunk is not policed", made(), Action::Table);
    };
    let prefix = rules::mark_prefix(plan, limits);
    if !table.mark.as_ref().is_some_and(|mark| mark.starts_with(&prefix)) {
        return step("was made for other limits", made(), Action::Table);
    }
    if !table.polices() {
        return step("has lost its hook: the trunk is not policed", made(), Action::Table);
    }
    None
}

/// Ports whose adapters are there and whose chains are not.
fn ports(plan: &TrunkPlan, observed: &Observed) -> Vec<Step> {
    let (Some(_), Some(table)) = (plan.policing, &observed.table) else { return Vec::new() };
    let unpoliced = observed
        .ports(plan)
        .into_iter()
        .filter(|(port, _)| !table.chains.contains(&rules::port_chain(&port.adapter)));
    unpoliced
        .map(|(port, _)| Step {
            wrong: format!("the port {} is not policed", port.adapter),
            does: format!("polices the port {} ({})", port.adapter, port.mac),
            action: Action::Port(port.adapter.clone()),
        })
        .collect()
}

fn set_link(netns: Option<&Adapter>, name: &str, wrong: String, does: String, words: &[&str]) -> Step {
    let mut arguments = Vec::new();
    if let Some(netns) = netns {
        arguments.extend(["-n", netns.as_str()]);
    }
    arguments.extend(["link", "set", "dev", name]);
    arguments.extend(words);
    ip(wrong, does, &arguments)
}

fn ip(wrong: String, does: String, arguments: &[&str]) -> Step {
    let arguments = arguments.iter().map(ToString::to_string).collect();
    Step { wrong, does, action: Action::Ip(arguments) }
}

#[cfg(test)]
mod tests;
