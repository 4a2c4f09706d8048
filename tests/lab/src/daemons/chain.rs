//! The whole chain in one world: two trunks with a host monitor each, store, controller, guests with agents.

use std::time::Duration;

use serde_json::Value;

use super::host_monitor::AS_SHIPPED;
use super::{Agent, Controller, HostMonitor, MonitorSettings, PathStatus, requests};
use crate::error::{Lab, LabError};
use crate::process::Said;
use crate::wait;
use crate::world::{PseudoGuest, RealGuest, Trunk, World};

/// From START_VM to STARTED: a handshake and a heartbeat on each path, on loaded cores.
const STARTED_LIMIT: Duration = Duration::from_secs(40);

/// What a chain is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) pseudo_guests: u8,
    pub(crate) real_guest: bool,
    pub(crate) monitors: MonitorSettings,
    /// The second trunk's monitor, where it differs.
    pub(crate) second_monitor: Option<MonitorSettings>,
    /// VLAN id of each trunk; 0 for none.
    pub(crate) vlans: [u16; 2],
    pub(crate) poll_interval_ms: u32,
    /// Trunks made by `hmmgr trunk create`, and policed.
    pub(crate) policed: bool,
    /// Agents as guests get them, statically linked and optimised.
    pub(crate) agents_as_shipped: bool,
    /// More lines for the settings of each agent.
    pub(crate) agent_settings: &'static str,
}

impl Default for Plan {
    /// One guest made of namespaces, a heartbeat a second, a quick controller: what most scenarios want.
    fn default() -> Self {
        let monitors = MonitorSettings { heartbeat_interval_ms: 1000, ..AS_SHIPPED };
        Plan {
            pseudo_guests: 1,
            real_guest: false,
            monitors,
            second_monitor: None,
            poll_interval_ms: 200,
            policed: false,
            agents_as_shipped: false,
            agent_settings: "",
            vlans: [0; 2],
        }
    }
}

/// A running chain; all of it ends with this value.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) monitors: Vec<HostMonitor>,
    pub(crate) controller: Controller,
    pub(crate) agents: Vec<Agent>,
    pub(crate) guests: Vec<PseudoGuest>,
    pub(crate) real: Option<RealGuest>,
    pub(crate) world: World,
}

impl Chain {
    /// Builds and starts everything; nothing is registered yet.
    pub(crate) fn start(mut world: World, plan: Plan) -> Lab<Chain> {
        let add = if plan.policed { World::add_policed_trunk } else { World::add_trunk };
        let trunks = [add(&mut world, 'A')?, add(&mut world, 'B')?];
        let kit = world.kit().clone();
        // The slow one first: it boots while the others start.
        let real =
            if plan.real_guest { Some(world.start_real_guest(plan.pseudo_guests + 1, &[])?) } else { None };
        let [first, second] = [plan.monitors, plan.second_monitor.unwrap_or(plan.monitors)];
        let [first_vlan, second_vlan] = plan.vlans;
        let settings =
            [MonitorSettings { vlan: first_vlan, ..first }, MonitorSettings { vlan: second_vlan, ..second }];
        let monitors: Lab<Vec<_>> =
            trunks.iter().zip(settings).map(|(trunk, set)| HostMonitor::start(&kit, trunk, set)).collect();
        let controller = Controller::start(&kit, plan.poll_interval_ms)?;
        let guests: Lab<Vec<_>> = (1..=plan.pseudo_guests).map(|n| world.start_pseudo_guest(n)).collect();
        let guests = guests?;
        let agents: Lab<Vec<_>> = guests
            .iter()
            .map(|guest| Agent::start(&kit, guest, plan.agents_as_shipped, plan.agent_settings))
            .collect();
        Ok(Chain { monitors: monitors?, controller, agents: agents?, guests, real, world })
    }

    /// UUID and name of every guest.
    pub(crate) fn vms(&self) -> Vec<(String, String)> {
        let pseudo = self.guests.iter().map(|guest| (guest.uuid().to_string(), guest.name().to_string()));
        let real = self.real.iter().map(|guest| (guest.uuid().to_string(), guest.name()));
        pseudo.chain(real).collect()
    }

