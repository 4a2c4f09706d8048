//! Looks at everything once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use vmpulse_link::clock_state;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::command::{CallError, call};
use vmpulse_local::errors;
use vmpulse_protocol::auth::Mode;
use vmpulse_protocol::time::Instant;
use vmpulse_store::StoreError;

use super::probe::{self, Place};
use super::progress::Progress;
use super::{Check, Doctor};
use crate::doctor::{ClockFacts, DaemonFacts, Facts, KeyFacts, StoreFacts, TrunkFacts};
use crate::hmmgr::status::ANSWER_TIMEOUT;
use crate::keys::KeyDirectory;
use crate::settings::Settings;
use crate::status::{CommandRequest, Status};
use crate::trunk_setup::TrunkError;
use crate::trunk_setup::plan::{Adapter, TrunkPlan};
use crate::trunk_setup::programs::Programs;
use crate::trunk_setup::records::Records;
use crate::trunk_setup::rules;
use crate::trunk_setup::seen::{self, Table};
use crate::trunk_setup::steps::Observed;
use crate::trunk_setup::work::Works;

/// So long is looked for frames that are lost and for a clock that is set, if nothing else takes longer.
const WATCH: Duration = Duration::from_secs(1);

pub(super) fn facts(settings: &Settings, store: &str, wanted: &Doctor) -> Result<Facts, TrunkError> {
    let stopped = stop_flag()?;
    let progress = Progress::begin();
    let looking = Looking { settings, wanted, programs: Programs::default(), stopped, progress };
    looking.all(store)
}

/// The first signal ends it in order, so that its ports are taken away; a second one ends the process.
fn stop_flag() -> Result<Arc<AtomicBool>, TrunkError> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopped))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stopped)))
            .map_err(|source| TrunkError::Usage(format!("cannot listen for signals: {source}")))?;
    }
    Ok(stopped)
}

struct Looking<'a> {
    settings: &'a Settings,
    wanted: &'a Doctor,
    programs: Programs,
    stopped: Arc<AtomicBool>,
    progress: Progress,
}

/// The two clocks at one moment.
#[derive(Clone, Copy)]
struct Moment {
    monotonic: Instant,
    wall: Duration,
}

