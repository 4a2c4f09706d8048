//! What is announced: silences, suspension.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

impl World {
    /// Hears its host monitor, beats, and forgets what was said until then.
    fn beating(unheard_suspension: Option<bool>) -> Self {
        let mut world = World::new();
        let vm = "61be20f0-09a8-4753-b5e5-564f8a545ed5".to_owned();
        world.trunks = Trunks::new(
            TrunksConfig { vm, incarnation_seed: 1, nonce_seed: [1; 32], unheard_suspension },
            world.now,
        );
        let up = TrunkInput::AdapterUp { adapter: ADAPTER, mac: VMM, mtu: 1500, name: "eth0".to_owned() };
        world.trunks.handle_input(world.now, up);
        world.hello(FIRST, MacAddr::broadcast());
        world.run(1);
        world
    }

    fn quiet(&mut self, asked: Duration) {
        let reason = "backup".to_owned();
        self.trunks.handle_input(self.now, TrunkInput::Quiet { asked, reason });
        self.carry();
    }

    fn granted(&mut self, granted: Duration) {
        let ms = u32::try_from(granted.as_millis()).unwrap();
        self.say(&Message::QuietOk { ms });
    }

    fn told(&self, what: Announced) -> (bool, Vec<Told>) {
        let announcement = self.trunks.announcement(what);
        (announcement.settled, announcement.paths.into_iter().map(|path| path.told).collect())
    }

    /// The path is lost and comes back: the host monitor was killed and started again.
    fn reconnect(&mut self) {
        self.hm = Responder::new();
        self.hello(SECOND, VMM);
        self.run(1);
    }
}

#[test]
fn a_silence_is_announced_and_its_grant_is_known_and_the_guest_beats_on() {
    let mut world = World::beating(None);
    world.quiet(MINUTE);
    assert_eq!(world.texts(), ["QUIET:60000:backup"]);
    assert_eq!(world.told(Announced::Quiet), (false, vec![Told::Acknowledged]));
    world.granted(Duration::from_secs(20));
    assert_eq!(world.told(Announced::Quiet), (true, vec![Told::Granted(Duration::from_secs(20))]));
    let quiet = world.trunks.quiet(world.now).unwrap();
    assert_eq!((quiet.asked, quiet.left, quiet.reason.as_str()), (MINUTE, Duration::from_secs(20), "backup"));
    let before = world.heartbeats.len();
    world.run(20);
    assert_eq!(world.heartbeats.len(), before + 2);
    assert_eq!(world.trunks.quiet(world.now), None);
}

///
#[test]
fn a_path_that_opens_meanwhile_hears_what_is_left_of_it() {
    let mut world = World::beating(None);
    world.quiet(MINUTE);
    world.granted(MINUTE);
    world.run(20);
    world.messages.clear();
    world.reconnect();
    let said =
        world.texts().into_iter().find_map(|text| text.strip_prefix("QUIET:")?.strip_suffix(":backup"));
    let left_ms: u64 = said.unwrap().parse().unwrap();
    assert!((39_000..=40_000).contains(&left_ms), "{left_ms}");
    world.granted(Duration::from_millis(left_ms));
    world.run(40);
    world.messages.clear();
    world.reconnect();
    assert!(world.texts().iter().all(|text| !text.starts_with("QUIET")), "over: {:?}", world.texts());
}

#[test]
fn no_more_is_announced_anew_than_was_granted() {
    let mut world = World::beating(None);
    world.quiet(MINUTE * 10);
    world.granted(MINUTE);
    world.run(61);
    world.messages.clear();
    world.reconnect();
    assert!(world.texts().iter().all(|text| !text.starts_with("QUIET")), "{:?}", world.texts());
}

