//! The monitor's end of the canary's path, and what follows from its silence. [L-10]
//!
//! ```text
//!            adapter made            first heartbeat           1.9 intervals
//!   Off ----------------> Starting ------------------> Beating ------------> Silent
//!    ^                                                   ^  ^                 |   |
//!    +--- it says that it cannot, from any state         |  +--- heartbeat ---+   | guests beat, or it
//!                                                        |                        v did not even try
//!                                                        +--- heartbeat -------- Broken
//! ```
//! Silent: the trunk is not trusted. Broken: it is the canary that has failed, and guests are judged as if there were none.
//! One that ends while it is silent leaves the trunk as it was, until guests beat or it does, or the bound of [`weigh`] is over.
//! One that ends because the guests' side is gone or down says that the trunk is cut, whether it was silent yet or not.
//!
//! The canary is no VM: whatever comes from its address is dealt with here alone, and only what is authenticated by its key
//! counts. Nobody else has that key, and a guest of an isolating trunk never sees the address.

mod borne;
mod weigh;

use std::time::Duration;

use vmpulse_protocol::auth::{Addresses, Authentication, Key, Nonces};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::{Message, VmmSyn};
use vmpulse_protocol::path::{Event, Outputs, Reception, Responder, Token};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Packet};

use super::{Monitor, Output};
use crate::canary::CanaryIdentity;
use crate::sessions::Transmit;
use crate::tracker::Doubt;

/// Silence after which the canary is silent, in tenths of its interval: as for guests.
const SILENT_AFTER_TENTHS: u32 = 19;
/// A canary that has not tried to beat for this long, in tenths of its interval, is not the trunk's fault.
const TRIED_WITHIN_TENTHS: u32 = 15;
/// How long nothing of it may come, beside 1.25 of its intervals, before what was lost meanwhile is a doubt: a scheduler's everyday
/// behaviour. Where it lost one, guests may have lost theirs. (It is asked for some in between, so nearly two
/// intervals without any need not pass.)
const GAP_SLACK: Duration = Duration::from_millis(20);
/// Between two Hellos to a canary that is not heard, and between two handshakes.
const HELLO_PERIOD: Duration = Duration::from_secs(1);
/// Between two heartbeats that the canary is asked for because somebody's time is up: far below what policing lets one
/// address send.
const ASK_PERIOD: Duration = Duration::from_millis(25);
/// The same while it is silent, so that the trunk's return is known at once.
const ASK_SILENT_PERIOD: Duration = Duration::from_millis(200);
/// A canary whose adapter is there and that was never heard for this long will not be.
const STARTING_MAXIMUM: Duration = Duration::from_secs(10);

/// What the canary's thread says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryReport {
    /// Its adapter is there; it can be heard from now on.
    Up,
    /// When it last gave a heartbeat to its adapter, or tried to.
    Tried(Instant),
    /// It does not run, and why.
    Off(String),
    /// It does not run because the guests' side, on which it stood, is gone or down, and how.
    Cut(String),
}

/// How the canary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryState {
    /// It does not run.
    Off,
    /// It was not heard yet.
    Starting,
    /// It beats.
    Beating,
    /// It is silent, and the trunk is not trusted.
    Silent,
    /// It is silent, and the trunk works without it.
    Broken,
}

/// The canary as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryView {
    /// How it is.
    pub state: CanaryState,
    /// Why it is off or broken.
    pub reason: Option<String>,
    /// What it was told to beat at.
    pub interval_ms: Option<u32>,
    /// Since its last heartbeat.
    pub silence: Option<Duration>,
    /// Since the start.
    pub heartbeats: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Canary {
    pub(super) identity: CanaryIdentity,
    authentication: Authentication,
    nonces: Nonces,
    random: fastrand::Rng,
    responder: Responder,
    out: Outputs,
    state: CanaryState,
    /// When it came to this state.
    since: Instant,
    reason: Option<String>,
    wanted_ms: u32,
    told_ms: Option<u32>,
    telling_ms: Option<u32>,
    heard: Option<Instant>,
    /// Count in the trailer of its latest packet on the open path: each sending has its own, so one that is left out was sent
    /// and lost. A canary that is late leaves none out.
    count: Option<u64>,
    tried: Option<Instant>,
    /// It is not called silent before: the monitor may have missed it, or it was told a shorter interval.
    not_before: Instant,
    begun: Option<Instant>,
    next_hello: Instant,
    next_ask: Instant,
    heartbeats: u64,
    discarded: u64,
    /// How often it came up.
    ups: u64,
    /// Guests beat when it was found silent: one look more before anything is concluded.
    spares_trunk: bool,
    /// It ended while it accused the trunk, which is no better for that.
    ended_accusing: Option<weigh::Ended>,
    /// What it stood on was gone or down when it last said how it is.
    cut: bool,
    /// While it is silent, or ended so: when the guests are looked to next.
    next_look: Instant,
    /// What comes in its name does not belong to the open path: the two ends may have different ones.
    misunderstood: bool,
    /// What it sent since then did not come.
    lost_since: Instant,
    /// Since when guests are known to beat while it is silent.
    guests_beat_since: Option<Instant>,
    /// The same of some guests, which need not be the most.
    borne: borne::Borne,
    /// Since when the monitor's own adapter has been down.
    deaf_since: Option<Instant>,
}

