//! The adapters that are open: found, opened, read, closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use vmpulse_link::{
    Interface, Link, LinkConfig, LinkError, MacAddr, PacketSocket, ReceiveBuffer, interfaces,
};
use vmpulse_protocol::time::Instant;

use super::adapters;
use crate::record::RecordedTrunks;
use crate::settings::Settings;
use crate::trunks::{AdapterId, TrunkInput, Trunks};

/// How often adapters are looked for. [C-9]
const SCAN_INTERVAL: Duration = Duration::from_secs(5);

/// Frames between the readers and the loop. A full queue leaves frames to the kernel's own.
const NEWS_QUEUE: usize = 64;

/// Size of the kernel's queue per adapter: some hundred frames, and a guest has a few host monitors to hear.
const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;

/// How long a reader rests after an error that passes.
const ERROR_REST: Duration = Duration::from_millis(200);

/// State of an adapter that has heard no host monitor.
const WAITING: &str = "WAITING";

/// From a reader.
pub(super) enum LinkNews {
    /// A frame.
    Frame { adapter: AdapterId, source: MacAddr, destination: MacAddr, vlan: Option<u16>, payload: Vec<u8> },
    /// The adapter was removed.
    Gone { adapter: AdapterId },
}

struct Open {
    socket: Arc<PacketSocket>,
    reader: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The open adapters.
pub(super) struct Links {
    names: Vec<String>,
    config: LinkConfig,
    open: BTreeMap<AdapterId, Open>,
    sender: mpsc::Sender<LinkNews>,
    receiver: mpsc::Receiver<LinkNews>,
    next_scan: Instant,
    problems: Vec<String>,
}

impl Links {
    pub(super) fn new(settings: &Settings) -> Self {
        let (sender, receiver) = mpsc::channel(NEWS_QUEUE);
        let config = LinkConfig {
            interface: String::new(),
            ethertype: settings.ethertype,
            vlan: settings.vlan_id(),
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            receive: vmpulse_link::ReceiveMethod::Plain,
        };
        Self {
            names: settings.adapters.clone(),
            config,
            open: BTreeMap::new(),
            sender,
            receiver,
            next_scan: Instant::ZERO,
            problems: Vec::new(),
        }
    }

    /// When [`scan_if_due`](Self::scan_if_due) does something.
    pub(super) fn next_scan(&self) -> Instant {
        self.next_scan
    }

    /// What keeps adapters from being used.
    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// What the readers have. Cancel-safe.
    pub(super) async fn news(&mut self) -> LinkNews {
        match self.receiver.recv().await {
            Some(news) => news,
            // This value holds a sender, so the channel is never closed.
            None => std::future::pending().await,
        }
    }

    pub(super) fn take(&mut self, now: Instant, news: LinkNews, trunks: &mut RecordedTrunks) {
        match news {
            LinkNews::Frame { adapter, .. } if !self.open.contains_key(&adapter) => {}
            LinkNews::Frame { adapter, source, destination, vlan, payload } => {
                let input = TrunkInput::Frame { adapter, source, destination, vlan, payload: &payload };
                trunks.handle_input(now, input);
            }
            LinkNews::Gone { adapter } => self.close(now, adapter, trunks),
        }
    }

    /// Sends; what cannot be sent is lost, as on any wire.
    pub(super) fn send(
        &mut self,
        adapter: AdapterId,
        destination: MacAddr,
        vlan: Option<u16>,
        payload: &[u8],
    ) {
        let Some(open) = self.open.get(&adapter) else { return };
        match open.socket.send(destination, vlan, payload) {
            Ok(()) => {}
            // The next turn finds it gone.
            Err(LinkError::InterfaceGone { .. }) => self.next_scan = Instant::ZERO,
            // A transient state; the protocol sends again what matters.
            Err(err) => tracing::debug!(%err, "a frame was not sent"),
        }
    }

    /// Whether opening an adapter is permitted at all: asked once, at the start.
    pub(super) fn first_scan(&mut self, now: Instant, trunks: &mut RecordedTrunks) -> Result<(), LinkError> {
        self.scan(now, trunks)
    }

    /// Every 5 s: opens what came, closes what went.
    pub(super) fn scan_if_due(&mut self, now: Instant, trunks: &mut RecordedTrunks) {
        if now < self.next_scan {
            return;
        }
        if let Err(err) = self.scan(now, trunks) {
            self.report(vec![err.to_string()]);
        }
    }

