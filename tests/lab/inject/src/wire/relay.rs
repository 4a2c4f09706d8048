//! The process that frames pass through: one task for each end, and one that looks after settings, counts and rules.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use vmpulse_link::{FrameBuffer, FramePort, LinkError, Tap};
use vmpulse_local::clock::MonotonicClock;

use super::Way;
use super::counts::Counts;
use super::divert::{Rule, Stage, divert, runtime};
use super::faults::Faults;
use super::files::{EndCounts, Files, Told};
use super::line::Line;
use super::trunk::End;
use crate::error::{Inject, InjectError};

/// How often settings are read and counts are told: soon enough for a person.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Frames that are taken before what is due is sent: few enough that nothing waits for long, so many that looking costs little.
const AT_ONCE: usize = 64;

/// What tasks are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    faults: Faults,
    /// Frames pass by themselves again: send what is left, and end.
    end: bool,
}

/// One end, as its task has it.
struct Relay {
    tap: Tap,
    port: FramePort,
    line: Line,
    clock: MonotonicClock,
    counts: Arc<Mutex<Counts>>,
}

/// Relays what leaves these ends until SIGTERM comes, or something ends it.
///
/// # Errors
/// What ended it. Everything it made is gone then.
pub fn run(ends: &[End], stage: Stage, seed: u64, files: &Files) -> Inject<()> {
    runtime()?.block_on(work(ends, stage, seed, files))
}

async fn work(ends: &[End], stage: Stage, seed: u64, files: &Files) -> Inject<()> {
    let mut stop = signal(SignalKind::terminate()).map_err(InjectError::os("cannot wait for SIGTERM"))?;
    let faults = files.faults()?.map_err(InjectError::Failed)?;
    let (orders, _) = watch::channel(Order { faults, end: false });
    let mut office = Office { files: files.clone(), rules: Vec::new(), ends: Vec::new(), told: None };
    let mut tasks = JoinSet::new();
    for end in ends {
        let (relay, counts, rule) = begin(end, stage, faults, seed)?;
        office.rules.push(rule);
        office.ends.push((end.trunk.clone(), end.way, counts));
        tasks.spawn(relay.run(orders.subscribe()));
    }
    office.look(&orders)?;
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            () = tokio::time::sleep(LOOK_EVERY) => office.look(&orders)?,
            ended = tasks.join_next() => return Err(reason(ended)),
        }
    }
    // Frames pass by themselves from here on. What was diverted before goes out now.
    office.rules.into_iter().try_for_each(Rule::close)?;
    orders.send_modify(|order| order.end = true);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

fn begin(end: &End, stage: Stage, faults: Faults, seed: u64) -> Inject<(Relay, Arc<Mutex<Counts>>, Rule)> {
    let diverted = divert(end, stage)?;
    let counts = Arc::new(Mutex::new(Counts::default()));
    // Ends of one wire must not do the same to their frames.
    let seed = seed.wrapping_add(u64::try_from(end.number).unwrap_or_default());
    let relay = Relay {
        tap: diverted.tap,
        port: diverted.port,
        line: Line::new(end.way, faults, seed),
        clock: MonotonicClock::start(),
        counts: Arc::clone(&counts),
    };
    Ok((relay, counts, diverted.rule))
}

fn reason(ended: Option<Result<Result<(), LinkError>, tokio::task::JoinError>>) -> InjectError {
    InjectError::Failed(match ended {
        Some(Ok(Err(error))) => format!("{error}."),
        Some(Err(error)) => format!("a part of the wire broke: {error}."),
        Some(Ok(Ok(()))) | None => "a part of the wire ended by itself.".to_owned(),
    })
}

/// Settings, counts and rules.
struct Office {
    files: Files,
    rules: Vec<Rule>,
    ends: Vec<(String, Way, Arc<Mutex<Counts>>)>,
    told: Option<Told>,
}

impl Office {
    fn look(&mut self, orders: &watch::Sender<Order>) -> Inject<()> {
        for rule in &mut self.rules {
            if !rule.lives()? {
                return Err(InjectError::Failed("nft ended, and its rule with it.".to_owned()));
            }
        }
        let settings_problem = self.read_settings(orders);
        let ends = self.ends.iter().map(|(trunk, way, counts)| EndCounts {
            trunk: trunk.clone(),
            way: *way,
            counts: *counts.lock().unwrap_or_else(PoisonError::into_inner),
        });
        let told = Told { faults: orders.borrow().faults, settings_problem, ends: ends.collect() };
        if self.told.as_ref() != Some(&told) {
            self.files.tell(&told)?;
            self.told = Some(told);
        }
        Ok(())
    }

    /// Takes the settings if they are good; else why not, and those from before stay.
    fn read_settings(&self, orders: &watch::Sender<Order>) -> Option<String> {
        match self.files.faults() {
            Ok(Ok(faults)) => {
                let _ =
                    orders.send_if_modified(|order| std::mem::replace(&mut order.faults, faults) != faults);
                None
            }
            Ok(Err(problem)) => Some(problem),
            Err(error) => Some(error.to_string()),
        }
    }
}

impl Relay {
    async fn run(mut self, mut orders: watch::Receiver<Order>) -> Result<(), LinkError> {
        let mut buffer = FrameBuffer::new();
        loop {
            let order = *orders.borrow_and_update();
            self.line.change(order.faults);
            let emptied = self.take(&mut buffer)?;
            self.line.handle_timeout(self.clock.now());
            if order.end && emptied {
                self.line.release_all();
            }
            self.send()?;
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.line.counts();
            match (order.end, emptied) {
                (true, true) => return Ok(()),
                (_, false) => tokio::task::yield_now().await,
                (false, true) => self.wait(&mut orders).await?,
            }
        }
    }

    /// Takes in what waits, at most so much at once; whether nothing more waits.
    fn take(&mut self, buffer: &mut FrameBuffer) -> Result<bool, LinkError> {
        for _ in 0..AT_ONCE {
            let Some(frame) = self.tap.receive(buffer)? else { return Ok(true) };
            self.line.handle_frame(self.clock.now(), frame);
        }
        Ok(false)
    }

    /// A frame that the adapter does not take is lost, as on any wire; without the adapter there is no wire.
    fn send(&mut self) -> Result<(), LinkError> {
        while let Some(frame) = self.line.poll_output() {
            match self.port.send(&frame) {
                Ok(()) => {}
                Err(error @ LinkError::InterfaceGone { .. }) => return Err(error),
                Err(_) => self.line.count_refused(),
            }
        }
        Ok(())
    }

    async fn wait(&self, orders: &mut watch::Receiver<Order>) -> Result<(), LinkError> {
        let due = self.line.poll_timeout();
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(self.clock.std_instant(due).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = self.tap.readable() => ready,
            () = timer => Ok(()),
            // The sender lives as long as the process.
            _ = orders.changed() => Ok(()),
            // A trunk that was removed takes its rule with it, and one that is made again is another.
            () = tokio::time::sleep(LOOK_EVERY) => self.port.check(),
        }
    }
}