impl Canary {
    pub(super) fn new(
        identity: CanaryIdentity,
        wanted_ms: u32,
        seed: u64,
        nonce_seed: &[u8; 32],
        now: Instant,
    ) -> Self {
        let mut nonces = Nonces::new(nonce_seed);
        // Other nonces than the guests' sessions draw from the same seed.
        nonces.stir(identity.key.as_ref().map_or(&[0; 32], Key::as_bytes));
        Self {
            authentication: identity.authentication(),
            identity,
            nonces,
            random: fastrand::Rng::with_seed(!seed),
            responder: Responder::new(),
            out: Outputs::new(),
            state: CanaryState::Off,
            since: now,
            reason: Some("it is being started".to_owned()),
            wanted_ms,
            told_ms: None,
            telling_ms: None,
            heard: None,
            count: None,
            tried: None,
            not_before: now,
            begun: None,
            next_hello: now,
            next_ask: now,
            heartbeats: 0,
            discarded: 0,
            ups: 0,
            spares_trunk: false,
            ended_accusing: None,
            cut: false,
            next_look: now,
            misunderstood: false,
            lost_since: now,
            guests_beat_since: None,
            borne: borne::Borne::default(),
            deaf_since: None,
        }
    }

    /// Whether its silence says that the trunk does not work.
    pub(super) fn accuses_trunk(&self) -> bool {
        self.ended_accusing.is_some() || self.state == CanaryState::Silent && !self.spares_trunk
    }

    /// Whether what it stood on is gone or down.
    pub(super) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// When the guests are to be asked whether the trunk works.
    fn look(&self) -> Option<Instant> {
        (self.ended_accusing.is_some() || self.state == CanaryState::Silent).then_some(self.next_look)
    }

    /// When it was last heard, if it beats.
    pub(super) fn proof(&self) -> Option<Instant> {
        self.heard.filter(|_| self.state == CanaryState::Beating)
    }

