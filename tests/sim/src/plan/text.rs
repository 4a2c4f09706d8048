//! Plans as text.

use std::fmt::{self, Write};

use vmpulse_protocol::time::Instant;
use vmpulse_store::DetectionSpeed;

use super::{
    APPS_MAXIMUM, Action, CONTROLLERS_MAXIMUM, Cluster, HOSTS_MAXIMUM, Plan, TRUNKS_MAXIMUM, VMS_MAXIMUM,
};
use crate::names::{Hm, Vm};

/// A line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// From 1; 0: the whole.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// From its text.
    ///
    /// # Errors
    /// The first line that is not understood, or names what is not there.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let mut plan =
            Self { cluster: Cluster::default(), actions: Vec::new(), end: Instant::ZERO, converges: true };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            plan.take(line).map_err(|problem| PlanError { line: number + 1, problem })?;
        }
        if plan.end == Instant::ZERO {
            return Err(PlanError { line: 0, problem: "there is no `end SECONDS`".to_owned() });
        }
        plan.actions.sort_by_key(|(at, _)| *at);
        Ok(plan)
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["cluster", settings @ ..] => settings.iter().try_for_each(|setting| self.cluster.set(setting)),
            ["at", at, action @ ..] => {
                let at = instant(at).ok_or_else(|| format!("{at} is no time in seconds"))?;
                let action = Action::parse(action).ok_or_else(|| format!("no such action: {line}"))?;
                self.cluster.check(&action)?;
                self.actions.push((at, action));
                Ok(())
            }
            ["end", at] => {
                self.end = instant(at).ok_or_else(|| format!("{at} is no time in seconds"))?;
                Ok(())
            }
            ["end", at, "unsettled"] => {
                self.converges = false;
                self.take(&format!("end {at}"))
            }
            _ => Err(format!("expected `cluster`, `at` or `end`, found: {line}")),
        }
    }
}

impl Cluster {
    fn set(&mut self, setting: &str) -> Result<(), String> {
        let (key, value) = setting.split_once('=').ok_or_else(|| format!("{setting} is no key=value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{setting}: no number"));
        let count = |maximum: usize| -> Result<usize, String> {
            let count = number()?;
            let fits = usize::try_from(count).ok().filter(|count| *count <= maximum);
            fits.ok_or_else(|| format!("{setting}: {maximum} at most"))
        };
        match key {
            "seed" => self.seed = number()?,
            "hosts" => self.hosts = count(HOSTS_MAXIMUM)?.max(1),
            "trunks" => self.trunks = count(TRUNKS_MAXIMUM)?.max(1),
            "vms" => self.vms = count(VMS_MAXIMUM)?,
            "apps" => self.apps = count(APPS_MAXIMUM)?,
            "guardian" => self.guardian = value == "yes",
            "controllers" => self.controllers = count(CONTROLLERS_MAXIMUM)?.max(1),
            "canary" => self.canary = value == "yes",
            "auth" => self.auth = value == "yes",
            "poll" => self.poll_interval_ms = number()?,
            "detection" => {
                self.detection =
                    DetectionSpeed::parse(value).ok_or_else(|| format!("{setting}: fast, normal or slow"))?;
            }
            _ => return Err(format!("unknown setting: {setting}")),
        }
        Ok(())
    }

