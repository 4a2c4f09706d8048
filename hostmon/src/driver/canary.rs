//! The canary's thread: a guest of this host itself, beside the loop that judges it.
//!
//! It shares nothing with the monitor's loop but three words: what it was asked to do, what it says of itself, and when it last
//! tried to beat. So a loop that is held up does not keep it from beating, and a canary that is held up is known to
//! be: that is not taken for a dead trunk.

mod adapter;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, sleep_until};
use vmpulse_link::{Link, LinkConfig, LinkError, PacketSocket, ReceiveBuffer, ReceiveMethod};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::errors;
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::time::Instant;

use super::priority;
use crate::canary::{CanaryIdentity, CanaryVmm};
use crate::monitor::{CanaryReport, Input};
use crate::record::Recorded;
use crate::settings::Settings;
use adapter::{Place, Unmade};

/// Between attempts to make its adapter: this long after the first failure, twice as long after each further one.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAXIMUM: Duration = Duration::from_secs(60);
/// Between looks whether its adapter is still there.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Frames taken in one go; nobody but the monitor sends it any.
const FRAMES_PER_TURN: usize = 64;
/// Its receive buffer: a few frames.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

enum Order {
    Beat,
    MonitorAt(MacAddr),
    Stop,
}

/// The driver's end. Both queues are short: orders come at most every 25 ms and are taken at once, reports are few.
pub(super) struct CanaryThread {
    orders: UnboundedSender<Order>,
    reports: UnboundedReceiver<CanaryReport>,
    /// Nanoseconds on the driver's clock; 0: never.
    tried: Arc<AtomicU64>,
    told_tried: u64,
    ended: bool,
    thread: Option<JoinHandle<()>>,
}

impl CanaryThread {
    /// `monitor`: the trunk adapter's address.
    pub(super) fn start(
        settings: &Settings,
        identity: CanaryIdentity,
        monitor: MacAddr,
        uuid: &str,
        clock: MonotonicClock,
    ) -> std::io::Result<Self> {
        let (orders, ordered) = unbounded_channel();
        let (reports, reported) = unbounded_channel();
        let tried = Arc::new(AtomicU64::new(0));
        let worker = Worker {
            place: Place::new(settings, identity.mac, uuid),
            link: LinkConfig {
                interface: adapter::name_of(&settings.trunk),
                ethertype: settings.ethertype,
                vlan: settings.vlan_id(),
                receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
                receive: ReceiveMethod::Plain,
            },
            realtime: settings.realtime_priority,
            identity,
            monitor,
            clock,
            orders: ordered,
            reports,
            tried: Arc::clone(&tried),
        };
        let thread = std::thread::Builder::new().name("canary".to_owned()).spawn(move || worker.run())?;
        Ok(Self { orders, reports: reported, tried, told_tried: 0, ended: false, thread: Some(thread) })
    }

    /// Tells the monitor what the canary says of itself.
    pub(super) fn poll(&mut self, now: Instant, monitor: &mut Recorded) {
        loop {
            match self.reports.try_recv() {
                Ok(report) => monitor.handle_input(now, Input::Canary(report)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    if !std::mem::replace(&mut self.ended, true) {
                        let off = CanaryReport::Off("its thread ended".to_owned());
                        monitor.handle_input(now, Input::Canary(off));
                    }
                    break;
                }
            }
        }
        let tried = self.tried.load(Ordering::Relaxed);
        if tried != self.told_tried {
            self.told_tried = tried;
            monitor.handle_input(now, Input::Canary(CanaryReport::Tried(Instant::from_nanos(tried))));
        }
    }

    /// Until it has something to say of itself. Cancel-safe.
    pub(super) async fn report(&mut self) -> CanaryReport {
        match self.reports.recv().await {
            Some(report) => report,
            // Said by `poll`.
            None => std::future::pending().await,
        }
    }

    pub(super) fn beat(&self) {
        // The thread ends only with the daemon, or `poll` tells of it.
        let _ = self.orders.send(Order::Beat);
    }

    pub(super) fn monitor_at(&self, mac: MacAddr) {
        let _ = self.orders.send(Order::MonitorAt(mac));
    }
}

impl Drop for CanaryThread {
    /// It takes its adapter away.
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    place: Place,
    link: LinkConfig,
    realtime: u8,
    identity: CanaryIdentity,
    monitor: MacAddr,
    clock: MonotonicClock,
    orders: UnboundedReceiver<Order>,
    reports: UnboundedSender<CanaryReport>,
    tried: Arc<AtomicU64>,
}

/// Why it does not serve any more.
enum End {
    Stop,
    Lost(String),
}

