//! What the guest's administrator announces: a silence (`QUIET`), and that monitoring is suspended or resumed.
//!
//! Told on every open path, and on those that open while it still matters; what each host monitor made of it is kept, for
//! whoever asks.
//!
//! ```text
//!                           acknowledged                   QUIET_OK
//!   sent -----------------------------> acknowledged ---------------------> answered
//!    |  QUIET_OK before it: answered when acknowledged
//!    |  handed back, adapter gone
//!    +-----------------------------> lost (said again when the path opens)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::id::HostMonitorId;
use vmpulse_protocol::message::{Doorbell, Message};
use vmpulse_protocol::path::Token;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;

use super::{AdapterId, PathKey, Purpose, TrunkOutput, Trunks};

/// A `QUIET:0` that nobody acknowledged is said again to whoever comes within this time: no silence lasts longer.
const END_MATTERS_FOR: Duration = Duration::from_secs(600);

/// What is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// A silence, or its end.
    Quiet,
    /// That monitoring is suspended, or resumed.
    Suspension,
}

/// What a host monitor made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet.
    Waiting,
    /// It has it. (Of a silence: what was granted is still to come.)
    Acknowledged,
    /// So much silence was granted; none: refused, or ended.
    Granted(Duration),
    /// Its protocol version has no such message.
    TooOld,
    /// The path was lost before it acknowledged.
    Lost,
}

/// One path's part of an [`Announcement`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTold {
    /// Name of the adapter; empty if it is gone.
    pub adapter: String,
    /// The host monitor, while the path is open.
    pub host_monitor: Option<HostMonitorId>,
    /// What it made of it.
    pub told: Told,
}

/// What was announced last, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Whether no answer is to be waited for any more.
    pub settled: bool,
    /// Every path that was open, or has opened since.
    pub paths: Vec<PathTold>,
}

/// An announced silence as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietStatus {
    /// What was asked for.
    pub asked: Duration,
    /// How much longer: by what was granted, or by what was asked for if nobody has granted anything yet.
    pub left: Duration,
    /// Whether a host monitor has granted any of it.
    pub granted: bool,
    /// Why.
    pub reason: String,
}

/// The silence announced last.
#[derive(Clone, Debug)]
struct Quiet {
    asked: Duration,
    /// By what was asked for; once there is an answer, by what was granted.
    until: Instant,
    answered: bool,
    reason: String,
}

#[derive(Clone, Debug)]
struct Line {
    token: Token,
    said_at: Instant,
    acknowledged: bool,
    granted: Option<Duration>,
    lost: bool,
    too_old: bool,
}