    /// What a packet counts, and the packet; without what proves it where there is no key.
    fn checked<'a>(&self, packet: Packet<'a>) -> (Option<u64>, Packet<'a>) {
        let count = packet.trailer.map(|trailer| trailer.count);
        if self.identity.key.is_some() {
            return (count, packet);
        }
        let Packet { version, number, flags, payload, .. } = packet;
        (count, Packet::plain(version, number, flags.without(Flags::AUTH), payload))
    }

    /// Its address, once it had an adapter of it.
    pub(super) fn address(&self) -> Option<vmpulse_protocol::MacAddr> {
        (self.ups > 0).then_some(self.identity.mac)
    }

    pub(super) const fn ups(&self) -> u64 {
        self.ups
    }

    pub(super) const fn discarded(&self) -> u64 {
        self.discarded
    }

    pub(super) fn view(&self, now: Instant) -> CanaryView {
        CanaryView {
            state: self.state,
            reason: self.reason.clone(),
            interval_ms: self.told_ms,
            silence: self.heard.map(|heard| now.since(heard)),
            heartbeats: self.heartbeats,
        }
    }

    /// The longest that it may have been told to beat at.
    fn interval(&self) -> Duration {
        let longest = self.told_ms.max(self.telling_ms).unwrap_or(self.wanted_ms);
        Duration::from_millis(longest.into())
    }

    /// When it is silent, if it is not heard before.
    fn deadline(&self) -> Option<Instant> {
        let allowed = self.interval().saturating_mul(SILENT_AFTER_TENTHS) / 10;
        (self.state == CanaryState::Beating)
            .then(|| self.heard.map(|heard| (heard + allowed).max(self.not_before)))?
    }

    /// It has acknowledged the interval that it was told. By a shorter one its silence so far may already be too long. [L-4]
    fn on_told(&mut self, now: Instant) {
        let before = self.interval();
        self.told_ms = self.telling_ms.take();
        if self.interval() < before {
            self.not_before =
                self.not_before.max(now + self.interval().saturating_mul(SILENT_AFTER_TENTHS) / 10);
        }
    }

    /// Doubts of the monitor's own hearing; at most one interval more each.
    pub(super) fn handle_doubt(&mut self, now: Instant, doubt: Doubt) {
        if doubt.is_noteworthy() && doubt.matters_to(self.interval()) {
            self.not_before = now + self.interval();
        }
    }

    fn set(&mut self, now: Instant, state: CanaryState, reason: Option<String>) {
        self.state = state;
        self.since = now;
        self.reason = reason;
    }

    /// Not for its silence alone: on a trunk that was cut its path is as good as before, and a handshake would only disturb it.
    fn is_to_be_helloed(&self) -> bool {
        self.state != CanaryState::Off && (self.misunderstood || !self.responder.is_open())
    }

    /// How often it is to be asked for a heartbeat, if it is. `wanted`: somebody waits for one.
    fn ask_period(&self, wanted: bool) -> Option<Duration> {
        match self.state {
            CanaryState::Beating => wanted.then_some(ASK_PERIOD),
            CanaryState::Silent => Some(ASK_SILENT_PERIOD),
            CanaryState::Off | CanaryState::Starting | CanaryState::Broken => None,
        }
    }

    fn poll_timeout(&self, asks: bool) -> Option<Instant> {
        let hello = self.is_to_be_helloed().then_some(self.next_hello);
        let ask = self.ask_period(asks).map(|_| self.next_ask);
        let starting = (self.state == CanaryState::Starting).then(|| self.since + STARTING_MAXIMUM);
        let all = [hello, ask, self.look(), starting, self.deadline(), self.responder.poll_timeout()];
        all.into_iter().flatten().min()
    }
}

impl Monitor {
    /// How the canary is; `None`: none is configured.
    #[must_use]
    pub fn canary(&self, now: Instant) -> Option<CanaryView> {
        self.canary.as_ref().map(|canary| canary.view(now))
    }

    /// Whether a frame from this address is the canary's to deal with.
    pub(super) fn is_canary(&self, source: vmpulse_protocol::MacAddr) -> bool {
        self.canary.as_ref().is_some_and(|canary| canary.identity.mac == source)
    }

    pub(super) fn on_canary_frame(&mut self, now: Instant, arrived: Instant, payload: &[u8]) {
        let Some(canary) = &mut self.canary else { return };
        let Ok(packet) = Packet::decode(payload) else {
            canary.discarded = canary.discarded.saturating_add(1);
            return;
        };
        let (count, packet) = canary.checked(packet);
        if packet.has(Flags::HEL) {
            // It asks for one.
            if canary.next_hello <= now {
                canary.next_hello = now + HELLO_PERIOD;
                self.sessions.hello_at(canary.identity.mac);
            }
        } else if packet.has(Flags::SYN | Flags::BEG | Flags::ACKR) && !packet.has(Flags::ACK) {
            self.on_canary_syn(now, &packet);
        } else {
            canary.responder.handle_packet(now, &packet, &self.config.identity, &mut canary.out);
            return self.on_canary_events(now, arrived, count);
        }
        self.on_canary_events(now, arrived, None);
    }

