//! `hmmgr capture`: what passes on a trunk, both ways, as a pcap that Wireshark reads.
//!
//! It has a socket of its own and takes nothing from the host monitor beside it.

mod error;
mod output;
mod target;

use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use vmpulse_link::{CaptureConfig, CaptureSocket, LinkError, MacAddr, PcapWriter, ReceiveBuffer};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::exit::Exit;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

use super::fail;
use crate::settings::Settings;
use error::CaptureError;
pub(super) use target::address;

/// The file, buffered.
type Pcap = PcapWriter<BufWriter<Box<dyn Write>>>;

/// How long it waits for a frame before it looks whether it shall end.
const TURN: Duration = Duration::from_millis(200);

/// How often a terminal is told how many frames there are.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What to capture, and where to.
#[derive(Debug, Args)]
pub(super) struct Capture {
    /// Trunk adapter, in place of the one in the settings or of the only one that has a host monitor.
    #[arg(long, value_name = "ADAPTER")]
    trunk: Option<String>,
    /// Only this VM: frames from and to the address by which its host monitor knows it, and frames to all.
    #[arg(long, value_name = "UUID", conflicts_with = "mac")]
    vm: Option<VmUuid>,
    /// Only this address: frames from and to it, and frames to all.
    #[arg(long, value_name = "ADDRESS", value_parser = target::address)]
    mac: Option<MacAddr>,
    /// End after so many frames.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// File to write, - for standard output; without it, a new file here that is named by trunk and time.
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Overwrite the file if it is there.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(settings: &Settings, wanted: &Capture) -> Exit {
    match start(settings, wanted).and_then(Recording::run) {
        Ok(()) => Exit::Done,
        Err(error) => {
            let exit = error.exit();
            fail(&error, exit)
        }
    }
}

/// The socket is opened before the file, so that who may not capture leaves no file behind.
fn start(settings: &Settings, wanted: &Capture) -> Result<Recording, CaptureError> {
    let stopped = Arc::new(AtomicBool::new(false));
    listen(&stopped).map_err(CaptureError::Signals)?;
    let target = target::find(settings, wanted)?;
    let clock = MonotonicClock::start();
    let place = output::place(wanted.write.as_deref(), &target.trunk, clock.realtime())?;
    place.refuse_existing(wanted.force)?;
    let config = CaptureConfig {
        ethertype: settings.ethertype,
        peer: target.peer,
        ..CaptureConfig::new(target.trunk.clone())
    };
    let socket = CaptureSocket::open(&config)?;
    let pcap = PcapWriter::new(place.create(wanted.force)?).map_err(CaptureError::Write)?;
    let end = wanted.seconds.map(|seconds| Instant::ZERO + Duration::from_secs(seconds));
    let progress = Progress { on: std::io::stderr().is_terminal(), next: Instant::ZERO + PROGRESS_EVERY };
    say(&format!("capturing {target} into {place}; Ctrl-C ends it"));
    Ok(Recording { clock, socket, pcap, stopped, count: wanted.count, end, frames: 0, progress })
}

/// The first signal ends the capture in order; a second one ends the process, should its reader have stalled.
fn listen(stopped: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let exit = i32::from(Exit::Failed.code());
        signal_hook::flag::register_conditional_shutdown(signal, exit, Arc::clone(stopped))?;
        signal_hook::flag::register(signal, Arc::clone(stopped))?;
    }
    Ok(())
}

/// A capture under way.
struct Recording {
    clock: MonotonicClock,
    socket: CaptureSocket,
    pcap: Pcap,
    stopped: Arc<AtomicBool>,
    count: Option<u64>,
    end: Option<Instant>,
    frames: u64,
    progress: Progress,
}

/// The line on a terminal that shows how far it is.
struct Progress {
    on: bool,
    next: Instant,
}

impl Recording {
    fn run(mut self) -> Result<(), CaptureError> {
        let ended = self.record().and_then(|()| self.flush());
        self.progress.clear();
        say(&format!("{} captured, {}", frames(self.frames), dropped(self.socket.drops())));
        match ended {
            // Who reads the pipe has seen enough.
            Err(CaptureError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            ended => ended,
        }
    }

    fn record(&mut self) -> Result<(), CaptureError> {
        let mut buffer = ReceiveBuffer::new();
        let (mut unflushed, mut down) = (true, false);
        while !self.is_over() {
            // A reader sees what there is as soon as nothing more is waiting.
            let patience = if unflushed { Duration::ZERO } else { self.patience() };
            match self.socket.next(&mut buffer, patience) {
                Ok(Some(frame)) => {
                    self.pcap.write(&frame).map_err(CaptureError::Write)?;
                    self.frames += 1;
                    (unflushed, down) = (true, false);
                }
                Ok(None) if unflushed => {
                    self.flush()?;
                    unflushed = false;
                }
                Ok(None) if down => self.socket.check()?,
                Ok(None) => {}
                Err(error @ LinkError::InterfaceDown { .. }) => {
                    self.progress.clear();
                    say(&format!("{error}; going on when it is up"));
                    down = true;
                }
                Err(error) => return Err(error.into()),
            }
            self.progress.show(self.clock.now(), self.frames, &self.socket);
        }
        self.take_rest(&mut buffer)
    }

    /// What had passed before the end and waits in the kernel's queue.
    fn take_rest(&mut self, buffer: &mut ReceiveBuffer) -> Result<(), CaptureError> {
        let end = self.clock.realtime();
        while !self.has_enough() {
            match self.socket.next(buffer, Duration::ZERO) {
                Ok(Some(frame)) if frame.stamp <= end => {
                    self.pcap.write(&frame).map_err(CaptureError::Write)?;
                    self.frames += 1;
                }
                Ok(Some(_) | None) | Err(_) => break,
            }
        }
        Ok(())
    }

    fn has_enough(&self) -> bool {
        self.count.is_some_and(|count| self.frames >= count)
    }

    fn is_over(&self) -> bool {
        let late = self.end.is_some_and(|end| self.clock.now() >= end);
        self.has_enough() || late || self.stopped.load(Ordering::Relaxed)
    }

    fn patience(&self) -> Duration {
        self.end.map_or(TURN, |end| TURN.min(end.since(self.clock.now())))
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        self.pcap.flush().map_err(CaptureError::Write)
    }
}

impl Progress {
    fn show(&mut self, now: Instant, count: u64, socket: &CaptureSocket) {
        if self.on && now >= self.next {
            self.next = now + PROGRESS_EVERY;
            let _closed = write!(std::io::stderr(), "\r  {}, {} ", frames(count), dropped(socket.drops()));
        }
    }

    /// Makes room for what is said next.
    fn clear(&self) {
        if self.on {
            let _closed = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn frames(count: u64) -> String {
    if count == 1 { "1 frame".to_owned() } else { format!("{count} frames") }
}

fn dropped(drops: u64) -> String {
    if drops == 0 {
        "none dropped by the kernel".to_owned()
    } else {
        format!("{drops} dropped by the kernel")
    }
}

fn say(text: &str) {
    let _closed = writeln!(std::io::stderr(), "hmmgr: {text}");
}