    fn scan(&mut self, now: Instant, trunks: &mut RecordedTrunks) -> Result<(), LinkError> {
        self.next_scan = now + SCAN_INTERVAL;
        let in_use = self.in_use(now, trunks);
        let open: Vec<u32> = self.open.keys().map(|id| id.0).collect();
        let mut choice = adapters::choose(&self.names, interfaces()?, &open, &in_use);
        self.close_others(now, &choice.usable, trunks);
        let mut refused = None;
        for interface in &choice.usable {
            match self.open(now, interface, trunks) {
                Ok(()) => {}
                Err(error @ LinkError::NoPermission { .. }) => refused = Some(error),
                Err(error) => choice.problems.push(error.to_string()),
            }
        }
        self.report(choice.problems);
        refused.map_or(Ok(()), Err)
    }

    /// Interfaces that carry a path to a host monitor.
    fn in_use(&self, now: Instant, trunks: &Trunks) -> Vec<u32> {
        let names: Vec<String> = trunks
            .paths(now)
            .into_iter()
            .filter(|path| path.state != WAITING)
            .map(|path| path.adapter)
            .collect();
        let used =
            self.open.iter().filter(|(_, open)| names.iter().any(|name| name == open.socket.interface()));
        used.map(|(id, _)| id.0).collect()
    }

    /// One that is gone, is wanted no more, or has another address now.
    fn close_others(&mut self, now: Instant, usable: &[Interface], trunks: &mut RecordedTrunks) {
        let stays = |id: &AdapterId, open: &Open| {
            usable.iter().any(|interface| interface.index == id.0 && interface.mac == open.socket.mac())
        };
        let others: Vec<AdapterId> =
            self.open.iter().filter(|(id, open)| !stays(id, open)).map(|(id, _)| *id).collect();
        for id in others {
            self.close(now, id, trunks);
        }
    }

    fn close(&mut self, now: Instant, adapter: AdapterId, trunks: &mut RecordedTrunks) {
        if self.open.remove(&adapter).is_some() {
            trunks.handle_input(now, TrunkInput::AdapterDown { adapter });
        }
    }

    fn open(
        &mut self,
        now: Instant,
        interface: &Interface,
        trunks: &mut RecordedTrunks,
    ) -> Result<(), LinkError> {
        let adapter = AdapterId(interface.index);
        if self.open.contains_key(&adapter) {
            return Ok(());
        }
        let config = LinkConfig { interface: interface.name.clone(), ..self.config.clone() };
        let socket = Arc::new(PacketSocket::open(&config)?);
        let (mac, mtu) = (socket.mac(), socket.mtu());
        let reader = tokio::spawn(read(adapter, Arc::clone(&socket), self.sender.clone()));
        self.open.insert(adapter, Open { socket, reader });
        trunks.handle_input(now, TrunkInput::AdapterUp { adapter, mac, mtu, name: interface.name.clone() });
        Ok(())
    }

    /// Logs what is new; a problem that stays is shown by `vmmgr status` and not logged again.
    fn report(&mut self, problems: Vec<String>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!("adapter: {problem}");
        }
        self.problems = problems;
    }
}

/// Carries frames from the socket to the loop until the adapter or the loop is gone.
async fn read(adapter: AdapterId, socket: Arc<PacketSocket>, sender: mpsc::Sender<LinkNews>) {
    let mut buffer = ReceiveBuffer::new();
    loop {
        let news = match socket.readable().await {
            Ok(()) => receive(adapter, &socket, &mut buffer),
            Err(error) => Err(error),
        };
        let sent = match news {
            Ok(Some(news)) => sender.send(news).await,
            // Woken for nothing: even if that repeats, the others have their turn.
            Ok(None) => {
                tokio::task::yield_now().await;
                continue;
            }
            Err(LinkError::InterfaceGone { .. }) => {
                // Nobody listens only when the daemon is ending.
                let _ = sender.send(LinkNews::Gone { adapter }).await;
                return;
            }
            Err(err) => {
                tracing::debug!(%err, "receiving");
                tokio::time::sleep(ERROR_REST).await;
                continue;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// One frame, owned.
fn receive(
    adapter: AdapterId,
    socket: &PacketSocket,
    buffer: &mut ReceiveBuffer,
) -> Result<Option<LinkNews>, LinkError> {
    let received = socket.receive(buffer)?;
    Ok(received.map(|frame| LinkNews::Frame {
        adapter,
        source: frame.source,
        destination: frame.destination,
        vlan: frame.vlan,
        payload: frame.payload.to_vec(),
    }))
}