impl Worker {
    fn run(mut self) {
        if self.realtime > 0 {
            // Said once already, of the trunk's thread.
            let _ = priority::raise(self.realtime);
        }
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.live()),
            Err(error) => self.report(CanaryReport::Off(format!("it has no event loop: {error}"))),
        }
    }

    async fn live(&mut self) {
        let mut patience = RETRY_FIRST;
        loop {
            let lost = match self.come_up() {
                Ok(socket) => {
                    patience = RETRY_FIRST;
                    self.report(CanaryReport::Up);
                    match self.serve(&socket).await {
                        End::Stop => break,
                        End::Lost(why) => self.place.ended(why),
                    }
                }
                Err(lost) => lost,
            };
            self.report(match lost {
                Unmade::Own(why) => CanaryReport::Off(why),
                Unmade::Lower(why) => CanaryReport::Cut(why),
            });
            if self.is_stopped_within(patience).await {
                break;
            }
            patience = (patience * 2).min(RETRY_MAXIMUM);
        }
        self.place.remove();
    }

    fn come_up(&mut self) -> Result<PacketSocket, Unmade> {
        self.place.make()?;
        PacketSocket::open(&self.link).map_err(|error| self.place.ended(errors::chain(&error)))
    }

    async fn is_stopped_within(&mut self, patience: Duration) -> bool {
        let end = sleep(patience);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return false,
                order = self.orders.recv() => match order {
                    Some(Order::Beat) => {}
                    Some(Order::MonitorAt(mac)) => self.monitor = mac,
                    Some(Order::Stop) | None => return true,
                }
            }
        }
    }

    async fn serve(&mut self, socket: &PacketSocket) -> End {
        let mut seed = [0; 32];
        if let Err(error) = vmpulse_local::random::fill(&mut seed) {
            return End::Lost(format!("no random numbers: {error}"));
        }
        let now = self.clock.now();
        let mut vmm = CanaryVmm::new(now, self.identity.clone(), self.monitor, socket.mtu(), &seed);
        let mut buffer = ReceiveBuffer::new();
        let mut next_look = now + LOOK_PERIOD;
        loop {
            let due = vmm.poll_timeout().map_or(next_look, |due| due.min(next_look));
            let mut readable = false;
            let order = tokio::select! {
                order = self.orders.recv() => Some(order.unwrap_or(Order::Stop)),
                ready = socket.readable() => { readable = ready.is_ok(); None }
                () = sleep_until(self.clock.std_instant(due).into()) => None,
            };
            let now = self.clock.now();
            match order {
                Some(Order::Stop) => return End::Stop,
                Some(Order::Beat) => vmm.handle_asked(),
                Some(Order::MonitorAt(mac)) => {
                    self.monitor = mac;
                    vmm.handle_readdressed(mac);
                }
                None => {}
            }
            if readable && let Err(why) = receive(now, socket, &mut buffer, &mut vmm) {
                return End::Lost(why);
            }
            vmm.handle_timeout(now);
            if let Err(why) = self.send(now, socket, &mut vmm) {
                return End::Lost(why);
            }
            if next_look <= now {
                next_look = now + LOOK_PERIOD;
                if let Err(error) = socket.check() {
                    return End::Lost(errors::chain(&error));
                }
            }
        }
    }

    /// What is not taken by the adapter is lost, as on any trunk that is cut; that it was tried counts. Error: the adapter is of no use.
    fn send(&self, now: Instant, socket: &PacketSocket, vmm: &mut CanaryVmm) -> Result<(), String> {
        while let Some((to, payload)) = vmm.poll_transmit() {
            match socket.send(to, None, &payload) {
                Ok(()) => {}
                Err(error) if is_its_own(&error, || socket.is_up()) => return Err(errors::chain(&error)),
                Err(error) => tracing::debug!(err = %error, "a frame of the canary was not sent"),
            }
        }
        if vmm.take_beaten() {
            self.tried.store(now.as_nanos(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn report(&self, report: CanaryReport) {
        // The driver is gone only when the process ends.
        let _ = self.reports.send(report);
    }
}

/// Whether somebody set the canary's own adapter down, which is not the trunk's fault. While what it stands on is down the kernel may
/// say the same for a moment, and that is the trunk's: so the adapter itself is looked at.
fn is_its_own(error: &LinkError, is_up: impl FnOnce() -> Result<bool, LinkError>) -> bool {
    matches!(error, LinkError::InterfaceDown { .. }) && !is_up().unwrap_or(true)
}

/// Error: the adapter is of no use any more.
fn receive(
    now: Instant,
    socket: &PacketSocket,
    buffer: &mut ReceiveBuffer,
    vmm: &mut CanaryVmm,
) -> Result<(), String> {
    for _ in 0..FRAMES_PER_TURN {
        match socket.receive(buffer) {
            Ok(Some(frame)) => {
                let unicast = !frame.destination.is_broadcast();
                vmm.handle_frame(now, frame.source, unicast, frame.payload);
            }
            Ok(None)
            | Err(LinkError::WouldBlock { .. } | LinkError::NoBuffers { .. } | LinkError::TooLong { .. }) => {
                return Ok(());
            }
            Err(
                error @ (LinkError::InterfaceDown { .. }
                | LinkError::NoPermission { .. }
                | LinkError::NoSuchInterface { .. }
                | LinkError::NotEthernet { .. }
                | LinkError::InvalidEtherType { .. }
                | LinkError::InvalidVlan { .. }
                | LinkError::InterfaceGone { .. }
                | LinkError::Io { .. }),
            ) => return Err(errors::chain(&error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_adapter_that_is_down_itself_ends_the_canary() {
        let interface = || "trunkA-cy".to_owned();
        let down = LinkError::InterfaceDown { interface: interface() };
        assert!(is_its_own(&down, || Ok(false)));
        assert!(!is_its_own(&down, || Ok(true)), "the trunk is down");
        assert!(!is_its_own(&down, || Err(LinkError::InterfaceGone { interface: interface() })));
        let full = LinkError::NoBuffers { interface: interface() };
        assert!(!is_its_own(&full, || panic!("nothing is to be asked")));
    }
}