#[test]
fn a_host_monitor_that_grants_nothing_or_does_not_answer_is_known_as_such() {
    let mut world = World::beating(None);
    world.quiet(MINUTE);
    world.granted(Duration::ZERO);
    assert_eq!(world.told(Announced::Quiet), (true, vec![Told::Granted(Duration::ZERO)]));
    assert_eq!(world.trunks.quiet(world.now), None);
    world.connected = false;
    world.quiet(MINUTE);
    assert_eq!(world.told(Announced::Quiet), (false, vec![Told::Waiting]));
    world.run(16);
    assert_eq!(world.told(Announced::Quiet), (true, vec![Told::Lost]));
    world.connected = true;
    world.messages.clear();
    world.hello(FIRST, VMM);
    world.run(1);
    assert!(matches!(world.texts()[..], [text, ..] if text.starts_with("QUIET:4")), "{:?}", world.texts());
    assert_eq!(world.told(Announced::Quiet), (false, vec![Told::Acknowledged]));
}

#[test]
fn the_late_answer_to_an_earlier_word_is_not_taken_for_this_ones() {
    let mut world = World::beating(None);
    world.quiet(MINUTE);
    world.quiet(Duration::ZERO);
    assert_eq!(world.texts(), ["QUIET:60000:backup", "QUIET:0"]);
    world.granted(MINUTE);
    world.granted(Duration::ZERO);
    assert_eq!(world.told(Announced::Quiet), (true, vec![Told::Granted(Duration::ZERO)]));
    assert_eq!(world.trunks.quiet(world.now), None);
}

#[test]
fn an_end_that_nobody_heard_is_said_again() {
    let mut world = World::beating(None);
    world.quiet(MINUTE);
    world.granted(MINUTE);
    world.connected = false;
    world.quiet(Duration::ZERO);
    world.run(17);
    world.connected = true;
    world.messages.clear();
    world.hello(FIRST, VMM);
    world.run(1);
    assert_eq!(world.texts()[0], "QUIET:0");
    world.messages.clear();
    world.reconnect();
    assert!(world.texts().iter().all(|text| !text.starts_with("QUIET")), "{:?}", world.texts());
}

/// [M-4]
#[test]
fn a_host_monitor_of_an_older_version_is_not_told() {
    let mut world = World::new();
    world.identity.upper = Version::V2_0;
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    world.quiet(MINUTE);
    assert_eq!(world.told(Announced::Quiet), (true, vec![Told::TooOld]));
    assert!(world.texts().is_empty());
}

#[test]
fn with_no_path_there_is_nobody_to_wait_for() {
    let mut world = World::new();
    world.quiet(MINUTE);
    assert_eq!(world.told(Announced::Quiet), (true, vec![]));
    world.hello(FIRST, MacAddr::broadcast());
    world.run(1);
    assert_eq!(world.texts()[0].split(':').next(), Some("QUIET"), "said when there is one");
    world.trunks.handle_input(world.now, TrunkInput::AdapterDown { adapter: ADAPTER });
    assert!(world.trunks.announcement(Announced::Quiet).paths.iter().all(|path| path.adapter.is_empty()));
}

#[test]
fn a_suspension_that_nobody_heard_is_said_after_a_restart_and_only_then() {
    for (unheard, expected) in [(Some(true), Some("SUSPEND")), (Some(false), Some("RESUME")), (None, None)] {
        let mut world = World::beating(unheard);
        assert_eq!(world.texts().first().copied(), expected);
        let heard = world.others.iter().filter(|output| **output == TrunkOutput::SuspensionHeard).count();
        assert_eq!(heard, usize::from(unheard.is_some()));
        world.messages.clear();
        world.reconnect();
        assert!(world.texts().iter().all(|text| text.starts_with("DBELL")), "{:?}", world.texts());
    }
}

#[test]
fn a_resume_that_waits_behind_a_suspend_is_not_taken_for_heard() {
    let mut world = World::beating(None);
    world.connected = false;
    world.trunks.handle_input(world.now, TrunkInput::Suspend);
    world.trunks.handle_input(world.now, TrunkInput::Resume);
    world.connected = true;
    world.run(1);
    assert_eq!(world.texts()[..2], ["SUSPEND", "RESUME"]);
    assert_eq!(world.others.iter().filter(|output| **output == TrunkOutput::SuspensionHeard).count(), 1);
    assert_eq!(world.told(Announced::Suspension), (true, vec![Told::Acknowledged]));
}