    /// Registers the host and all guests and starts monitoring them; returns the requests, with a
    /// file name for each, and their answers.
    pub(crate) fn register(&mut self) -> Lab<Vec<(&'static str, String, Said)>> {
        let monitors: Vec<(String, String)> = self
            .monitors
            .iter()
            .map(|monitor| (monitor.uuid().to_string(), monitor.trunk().monitor_mac()))
            .collect();
        let vms = self.vms();
        let uuids: Vec<String> = vms.iter().map(|(uuid, _)| uuid.clone()).collect();
        let wanted = [
            ("add-host.xml", requests::add_host(&monitors)),
            ("add-vms.xml", requests::add_vms(&vms)),
            ("start-vms.xml", requests::start_vms(&uuids)),
        ];
        // A monitor that is still starting has perhaps not yet made the store.
        wait::until(STARTED_LIMIT, "the health store to answer", || {
            self.still_runs()?;
            Ok(self.monitor(0)?.passthru(&requests::quick_query())?.status.success().then_some(()))
        })?;
        let first = self.monitor(0)?;
        let mut told = Vec::new();
        for (file, xml) in wanted {
            let said = first.passthru(&xml)?;
            if !said.status.success() {
                return Err(said.error());
            }
            told.push((file, xml, said));
        }
        Ok(told)
    }

    /// Registers everything and waits until every guest is STARTED.
    pub(crate) fn register_and_wait(&mut self) -> Lab<()> {
        self.register()?;
        self.wait_until_started()
    }

    /// Waits until every guest is STARTED, which is: every path of it has heartbeats.
    pub(crate) fn wait_until_started(&mut self) -> Lab<()> {
        self.still_runs()?;
        for (_, name) in self.vms() {
            self.wait_for_vm(&name, STARTED_LIMIT, "to be STARTED", |vm| {
                text_of(vm, "ha_monitor_state") == "STARTED"
            })?;
        }
        Ok(())
    }

    /// Waits until `hamgr query vm NAME` has a property; the last answer goes into the error.
    pub(crate) fn wait_for_vm(
        &self,
        name: &str,
        limit: Duration,
        what: &str,
        good: impl Fn(&Value) -> bool,
    ) -> Lab<Value> {
        wait::until_value(limit, &format!("VM {name} {what}"), || self.vm(name), good)
    }

    /// Waits until `hamgr query app` shows an application in a colour.
    pub(crate) fn wait_for_application(&self, name: &str, colour: &str, limit: Duration) -> Lab<()> {
        let what = format!("application {name} to be {colour} at hamgr query app");
        let read = || self.controller.query("app").map(|answer| format!("{answer:#}"));
        let is_so = |text: &str| {
            serde_json::from_str::<Value>(text).is_ok_and(|answer| {
                records(&answer).iter().any(|app| {
                    text_of(app, "name") == name && text_of(app, "colour").eq_ignore_ascii_case(colour)
                })
            })
        };
        wait::until_text(limit, &what, read, is_so).map(drop)
    }

    /// What `hamgr query vm NAME` says.
    pub(crate) fn vm(&self, name: &str) -> Lab<Value> {
        first_record(self.controller.query(&format!("vm {name}"))?)
    }

    /// Waits until every path of every guest beats: heartbeats arrive after this call began.
    pub(crate) fn wait_until_beating(&self, limit: Duration) -> Lab<()> {
        for monitor in &self.monitors {
            let before = monitor.paths()?;
            wait::until(limit, &format!("every path over {} to beat", monitor.trunk().device()), || {
                let now = monitor.paths()?;
                let all = self.vms().iter().all(|(uuid, _)| beats(&now, &before, uuid));
                Ok(all.then_some(()))
            })?;
        }
        Ok(())
    }

    /// The events of a name.
    pub(crate) fn events(&self, name: &str) -> Lab<Vec<Value>> {
        let answer = self.controller.query("event count=1000")?;
        Ok(records(&answer).into_iter().filter(|event| text_of(event, "event") == name).cloned().collect())
    }

    /// Gives a request to the first monitor's `hmmgr passthru`; fails unless it is answered.
    pub(crate) fn passthru(&self, xml: &str) -> Lab<String> {
        self.monitor(0)?.passthru(xml)?.ok()
    }