impl Looking<'_> {
    fn all(&self, store: &str) -> Result<Facts, TrunkError> {
        let clock = MonotonicClock::start();
        let moment = || Moment { monotonic: clock.now(), wall: clock.realtime() };
        let began = moment();
        let records = Records::new(&self.settings.state_dir);
        let works = Works::new(self.programs.clone(), records, 0);
        let mut trunks = self.trunks(&works)?;
        let mut facts = Facts { capabilities: own_capabilities(), ..Facts::default() };
        facts.orphan_tables = self.orphan_tables(&works)?;
        let backlog = backlog_drops();
        let before: Vec<Option<u64>> = trunks.iter().map(|trunk| self.lost_frames(trunk)).collect();
        if self.looks_at(Check::Store) {
            self.progress.step("the health store");
            facts.store = Some(store_facts(store, &clock));
        }
        if self.looks_at(Check::Keys) {
            facts.keys = Some(key_facts(self.settings));
        }
        let mut stamps_off_us = None;
        for trunk in &mut trunks {
            stamps_off_us = self.probe(trunk).or(stamps_off_us);
            if self.looks_at(Check::Daemon) {
                self.progress.step(format!("the host monitor of {}", trunk.name));
                trunk.daemon = Some(self.daemon(&trunk.monitor_adapter));
            }
        }
        self.progress.step("frames that are lost");
        self.wait(&clock, began.monotonic + WATCH);
        for (trunk, before) in trunks.iter_mut().zip(before) {
            trunk.lost_frames =
                before.zip(self.lost_frames(trunk)).map(|(before, after)| after.saturating_sub(before));
        }
        facts.backlog_drops = backlog_drops().saturating_sub(backlog);
        if self.looks_at(Check::Clock) {
            facts.clock = Some(clock_facts(began, moment(), stamps_off_us));
        }
        facts.trunks = trunks;
        Ok(facts)
    }

    fn looks_at(&self, check: Check) -> bool {
        !self.wanted.without.contains(&check)
    }

    /// Until then, or until somebody has had enough.
    fn wait(&self, clock: &MonotonicClock, until: Instant) {
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let _timeout = never.recv_timeout(until.since(clock.now()));
    }

    fn trunks(&self, works: &Works) -> Result<Vec<TrunkFacts>, TrunkError> {
        let mut plans = works.records().all()?;
        let named = self.wanted.trunk.as_ref();
        if let Some(name) = named {
            plans.retain(|plan| plan.name == *name || plan.monitor_adapter() == name.as_str());
        }
        let mut trunks: Vec<TrunkFacts> = plans.into_iter().map(|plan| self.made(works, plan)).collect();
        let own: Option<Adapter> = self.settings.trunk.parse().ok();
        let foreign = named.or(own.as_ref()).filter(|name| {
            trunks.iter().all(|trunk| trunk.name != name.as_str() && trunk.monitor_adapter != name.as_str())
        });
        if let Some(name) = foreign {
            trunks.push(self.foreign(works, name.clone()));
        }
        Ok(trunks)
    }

    fn made(&self, works: &Works, plan: TrunkPlan) -> TrunkFacts {
        self.progress.step(format!("the adapters and rules of {}", plan.name));
        let observed = works.observe(&plan).map_err(|error| errors::chain(&error));
        let guests = plan.guests_adapter().to_string();
        let is_here = observed.as_ref().is_ok_and(|observed| observed.near.find(&guests).is_some());
        let monitor_adapter = plan.monitor_adapter();
        let settings = (self.settings.trunk == monitor_adapter)
            .then(|| (self.settings.ethertype, self.settings.vlan_id()));
        TrunkFacts {
            name: plan.name.to_string(),
            guests_adapter: is_here.then_some(guests),
            settings,
            plan: Some(plan),
            observed: Some(observed),
            ..self.base(monitor_adapter)
        }
    }

    /// An adapter of another making: the monitor's, whose other end may be here; or that of guests.
    fn foreign(&self, works: &Works, name: Adapter) -> TrunkFacts {
        let plan = TrunkPlan { policing: None, ..TrunkPlan::new(name.clone(), self.settings.ethertype) };
        let observed = works.observe(&plan).map_err(|error| errors::chain(&error));
        let link = observed.as_ref().ok().and_then(|observed| observed.near.find(name.as_str()));
        let is_monitors = self.settings.trunk == name.as_str() || self.socket(name.as_str()).exists();
        let guests = match link {
            Some(link) if is_monitors => link.link.clone().filter(|_| link.kind() == "veth"),
            Some(link) => Some(link.name.clone()),
            None => None,
        };
        TrunkFacts {
            name: name.to_string(),
            guests_adapter: guests,
            observed: Some(observed),
            ..self.base(name.to_string())
        }
    }

    fn base(&self, monitor_adapter: String) -> TrunkFacts {
        let own = self.settings.trunk == monitor_adapter;
        TrunkFacts {
            wants: (own && self.settings.realtime_priority > 0, own && self.settings.lock_memory),
            receive_buffer_bytes: self.settings.receive_buffer_bytes,
            monitor_adapter,
            ..TrunkFacts::default()
        }
    }

    fn orphan_tables(&self, works: &Works) -> Result<Vec<String>, TrunkError> {
        // What is missing for it is found elsewhere.
        let Ok(chains) = self.programs.nft_list(&["chains", "netdev"]) else { return Ok(Vec::new()) };
        let known: Vec<String> =
            works.records().all()?.iter().map(|plan| rules::table(&plan.monitor_adapter())).collect();
        Ok(Table::names(&chains)?.into_iter().filter(|table| !known.contains(table)).collect())
    }

    fn lost_frames(&self, trunk: &TrunkFacts) -> Option<u64> {
        let plan = trunk.plan.as_ref();
        let netns = plan.and_then(|plan| plan.netns.as_ref()).map(|netns| ["-n", netns.as_str()]);
        let ask = |before: &[&str], adapter: &str| {
            let words = ["-j", "-s", "-s", "link", "show", "dev", adapter];
            seen::lost_frames(&self.programs.ip(&[before, &words].concat()).ok()?).ok()
        };
        let own = ask(netns.as_ref().map_or(&[][..], |words| words), &trunk.monitor_adapter)?;
        let outside = plan.and_then(|plan| plan.adapter.as_ref());
        Some(own + outside.and_then(|adapter| ask(&[], adapter.as_str())).unwrap_or_default())
    }

    /// Returns how far the kernel's stamps are off.
    fn probe(&self, trunk: &mut TrunkFacts) -> Option<i64> {
        let guests_adapter = trunk.guests_adapter.clone().filter(|_| self.looks_at(Check::Probe))?;
        let Some(Ok(observed)) = &trunk.observed else { return None };
        let up = |observed: &Observed| observed.near.find(&guests_adapter).is_some_and(|link| link.has("UP"));
        if !up(observed) {
            // Found already.
            return None;
        }
        self.progress.step(format!("whether {} keeps guests apart", trunk.name));
        probe::sweep(&self.programs, &observed.near);
        let place = Place {
            guests_adapter: &guests_adapter,
            bridge: observed.near.find(&guests_adapter).and_then(|link| link.master.as_deref()),
            ethertype: trunk.plan.as_ref().map_or(self.settings.ethertype, |plan| plan.ethertype),
            vlan: trunk.plan.as_ref().map_or(self.settings.vlan_id(), |plan| plan.vlan),
        };
        let outcome = probe::run(&self.programs, &place, &self.stopped);
        let (probe, stamps) = match outcome {
            Ok((probe, stamps)) => (Ok(probe), stamps),
            Err(why) => (Err(why), None),
        };
        trunk.probe = Some(probe);
        stamps
    }

    fn socket(&self, monitor_adapter: &str) -> std::path::PathBuf {
        Settings { trunk: monitor_adapter.to_owned(), ..self.settings.clone() }.socket_path()
    }

    fn daemon(&self, monitor_adapter: &str) -> DaemonFacts {
        match call::<_, Status>(&self.socket(monitor_adapter), &CommandRequest::Status, ANSWER_TIMEOUT) {
            Ok(status) => {
                let capabilities = capabilities_of(status.pid);
                DaemonFacts::Answers { status: Box::new(status), capabilities }
            }
            Err(CallError::NotRunning { .. }) => DaemonFacts::Missing,
            Err(error) => DaemonFacts::Silent(errors::chain(&error)),
        }
    }
}