    fn on_canary_syn(&mut self, now: Instant, packet: &Packet<'_>) {
        let (identity, hm) = (self.config.identity, self.config.mac);
        let Some(canary) = &mut self.canary else { return };
        let vm = canary.identity.vm;
        let syn = VmmSyn::parse(packet.payload).ok().filter(|syn| syn.uuid.parse::<VmUuid>() == Ok(vm));
        let repeated = canary.responder.is_repetition(now, packet);
        let too_soon = canary.begun.is_some_and(|begun| now.since(begun) < HELLO_PERIOD);
        let Some(syn) = syn.filter(|_| repeated || !too_soon) else {
            canary.discarded = canary.discarded.saturating_add(1);
            return;
        };
        if !repeated {
            canary.begun = Some(now);
        }
        let reception = Reception {
            vm,
            addresses: Addresses { vmm: canary.identity.mac, hm },
            authentication: &canary.authentication,
            gives_way: false,
            nonce: canary.nonces.next_nonce(),
            seed: canary.random.u64(..),
        };
        // What is refused is not answered, and the canary's own silence says the rest.
        let _ = canary.responder.handle_syn(now, packet, &syn, &identity, &reception, &mut canary.out);
    }

    pub(super) fn on_canary_report(&mut self, now: Instant, report: CanaryReport) {
        let Some(canary) = &mut self.canary else { return };
        match report {
            CanaryReport::Tried(at) => canary.tried = Some(at),
            CanaryReport::Up => {
                canary.ups = canary.ups.saturating_add(1);
                canary.next_hello = now;
                canary.tried = None;
                canary.cut = false;
                canary.set(now, CanaryState::Starting, None);
            }
            CanaryReport::Off(reason) => {
                canary.end_accusing(now);
                canary.end_cut(now);
                self.on_canary_off(now, reason);
            }
            CanaryReport::Cut(reason) => {
                canary.end_accusing(now);
                canary.begin_cut(now, self.tracker.has_forgiven(now));
                self.on_canary_off(now, reason);
            }
        }
    }

    fn on_canary_off(&mut self, now: Instant, reason: String) {
        let Some(canary) = &mut self.canary else { return };
        let news = canary.reason.as_ref() != Some(&reason);
        canary.set(now, CanaryState::Off, Some(reason.clone()));
        // What of a trunk that is not trusted: nobody is judged then, and who waits for proof must not be before that is settled.
        if !canary.accuses_trunk() {
            self.tracker.handle_unproved();
        }
        if news {
            self.remark(now, "CANARY_OFF", format!("the trunk is watched without a canary: {reason}"));
        }
    }

    /// The shortest interval in use on the trunk is the canary's. Looks at all VMs.
    pub(super) fn on_intervals_changed(&mut self, now: Instant) {
        let all = self.watched.keys().filter_map(|vm| self.watched.get(vm)?.due());
        let shortest = all.min().unwrap_or(self.config.heartbeat_interval_ms);
        if let Some(canary) = &mut self.canary {
            canary.wanted_ms = shortest;
        }
        self.tell_canary(now);
    }

    pub(super) fn canary_timeout(&mut self, now: Instant, as_of: Instant) {
        let asks = self.tracker.wants_proof();
        let Some(canary) = &mut self.canary else { return };
        if canary.responder.handle_timeout(now, &mut canary.out) {
            // It is told again with its next heartbeat, and the path stays: nothing is gained by closing it.
            canary.telling_ms = None;
        }
        if canary.is_to_be_helloed() && canary.next_hello <= now {
            canary.next_hello = now + HELLO_PERIOD;
            canary.misunderstood = false;
            self.sessions.hello_at(canary.identity.mac);
        }
        if let Some(period) = canary.ask_period(asks).filter(|_| canary.next_ask <= now) {
            canary.next_ask = now + period;
            self.outputs.push_back(Output::AskCanary);
        }
        self.on_canary_events(now, now, None);
        self.judge_canary(now, as_of);
    }

    pub(super) fn canary_poll_timeout(&self) -> Option<Instant> {
        self.canary.as_ref()?.poll_timeout(self.tracker.wants_proof())
    }

