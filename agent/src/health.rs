//! Whether applications are healthy, for load balancers and other watchers. Pure; [`server`] answers it over HTTP.
//!
//! Healthy means: its monitor has said that it works, and has not failed so often since that it counts as failed.
//!
//! | status | healthy | why |
//! |---|---|---|
//! | NORMAL | yes | |
//! | FAILING | if it was NORMAL before | `monitor_failure_threshold` says when a failure counts; a single slow answer under load must not empty a whole pool |
//! | UNSET | no | nothing is known yet |
//! | TO_STOP, TO_START | no | it is being stopped or started |
//! | RED | no | |
//! | NOT_MONITORED | no | nobody knows; whoever suspends an application mostly does so to work on it |
//!
//! The guest is healthy if at least one application is monitored, and all that are monitored are healthy: one that is
//! suspended does not take the others with it.

pub mod request;
pub mod server;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::ame::{ApplicationStatus, Status};

/// What is said of one application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationHealth {
    /// Its name.
    pub name: String,
    /// Its status, as in the report.
    pub status: String,
    /// Its colour, as in the report.
    pub colour: String,
    /// Whether it is healthy.
    pub healthy: bool,
    /// False: suspended, and not counted for the whole.
    pub monitored: bool,
}

/// What is said of the guest, or of one application alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The whole.
    pub healthy: bool,
    /// In the order of the configuration.
    pub applications: Vec<ApplicationHealth>,
}

/// The applications that are healthy, by name; at most as many as are configured.
#[derive(Clone, Debug, Default)]
pub struct Healthy(HashSet<String>);

impl Healthy {
    /// Takes a change of an application's status.
    pub fn on_change(&mut self, app: &str, to: Status) {
        match is_healthy(to) {
            Some(true) => drop(self.0.insert(app.to_owned())),
            Some(false) => drop(self.0.remove(app)),
            None => {}
        }
    }

    /// Forgets those that are configured no more.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|app| is_there(app));
    }

    /// Whether the application of that name is healthy.
    #[must_use]
    pub fn contains(&self, app: &str) -> bool {
        self.0.contains(app)
    }
}

/// Whether an application that comes into this state is healthy; `None`: as before.
const fn is_healthy(status: Status) -> Option<bool> {
    match status {
        Status::Normal => Some(true),
        Status::Failing => None,
        Status::NotMonitored
        | Status::Unset
        | Status::ToStop
        | Status::ToStart
        | Status::NotStoppable
        | Status::NotStartable
        | Status::Abnormal
        | Status::Failure => Some(false),
    }
}

impl Health {
    /// Of all applications of an engine.
    #[must_use]
    pub fn of(applications: impl Iterator<Item = ApplicationStatus>, healthy: &Healthy) -> Self {
        Self::new(applications.map(|status| application(status, healthy)).collect())
    }

    /// Of all applications.
    #[must_use]
    pub fn new(applications: Vec<ApplicationHealth>) -> Self {
        let mut monitored = applications.iter().filter(|application| application.monitored).peekable();
        let healthy = monitored.peek().is_some() && monitored.all(|application| application.healthy);
        Self { healthy, applications }
    }

    /// Of one application, if there is one of that name.
    #[must_use]
    pub fn only(&self, name: &str) -> Option<Self> {
        let application = self.applications.iter().find(|application| application.name == name)?.clone();
        Some(Self { healthy: application.healthy, applications: vec![application] })
    }
}

fn application(application: ApplicationStatus, healthy: &Healthy) -> ApplicationHealth {
    ApplicationHealth {
        healthy: healthy.contains(&application.name),
        name: application.name,
        status: application.status.to_string(),
        colour: application.status.colour().to_string(),
        // One that is taken up again is counted from then on, and not healthy until its monitor has answered.
        monitored: application.monitored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ame::RunResult;
    use vmpulse_protocol::time::Instant;

    /// Applications that came into their states by these.
    fn health(states: &[(&str, Status)]) -> Health {
        let mut healthy = Healthy::default();
        let mut last: Vec<(&str, Status)> = Vec::new();
        for (name, status) in states {
            healthy.on_change(name, *status);
            last.retain(|(other, _)| other != name);
            last.push((name, *status));
        }
        let statuses = last.iter().map(|(name, status)| ApplicationStatus {
            name: (*name).to_owned(),
            uuid: "1567267349133928000".to_owned(),
            status: *status,
            critical: false,
            monitored: *status != Status::NotMonitored,
            max_restart: 3,
            restarts: 0,
            version: String::new(),
            last_result: RunResult::Normal,
            changed_at: Instant::ZERO,
            stopped: false,
            waits_for: Vec::new(),
        });
        Health::of(statuses, &healthy)
    }

    #[test]
    fn the_guest_is_healthy_if_all_that_are_monitored_are() {
        use Status::{Failing, Failure, Normal, NotMonitored, Unset};
        for (states, healthy) in [
            (vec![], false),
            (vec![("a", Normal)], true),
            (vec![("a", Normal), ("a", Failing)], true),
            (vec![("a", Normal), ("a", Failing), ("a", Status::ToStop)], false),
            (vec![("a", Unset), ("a", Failing)], false),
            (vec![("a", Normal), ("a", Failure), ("a", Unset), ("a", Failing)], false),
            (vec![("a", Unset)], false),
            (vec![("a", NotMonitored)], false),
            (vec![("a", Normal), ("b", NotMonitored)], true),
            (vec![("a", Normal), ("b", Failure)], false),
        ] {
            assert_eq!(health(&states).healthy, healthy, "{states:?}");
        }
    }

    #[test]
    fn one_application_alone() {
        let health = health(&[("a", Status::Normal), ("b", Status::Failure), ("c", Status::NotMonitored)]);
        assert!(health.only("a").unwrap().healthy);
        assert!(!health.only("b").unwrap().healthy);
        assert!(!health.only("c").unwrap().healthy);
        assert_eq!(health.only("d"), None);
    }

    #[test]
    fn the_page_says_the_same_of_every_state() {
        let page = include_str!("../../docs/operating/health.md");
        for status in Status::ALL {
            let answer = match is_healthy(status) {
                Some(true) => "200",
                Some(false) => "503",
                None => "as before",
            };
            let line = page.lines().find(|line| line.starts_with('|') && line.contains(status.name()));
            assert!(line.is_some_and(|line| line.contains(answer)), "{status}: {line:?}");
        }
    }
}