fn backlog_drops() -> u64 {
    seen::backlog_drops(&std::fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default())
}

fn own_capabilities() -> u64 {
    effective(Path::new("/proc/self/status")).unwrap_or_default()
}

/// Of the daemon, if that number means it here, too: it may count processes in another namespace.
fn capabilities_of(pid: u32) -> Option<u64> {
    let folder = Path::new("/proc").join(pid.to_string());
    let name = std::fs::read_to_string(folder.join("comm")).ok()?;
    effective(&folder.join("status")).filter(|_| name.starts_with("vmpulse-hostmo"))
}

fn effective(status: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let set = text.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn clock_facts(began: Moment, ended: Moment, stamps_off_us: Option<i64>) -> ClockFacts {
    let monotonic = ended.monotonic.since(began.monotonic).as_micros() as i64;
    let wall = ended.wall.as_micros() as i64 - began.wall.as_micros() as i64;
    ClockFacts {
        synchronised: clock_state().ok().map(|state| state.synchronised),
        stepped_us: wall - monotonic,
        stamps_off_us,
    }
}

/// A question makes no store.
fn store_facts(url: &str, clock: &MonotonicClock) -> StoreFacts {
    if url.strip_prefix("sqlite://").is_some_and(|path| !Path::new(path).exists()) {
        return StoreFacts::Missing;
    }
    let asked = vmpulse_store::open(url).and_then(|store| {
        let before = clock.realtime();
        Ok((before, store.now()?, clock.realtime()))
    });
    match asked {
        Ok((before, now, after)) => {
            let (before, after) = (before.as_micros() as i64, after.as_micros() as i64);
            // Anywhere in between is in step.
            let clock_off_us = if now.0 < before { now.0 - before } else { (now.0 - after).max(0) };
            StoreFacts::Answers { clock_off_us }
        }
        Err(
            error @ (StoreError::TooNew { .. } | StoreError::Outdated { .. } | StoreError::Grants { .. }),
        ) => StoreFacts::Schema(errors::chain(&error)),
        Err(error) => StoreFacts::Fails(errors::chain(&error)),
    }
}

fn key_facts(settings: &Settings) -> KeyFacts {
    let scan = KeyDirectory::new(settings.key_dir.clone()).scan();
    let used = settings.authentication != Mode::Off;
    KeyFacts {
        directory: settings.key_dir.display().to_string(),
        missing: matches!(scan, Ok(None)),
        required: settings.authentication == Mode::Required,
        problems: match scan {
            _ if !used => Vec::new(),
            Ok(scan) => scan
                .map(|scan| scan.problems)
                .unwrap_or_default()
                .into_iter()
                .map(|problem| problem.text)
                .collect(),
            Err(error) => vec![errors::chain(&error)],
        },
    }
}