    fn judge_canary(&mut self, now: Instant, as_of: Instant) {
        let Some(canary) = &mut self.canary else { return };
        let interval = canary.interval();
        match canary.state {
            CanaryState::Starting if now.since(canary.since) >= STARTING_MAXIMUM => {
                let reason = "its heartbeats do not reach the monitor".to_owned();
                canary.set(now, CanaryState::Broken, Some(reason.clone()));
                canary.is_unheard_again();
                self.remark(now, "CANARY_OFF", format!("the trunk is watched without a canary: {reason}"));
            }
            CanaryState::Beating if canary.deadline().is_some_and(|due| due <= as_of) => {
                // How long it was heard before tells whether it is the same trouble as the last time.
                canary.accuse_anew(now, self.tracker.has_forgiven(now));
                canary.set(now, CanaryState::Silent, None);
                canary.next_look = now + interval;
                canary.lost_since = canary.heard.map_or(as_of, |heard| heard + interval);
                canary.spares_trunk = !self.adapter_down;
                self.weigh_canary(now, as_of);
            }
            CanaryState::Off
            | CanaryState::Starting
            | CanaryState::Beating
            | CanaryState::Silent
            | CanaryState::Broken => {
                if canary.look().is_some_and(|look| look <= now) {
                    canary.next_look = now + interval;
                    self.weigh_canary(now, as_of);
                }
            }
        }
    }

    /// `count`: in the trailer of the packet that they came of; right unless that was discarded.
    fn on_canary_events(&mut self, now: Instant, arrived: Instant, count: Option<u64>) {
        let mut count = count;
        while let Some(canary) = &mut self.canary
            && let Some(event) = canary.out.poll_event()
        {
            match event {
                Event::Heartbeat { .. } => self.on_canary_beat(now, arrived, count),
                Event::Opened { .. } => {
                    // They are counted anew.
                    (canary.count, count) = (None, None);
                    canary.told_ms = None;
                    canary.telling_ms = None;
                    self.tell_canary(now);
                }
                Event::Delivered(_) => {
                    canary.on_told(now);
                    self.tell_canary(now);
                }
                Event::HandedBack { .. } | Event::Closed(_) => canary.telling_ms = None,
                Event::Message { delivery, .. } => canary.responder.refuse(delivery),
                Event::Discarded(_) => {
                    count = None;
                    canary.discarded = canary.discarded.saturating_add(1);
                    canary.misunderstood = true;
                }
                Event::HandshakeFailed(_) => {}
            }
        }
        let Some(canary) = &mut self.canary else { return };
        canary.count = count.or(canary.count);
        while let Some(payload) = canary.out.poll_packet() {
            let frame = Transmit { destination: canary.identity.mac, vlan: None, payload };
            self.outputs.push_back(Output::Transmit(frame));
        }
    }

    fn on_canary_beat(&mut self, now: Instant, arrived: Instant, count: Option<u64>) {
        let Some(canary) = &mut self.canary else { return };
        canary.heartbeats = canary.heartbeats.saturating_add(1);
        let relied_on = matches!(canary.state, CanaryState::Beating | CanaryState::Silent);
        let gap = canary.heard.filter(|_| relied_on).map_or(Duration::ZERO, |heard| arrived.since(heard));
        let missed = count
            .zip(canary.count)
            .map_or(0, |(count, before)| count.saturating_sub(before).saturating_sub(1));
        let lost = missed > 0 && gap > canary.interval().saturating_mul(5) / 4 + GAP_SLACK;
        canary.heard = Some(canary.heard.map_or(arrived, |heard| heard.max(arrived)));
        let before = canary.state;
        if before == CanaryState::Off {
            // Its last words.
            return;
        }
        if before != CanaryState::Beating {
            canary.set(now, CanaryState::Beating, None);
            canary.ended_accusing = None;
        }
        canary.misunderstood = false;
        if lost {
            self.tracker.handle_doubt(now, Doubt::CanaryGap(gap));
        }
        self.tracker.handle_proof(arrived);
        if before == CanaryState::Broken {
            self.remark(now, "CANARY_BACK", "the canary is heard again".to_owned());
        }
        self.tell_canary(now);
    }

    /// Tells it to beat as is wanted, unless it was told so.
    fn tell_canary(&mut self, now: Instant) {
        let Some(canary) = &mut self.canary else { return };
        let unsaid = canary.told_ms != Some(canary.wanted_ms);
        if canary.telling_ms.is_some() || !unsaid || !canary.responder.is_open() {
            return;
        }
        canary.telling_ms = Some(canary.wanted_ms);
        let message = Message::StartHeartbeat { interval_ms: canary.wanted_ms };
        canary.responder.send(now, Token(0), &message, &mut canary.out);
        // What it may have refused at once is seen with the next event.
        while let Some(payload) = canary.out.poll_packet() {
            let frame = Transmit { destination: canary.identity.mac, vlan: None, payload };
            self.outputs.push_back(Output::Transmit(frame));
        }
    }
}
