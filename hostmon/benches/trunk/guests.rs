//! Thousands of guests behind one adapter: real handshakes, then heartbeats.

use std::collections::HashMap;
use std::time::{Duration, Instant as StdInstant};

use vmpulse_link::bench::{self, Injector};
use vmpulse_link::{CaptureConfig, CaptureSocket, Direction, MacAddr, ReceiveBuffer};
use vmpulse_protocol::auth::{Addresses, Authentication, Key, KeyId, Mode, Nonces};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::Message;
use vmpulse_protocol::path::{Event, Initiator, Outputs, VmmIdentity, VmmSecurity};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Packet, Version};

/// Handshakes under way at once: fewer than a monitor has room for.
const AT_ONCE: usize = 500;
/// All handshakes together; they take some seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between looks at what is to be sent again.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

pub(crate) fn vm(number: u32) -> VmUuid {
    let mut bytes = [0x5a; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    VmUuid::from_bytes(bytes)
}

pub(crate) fn key_id() -> KeyId {
    KeyId::new(1).unwrap()
}

pub(crate) fn key(number: u32) -> Key {
    let mut key = [0x5a; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    Key::from_bytes(key)
}

struct Guest {
    end: Initiator,
    out: Outputs,
    started: bool,
}

/// See the module.
pub(crate) struct Guests {
    monitor: MacAddr,
    guests: Vec<Guest>,
    /// Frames that do not change from one heartbeat to the next.
    plain: Option<Vec<Vec<u8>>>,
}

impl Guests {
    /// Shakes hands with the monitor at `monitor` over `interface`, and waits until each guest was told to beat.
    pub(crate) fn connect(interface: &str, monitor: MacAddr, count: u32, authenticated: bool) -> Self {
        let guests: Vec<Guest> =
            (0..count).map(|number| Guest::new(number, monitor, authenticated)).collect();
        let mut connecting = Connecting::new(interface, monitor, guests);
        while !connecting.is_done() {
            connecting.turn();
        }
        let mut guests = Self { monitor, guests: connecting.guests, plain: None };
        if !authenticated {
            guests.plain = Some((0..count).map(|number| guests.next_beat(number)).collect());
        }
        guests
    }

    /// For [`bench::Load::start`]: heartbeats of all in turn.
    pub(crate) fn heartbeats(mut self) -> impl FnMut(u64, &mut Vec<u8>) + Send + 'static {
        let count = self.guests.len() as u64;
        move |number, frame| {
            let number = (number % count) as u32;
            match &self.plain {
                Some(frames) => frame.clone_from(&frames[number as usize]),
                None => *frame = self.next_beat(number),
            }
        }
    }

    fn next_beat(&mut self, number: u32) -> Vec<u8> {
        let guest = &mut self.guests[number as usize];
        guest.end.send_heartbeat(&mut guest.out);
        let packet = guest.out.poll_packet().expect("an open path beats");
        let mut frame = Vec::new();
        bench::write_frame(&mut frame, self.monitor, bench::source(number), None, &packet);
        frame
    }
}

impl Guest {
    fn new(number: u32, monitor: MacAddr, authenticated: bool) -> Self {
        let (lower, upper) = (Version::V2_0, Version::V2_1);
        let identity =
            VmmIdentity { uuid: vm(number).to_string(), os_type: "Linux".to_owned(), lower, upper };
        let mut end = Initiator::new(identity, 1500, number.into());
        if authenticated {
            let addresses = Addresses { vmm: bench::source(number), hm: monitor };
            let authentication = Authentication::new(Mode::Required, [(key_id(), key(number))]);
            let nonces = Nonces::new(&[number.to_le_bytes()[0]; 32]);
            end.secure(VmmSecurity { authentication, addresses, nonces });
        }
        Self { end, out: Outputs::new(), started: false }
    }

    fn listen(&mut self) {
        while let Some(event) = self.out.poll_event() {
            if let Event::Message { delivery, payload } = event {
                self.started |= matches!(Message::parse(&payload), Some(Message::StartHeartbeat { .. }));
                self.end.accept(delivery, &mut self.out);
            }
        }
    }
}

struct Connecting {
    monitor: MacAddr,
    guests: Vec<Guest>,
    by_mac: HashMap<MacAddr, u32>,
    injector: Injector,
    capture: CaptureSocket,
    buffer: ReceiveBuffer,
    origin: StdInstant,
    begun: usize,
    done: usize,
    next_look: Duration,
}

impl Connecting {
    fn new(interface: &str, monitor: MacAddr, guests: Vec<Guest>) -> Self {
        let numbers = 0..u32::try_from(guests.len()).unwrap();
        Self {
            monitor,
            by_mac: numbers.map(|number| (bench::source(number), number)).collect(),
            guests,
            injector: Injector::open(interface).unwrap(),
            capture: CaptureSocket::open(&CaptureConfig::new(interface)).unwrap(),
            buffer: ReceiveBuffer::new(),
            origin: StdInstant::now(),
            begun: 0,
            done: 0,
            next_look: LOOK_PERIOD,
        }
    }

    fn is_done(&self) -> bool {
        assert!(self.origin.elapsed() < PATIENCE, "only {} guests were told to beat", self.done);
        self.done == self.guests.len()
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    fn turn(&mut self) {
        while self.begun < self.guests.len() && self.begun - self.done < AT_ONCE {
            let now = self.now();
            let guest = &mut self.guests[self.begun];
            guest.end.connect(now, &mut guest.out);
            self.send(self.begun);
            self.begun += 1;
        }
        while let Some(number) = self.receive() {
            self.send(number);
        }
        if self.origin.elapsed() >= self.next_look {
            self.next_look = self.origin.elapsed() + LOOK_PERIOD;
            let now = self.now();
            for number in 0..self.begun {
                let guest = &mut self.guests[number];
                guest.end.handle_timeout(now, &mut guest.out);
                self.send(number);
            }
        }
    }

    /// The guest for whom a frame came.
    fn receive(&mut self) -> Option<usize> {
        let now = self.now();
        let frame = self.capture.next(&mut self.buffer, Duration::from_millis(1)).unwrap()?;
        let number =
            *self.by_mac.get(&frame.destination).filter(|_| frame.direction == Direction::Received)?;
        let guest = &mut self.guests[number as usize];
        let packet = Packet::decode(frame.payload).ok()?;
        let was_started = guest.started;
        guest.end.handle_packet(now, &packet, &mut guest.out);
        guest.listen();
        self.done += usize::from(guest.started && !was_started);
        Some(number as usize)
    }

    fn send(&mut self, number: usize) {
        let source = bench::source(u32::try_from(number).unwrap());
        let guest = &mut self.guests[number];
        while let Some(packet) = guest.out.poll_packet() {
            let mut frame = Vec::new();
            bench::write_frame(&mut frame, self.monitor, source, None, &packet);
            // Lost like any frame may be.
            let _ = self.injector.send(&[frame]);
        }
    }
}
