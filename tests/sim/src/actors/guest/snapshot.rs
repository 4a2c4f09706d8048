//! Snapshots of a guest: its memory, its disk and its clock go back to what they were; the world, and what the kernel draws of it,
//! do not.

use std::time::Duration;

use vmpulse_agent::ame::{Outcome, RunId};
use vmpulse_agent::record::{RecordedEngine, RecordedTrunks, Recording};
use vmpulse_agent::suspension::Suspension;
use vmpulse_protocol::time::Instant;

use super::{Agent, App, Guardian, Guest, Held, Vm, Wish};
use crate::event::Event;

/// One that runs, and what will come of it.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) run: RunId,
    pub(super) ends: Instant,
    pub(super) outcome: Outcome,
}

/// See the module.
pub(super) struct Snapshot {
    taken: Instant,
    agent: Agent,
    /// With what its page held: the page itself is shared memory, and is given back its words.
    guardian: Option<(Guardian, Vec<u64>)>,
    suspension: Suspension,
    booted: bool,
    claims: Vm,
    key: Held,
    apps: Vec<App>,
    scripts: Vec<Script>,
}

impl Guest {
    pub(crate) const fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Of a guest that is well.
    pub(crate) fn take_snapshot(&mut self, now: Instant) {
        let Some(agent) = self.agent.as_ref().filter(|_| self.is_well()).map(Agent::unrecorded) else {
            return;
        };
        let guardian = self.guardian.as_ref().map(|guardian| {
            let words = guardian.page.words();
            (guardian.unrecorded(), words)
        });
        self.snapshot = Some(Box::new(Snapshot {
            taken: now,
            agent,
            guardian,
            suspension: self.suspension,
            booted: self.booted,
            claims: self.claims,
            key: self.key,
            apps: self.apps.clone(),
            scripts: self.scripts.clone(),
        }));
    }

    /// Back to it. It may be used again.
    pub(crate) fn revert(&mut self, now: Instant) {
        let Some(snapshot) = self.snapshot.take() else { return };
        let by = now.since(snapshot.taken);
        let was_up = self.is_agent_up();
        self.forgot |= self.stopped || self.suspension != snapshot.suspension;
        self.stopped = false;
        // What was to happen to it will not.
        self.life += 1;
        self.waiting.clear();
        self.frozen = false;
        self.restore(&snapshot, by);
        self.snapshot = Some(snapshot);
        if self.keys.is_some()
            && let Some((claims, key)) = self.agent.as_ref().map(|agent| (agent.claims, agent.key))
        {
            self.say_credentials(claims, key);
        }
        if !was_up {
            self.wishes.push(Wish::Event(Event::AgentUp(self.vm)));
        }
        self.quiet_until = self.granted_until(now);
        self.turn(now);
    }

    /// What an administrator does about what a snapshot has made it forget: monitoring is resumed, and the agent started anew.
    pub(crate) fn remind(&mut self, now: Instant) {
        self.suspension = Suspension { suspended: false, heard: false };
        self.forgot = false;
        self.kill_agent(now, "is killed for its restart");
    }

    fn restore(&mut self, snapshot: &Snapshot, by: Duration) {
        let mut agent = snapshot.agent.unrecorded();
        agent.started = agent.started + by;
        self.agent = Some(agent);
        self.guardian = snapshot.guardian.as_ref().map(|(guardian, words)| {
            let mut guardian = guardian.unrecorded();
            guardian.page.set_words(words);
            guardian.set_back(by);
            guardian
        });
        (self.suspension, self.booted) = (snapshot.suspension, snapshot.booted);
        (self.claims, self.key) = (snapshot.claims, snapshot.key);
        self.apps.clone_from(&snapshot.apps);
        self.scripts = snapshot.scripts.iter().cloned().map(|script| script.later(by)).collect();
        for Script { run, ends, outcome } in self.scripts.clone() {
            let after = ends.since(snapshot.taken + by);
            self.wishes.push(Wish::ScriptEnds { after, life: self.life, run, outcome });
        }
    }

    /// What it believes to be granted, by the world's clock.
    fn granted_until(&self, now: Instant) -> Option<Instant> {
        let agent = self.agent.as_ref()?;
        agent.trunks.quiet(agent.own(now)).filter(|quiet| quiet.granted).map(|quiet| now + quiet.left)
    }
}

impl Agent {
    /// As it is, but that nothing more of it is recorded: a record knows nothing of snapshots.
    fn unrecorded(&self) -> Self {
        Self {
            started: self.started,
            claims: self.claims,
            key: self.key,
            trunks: RecordedTrunks::new((*self.trunks).clone(), Recording::default()),
            ame: RecordedEngine::new((*self.ame).clone(), Recording::default()),
            recording: Recording::default(),
            reporter: self.reporter.clone(),
            keeper: self.keeper.clone(),
            hangs: self.hangs,
            stop: self.stop,
        }
    }
}

impl Script {
    fn later(self, by: Duration) -> Self {
        Self { ends: self.ends + by, ..self }
    }
}