impl Line {
    const fn told(&self) -> Told {
        match (self.too_old, self.acknowledged, self.granted, self.lost) {
            (true, ..) => Told::TooOld,
            (false, true, Some(granted), _) => Told::Granted(granted),
            (false, true, None, _) => Told::Acknowledged,
            (false, false, _, true) => Told::Lost,
            (false, false, _, false) => Told::Waiting,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcements {
    quiet: Option<Quiet>,
    /// Until when a silence that was ended may go on somewhere where that was not heard.
    ending: Option<Instant>,
    quiet_lines: BTreeMap<PathKey, Line>,
    /// `SUSPEND` (true) or `RESUME` (false) until every host monitor that was told of it, or may still keep what was said before, has
    /// acknowledged it.
    suspension: Option<bool>,
    suspension_lines: BTreeMap<PathKey, Line>,
    /// Who was told of it, or of what was said before, and has not acknowledged what was said last: it may keep the older word, and
    /// write it after what another one has written.
    unsure: BTreeSet<PathKey>,
    /// Who has acknowledged what was said last. While the store is away it only keeps that: once something else is said, it is as
    /// unsure as the others.
    knowing: BTreeSet<PathKey>,
    /// An earlier life said something that was never acknowledged, to host monitors that this one does not know: whichever opens a
    /// path may have read that only now, and is told what was said last.
    inherited: bool,
}

/// Host monitors in [`Announcements::unsure`] and in `knowing`: those of a few adapters, and some that were replaced. Beyond, the
/// first is forgotten.
const UNSURE_MAXIMUM: usize = 16;

fn remember(key: PathKey, among: &mut BTreeSet<PathKey>) {
    among.insert(key);
    while among.len() > UNSURE_MAXIMUM {
        among.pop_first();
    }
}

impl Announcements {
    /// `unheard`: said in an earlier life, and never acknowledged.
    pub(super) fn new(unheard: Option<bool>) -> Self {
        Self { suspension: unheard, inherited: unheard.is_some(), ..Self::default() }
    }

    fn lines(&mut self, what: Announced) -> &mut BTreeMap<PathKey, Line> {
        match what {
            Announced::Quiet => &mut self.quiet_lines,
            Announced::Suspension => &mut self.suspension_lines,
        }
    }

    /// The silence to be said at `now`: milliseconds and the reason.
    fn quiet_at(&self, now: Instant) -> Option<(u32, String)> {
        if let Some(quiet) = self.quiet.as_ref().filter(|quiet| quiet.until > now) {
            let left_ms = quiet.until.since(now).as_millis();
            return Some((u32::try_from(left_ms).unwrap_or(u32::MAX).max(1), quiet.reason.clone()));
        }
        self.ending.filter(|ending| *ending > now).map(|_| (0, String::new()))
    }

    fn line_of(&mut self, what: Announced, key: PathKey, token: Token) -> Option<&mut Line> {
        self.lines(what).get_mut(&key).filter(|line| line.token == token)
    }

    fn on_granted(&mut self, key: PathKey, granted: Duration) {
        let asked = self.quiet.as_ref().map_or(Duration::ZERO, |quiet| quiet.asked);
        // More than was asked for is the late answer to something that was said before.
        let Some(line) = self.quiet_lines.get_mut(&key).filter(|_| granted <= asked) else { return };
        line.granted = Some(granted);
        let until = line.said_at + granted;
        if let Some(quiet) = &mut self.quiet {
            // Both host monitors of a VM grant the same silence.
            quiet.until = if quiet.answered { quiet.until.max(until) } else { until };
            quiet.answered = true;
        }
    }

    /// What waited for an answer on this adapter waits in vain.
    pub(super) fn on_adapter_down(&mut self, adapter: AdapterId) {
        let on_it = |(key, _): &(&PathKey, &mut Line)| key.0 == adapter;
        let lines = self.quiet_lines.iter_mut().chain(&mut self.suspension_lines);
        lines.filter(on_it).for_each(|(_, line)| line.lost = true);
        // Nobody is there any more to be told.
        self.unsure.retain(|key| key.0 != adapter);
        self.knowing.retain(|key| key.0 != adapter);
    }
}

impl Trunks {
    /// Announces a silence; zero ends the one that was announced.
    pub(super) fn on_quiet(&mut self, now: Instant, asked: Duration, reason: String) {
        let announcements = &mut self.announcements;
        announcements.quiet_lines.clear();
        let ends = asked.is_zero();
        announcements.ending = ends.then(|| now + END_MATTERS_FOR);
        announcements.quiet = (!ends).then(|| Quiet { asked, until: now + asked, answered: false, reason });
        for key in self.open_paths() {
            self.tell_quiet(now, key);
        }
    }

    pub(super) fn on_suspension(&mut self, now: Instant, suspend: bool) {
        let announcements = &mut self.announcements;
        announcements.suspension = Some(suspend);
        announcements.suspension_lines.clear();
        for key in std::mem::take(&mut announcements.knowing) {
            remember(key, &mut announcements.unsure);
        }
        for key in self.open_paths() {
            self.tell_suspension(now, key);
        }
        self.bell.ring(now, Doorbell::SUSPENSION);
    }

    /// On a path that has just opened: what is not over, and what nobody has heard. [Q-2] [M-9]
    pub(super) fn tell_announcements(&mut self, now: Instant, key: PathKey) {
        let announcements = &self.announcements;
        if !announcements.unsure.is_empty() || !announcements.knowing.contains(&key) {
            self.tell_suspension(now, key);
        }
        self.tell_quiet(now, key);
    }

    fn tell_quiet(&mut self, now: Instant, key: PathKey) {
        let Some((ms, reason)) = self.announcements.quiet_at(now) else { return };
        let too_old = self
            .path(key)
            .and_then(|path| path.initiator.peer())
            .is_none_or(|(_, version)| version < Version::V2_1);
        self.add_line(now, key, Announced::Quiet, too_old);
        if !too_old {
            self.send(now, key, Purpose::Quiet, &Message::Quiet { ms, reason: &reason });
        }
    }

    fn tell_suspension(&mut self, now: Instant, key: PathKey) {
        let announcements = &mut self.announcements;
        let Some(suspend) = announcements.suspension else { return };
        remember(key, &mut announcements.unsure);
        let message = if suspend { Message::Suspend } else { Message::Resume };
        self.add_line(now, key, Announced::Suspension, false);
        self.send(now, key, Purpose::Suspension { suspend }, &message);
    }

    /// Before it is sent: what comes of it may come at once.
    fn add_line(&mut self, now: Instant, key: PathKey, what: Announced, too_old: bool) {
        let token = Token(self.next_token.wrapping_add(1));
        let line = Line { token, said_at: now, acknowledged: false, granted: None, lost: false, too_old };
        self.announcements.lines(what).insert(key, line);
    }

    pub(super) fn on_quiet_delivered(&mut self, key: PathKey, token: Token) {
        let announcements = &mut self.announcements;
        if let Some(line) = announcements.line_of(Announced::Quiet, key, token) {
            line.acknowledged = true;
            // One host monitor that knows is enough: the others learn it from the store.
            announcements.ending = None;
        }
    }

    pub(super) fn on_suspension_delivered(&mut self, key: PathKey, token: Token, suspend: bool) {
        if let Some(line) = self.announcements.line_of(Announced::Suspension, key, token) {
            line.acknowledged = true;
        }
        let announcements = &mut self.announcements;
        if announcements.suspension != Some(suspend) {
            return;
        }
        announcements.unsure.remove(&key);
        remember(key, &mut announcements.knowing);
        if announcements.unsure.is_empty() || is_on(Bug::LateSuspension) {
            announcements.suspension = announcements.suspension.filter(|_| announcements.inherited);
            self.outputs.push_back(TrunkOutput::SuspensionHeard);
        }
    }

    pub(super) fn on_announcement_lost(&mut self, key: PathKey, token: Token) {
        for what in [Announced::Quiet, Announced::Suspension] {
            if let Some(line) = self.announcements.line_of(what, key, token) {
                line.lost = true;
            }
        }
    }

    /// `QUIET_OK`.
    pub(super) fn on_quiet_granted(&mut self, key: PathKey, ms: u32) {
        self.announcements.on_granted(key, Duration::from_millis(ms.into()));
    }

    /// What was announced last, and what became of it.
    #[must_use]
    pub fn announcement(&self, what: Announced) -> Announcement {
        let (lines, answers) = match what {
            Announced::Quiet => (&self.announcements.quiet_lines, self.announcements.quiet.is_some()),
            Announced::Suspension => (&self.announcements.suspension_lines, false),
        };
        let told = |(key, line): (&PathKey, &Line)| PathTold {
            adapter: self.adapter_name(*key).unwrap_or_default(),
            host_monitor: self.path(*key).and_then(|path| path.initiator.peer()).map(|(id, _)| id),
            told: line.told(),
        };
        let settled = |line: &Line| match line.told() {
            Told::Waiting => false,
            Told::Acknowledged => !answers || line.lost,
            Told::Granted(_) | Told::TooOld | Told::Lost => true,
        };
        Announcement { settled: lines.values().all(settled), paths: lines.iter().map(told).collect() }
    }

    /// The announced silence, while it lasts.
    #[must_use]
    pub fn quiet(&self, now: Instant) -> Option<QuietStatus> {
        let quiet = self.announcements.quiet.as_ref().filter(|quiet| quiet.until > now)?;
        let left = quiet.until.since(now);
        let (asked, granted, reason) = (quiet.asked, quiet.answered, quiet.reason.clone());
        Some(QuietStatus { asked, left, granted, reason })
    }
}