    /// SIGKILL to every host monitor.
    pub(crate) fn crash_monitors(&mut self) -> Lab<()> {
        self.monitors.iter_mut().try_for_each(HostMonitor::crash)
    }

    /// Starts every host monitor again.
    pub(crate) fn restart_monitors(&mut self) -> Lab<()> {
        self.monitors.iter_mut().try_for_each(HostMonitor::restart)
    }

    /// SIGKILL to the agent of a guest.
    pub(crate) fn crash_agent(&mut self, index: usize) -> Lab<()> {
        let guest = self.guests.get(index).ok_or_else(|| none("guest", index))?;
        self.agents.get_mut(index).ok_or_else(|| none("agent", index))?.crash(guest)
    }

    /// SIGTERM to the agent of a guest.
    pub(crate) fn stop_agent(&mut self, index: usize) -> Lab<()> {
        let guest = self.guests.get(index).ok_or_else(|| none("guest", index))?;
        self.agents.get_mut(index).ok_or_else(|| none("agent", index))?.stop(guest)
    }

    /// Starts the agent of a guest again.
    pub(crate) fn restart_agent(&mut self, index: usize) -> Lab<()> {
        let guest = self.guests.get(index).ok_or_else(|| none("guest", index))?;
        self.agents.get_mut(index).ok_or_else(|| none("agent", index))?.restart(guest)
    }

    /// A trunk, counted from 0.
    pub(crate) fn trunk(&self, index: usize) -> Lab<Trunk> {
        self.world.trunks().get(index).cloned().ok_or_else(|| none("trunk", index))
    }

    /// A guest made of namespaces, counted from 0.
    pub(crate) fn guest(&self, index: usize) -> Lab<&PseudoGuest> {
        self.guests.get(index).ok_or_else(|| none("guest", index))
    }

    /// The agent of a guest made of namespaces, counted from 0.
    pub(crate) fn agent(&self, index: usize) -> Lab<&Agent> {
        self.agents.get(index).ok_or_else(|| none("agent", index))
    }

    /// The real guest.
    pub(crate) fn real(&self) -> Lab<&RealGuest> {
        self.real.as_ref().ok_or_else(|| LabError::Unexpected("this chain has no real guest".into()))
    }

    /// A host monitor, counted from 0.
    pub(crate) fn monitor(&self, index: usize) -> Lab<&HostMonitor> {
        self.monitors.get(index).ok_or_else(|| none("host monitor", index))
    }

    /// A host monitor to be stopped or started.
    pub(crate) fn monitor_mut(&mut self, index: usize) -> Lab<&mut HostMonitor> {
        self.monitors.get_mut(index).ok_or_else(|| none("host monitor", index))
    }

    /// Fails if any daemon has ended by itself.
    pub(crate) fn still_runs(&mut self) -> Lab<()> {
        self.monitors.iter_mut().try_for_each(HostMonitor::still_runs)?;
        self.agents.iter_mut().try_for_each(Agent::still_runs)?;
        self.controller.still_runs()
    }
}

/// A field of an answer as text, whatever its JSON type; empty if it is not there.
pub(crate) fn text_of(record: &Value, field: &str) -> String {
    match record.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The records of an answer, be it a list or a single one.
pub(crate) fn records(answer: &Value) -> Vec<&Value> {
    answer.as_array().map_or_else(|| vec![answer], |list| list.iter().collect())
}

fn beats(now: &[PathStatus], before: &[PathStatus], uuid: &str) -> bool {
    let of = |paths: &[PathStatus]| paths.iter().find(|path| path.vm.eq_ignore_ascii_case(uuid)).cloned();
    let old = of(before).map_or(0, |path| path.heartbeats);
    // A new session counts from the beginning.
    of(now).is_some_and(|path| path.state == "BEATING" && path.heartbeats > 0 && path.heartbeats != old)
}

fn none(what: &str, index: usize) -> LabError {
    LabError::Unexpected(format!("this chain has no {what} number {index}"))
}

fn first_record(answer: Value) -> Lab<Value> {
    match answer {
        Value::Array(records) => records
            .into_iter()
            .next()
            .ok_or_else(|| LabError::Unexpected("hamgr answered with an empty list".into())),
        Value::Object(_) => Ok(answer),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(LabError::Unexpected(format!("hamgr answered {answer}")))
        }
    }
}