    fn check(&self, action: &Action) -> Result<(), String> {
        let vm = |vm: &Vm| if vm.0 < self.vms { Ok(()) } else { Err(format!("there is no {vm}")) };
        let hm = |hm: &Hm| {
            let there = hm.host < self.hosts && hm.trunk < self.trunks;
            if there { Ok(()) } else { Err(format!("there is no {hm}")) }
        };
        match action {
            Action::Guest(which, what) => {
                vm(which)?;
                // Nothing else that happens to a guest names anybody.
                #[allow(clippy::wildcard_enum_match_arm)]
                match what {
                    super::GuestAction::PathCut { hm: to } | super::GuestAction::PathMend { hm: to } => {
                        hm(to)
                    }
                    super::GuestAction::Pretend { vm: other } => vm(other),
                    super::GuestAction::KeyNone
                    | super::GuestAction::KeyWrong
                    | super::GuestAction::KeyOwn
                    | super::GuestAction::KeyOf { .. }
                        if !self.auth =>
                    {
                        Err("without auth=yes there are no keys".to_owned())
                    }
                    super::GuestAction::KeyOf { vm: other } => vm(other),
                    super::GuestAction::Migrate { host, .. } if *host == 0 || *host > self.hosts => {
                        Err(format!("there is no host {host}"))
                    }
                    super::GuestAction::AppFail { app } | super::GuestAction::AppMend { app }
                        if *app == 0 || *app > self.apps =>
                    {
                        Err(format!("there is no application {app}"))
                    }
                    _ => Ok(()),
                }
            }
            Action::Trunk(which, _) | Action::Monitor(which, _) => hm(which),
            Action::Store(_) | Action::Controller(_) | Action::Heal => Ok(()),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cluster { seed, hosts, trunks, vms, apps, guardian, detection, poll_interval_ms, .. } =
            &self.cluster;
        let Cluster { controllers, canary, auth, .. } = &self.cluster;
        let guardian = if *guardian { "yes" } else { "no" };
        write!(
            out,
            "cluster seed={seed} hosts={hosts} trunks={trunks} vms={vms} apps={apps} guardian={guardian} \
             detection={detection} poll={poll_interval_ms}"
        )?;
        if *controllers > 1 {
            write!(out, " controllers={controllers}")?;
        }
        let yes = |is: bool, text: &'static str| if is { text } else { "" };
        writeln!(out, "{}{}", yes(*canary, " canary=yes"), yes(*auth, " auth=yes"))?;
        for (at, action) in &self.actions {
            writeln!(out, "at {} {action}", seconds(*at))?;
        }
        writeln!(out, "end {}{}", seconds(self.end), if self.converges { "" } else { " unsettled" })
    }
}

fn instant(text: &str) -> Option<Instant> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let ms: u64 = if digits { format!("{fraction:0<3}").parse().ok()? } else { return None };
    Some(Instant::from_millis(whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(ms)?))
}

fn seconds(at: Instant) -> String {
    let ms = at.as_nanos() / 1_000_000;
    let mut text = (ms / 1000).to_string();
    if !ms.is_multiple_of(1000) {
        // Writing to a String cannot fail.
        let _ = write!(text, ".{:03}", ms % 1000);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "cluster seed=7 hosts=2 trunks=2 vms=4 apps=1 guardian=yes detection=fast poll=20000\n\
        at 1.500 guest vm4 migrate 2 900\nat 2 trunk h2b delay 1 90\nat 3 store clock-step -5000\n\
        at 4 guest vm1 path-cut h1a\nat 9 heal\nend 700\n";
    const WIDE: &str = "cluster seed=7 hosts=2 trunks=2 vms=4 apps=1 guardian=yes detection=fast poll=20000 \
        controllers=2 canary=yes auth=yes\nat 1 guest vm1 key-of vm2\nend 700\n";

    #[test]
    fn what_is_written_is_read() {
        let plan = Plan::parse(TEXT).unwrap();
        assert_eq!(plan.to_string(), TEXT);
        assert_eq!(Plan::parse(WIDE).unwrap().to_string(), WIDE);
        assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
    }

    #[test]
    fn what_is_not_there_or_not_understood_is_refused_with_its_line() {
        for line in [
            "at 1 guest vm5 crash",
            "at 1 guest vm1 migrate 3 1",
            "at 1 guest vm1 app-fail 2",
            "at 1 guest vm1 path-cut h3a",
            "at 1 monitor h1c kill",
            "at 1 guest vm1 crash now",
            "at 1 guest vm1 quiet",
            "at 1 guest vm1 key-none",
            "at -1 heal",
            "at 1.2345 heal",
            "cluster vms=1001",
            "cluster vms",
            "hello",
        ] {
            let text = format!("cluster hosts=2 vms=4 apps=1\n{line}\nend 9\n");
            assert_eq!(Plan::parse(&text).map_err(|error| error.line), Err(2), "{line}");
        }
        assert!(Plan::parse("at 1 heal").is_err(), "without an end");
    }
}
