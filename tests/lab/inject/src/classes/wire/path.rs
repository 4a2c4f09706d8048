//! Faults of paths that are no cut: frames pass through this program, which loses, delays, doubles or damages them.

use clap::{Arg, value_parser};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::class::{About, Class, Place, State};
use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::options::{Options, flag, value};
use crate::process::{Life, Process};
use crate::record::Record;
use crate::wire::divert::{self, Stage};
use crate::wire::faults::{Cut, FLIPS, Faults};
use crate::wire::files::{Files, Told};
use crate::wire::trunk::{self, End};
use crate::wire::{netns, relay};
use crate::{wait, worker};

/// What is lost, doubled and damaged of a thousand frames unless said otherwise.
const LOSS: u16 = 100;
const DUPLICATE: u16 = 200;
const CORRUPT: u16 = 50;
/// How long frames are held back unless said otherwise.
const DELAY: &str = "50..200";

/// A class whose frames pass through a wire of its own.
pub(super) struct Path {
    name: &'static str,
    what: &'static str,
    stage: Stage,
    arguments: fn() -> Vec<Arg>,
    faults: fn(&Options) -> Inject<Faults>,
}

pub(super) const LOSS_PATH: Path = Path {
    name: "path-loss",
    what: "frames of a trunk are lost, singly or in bursts",
    stage: Stage(1),
    arguments: loss_arguments,
    faults: |options| Ok(with_loss(Faults::default(), options, LOSS)),
};

pub(super) const DUPLICATE_PATH: Path = Path {
    name: "path-duplicate",
    what: "frames of a trunk come twice",
    stage: Stage(2),
    arguments: || vec![share("duplicate", "frames of a thousand that come twice [default: 200]")],
    faults: |options| {
        Ok(Faults { duplicate_per_mille: options.get("duplicate").unwrap_or(DUPLICATE), ..Faults::default() })
    },
};

pub(super) const CORRUPT_PATH: Path = Path {
    name: "path-corrupt",
    what: "bits of a trunk's frames are flipped behind the EtherType",
    stage: Stage(3),
    arguments: corrupt_arguments,
    faults: |options| Ok(with_corruption(Faults::default(), options, CORRUPT)),
};

pub(super) const DELAY_PATH: Path = Path {
    name: "path-delay",
    what: "frames of a trunk are late, and out of order",
    stage: Stage(4),
    arguments: delay_arguments,
    faults: |options| with_delay(Faults::default(), options, DELAY),
};

pub(super) const WIRE_PATH: Path = Path {
    name: "wire",
    what: "frames of a trunk pass by user space, with any mixture of faults, or none",
    stage: Stage(5),
    arguments: || {
        let cut = value("cut", "WAY", "both, up or down: nothing passes");
        let mut all = vec![
            share("duplicate", "frames of a thousand that come twice [default: 0]"),
            cut.value_parser(["both", "up", "down"]),
        ];
        all.extend(corrupt_arguments());
        all.extend(loss_arguments());
        all.extend(delay_arguments());
        all
    },
    faults: |options| {
        let faults = Faults {
            duplicate_per_mille: options.get("duplicate").unwrap_or(0),
            cut: match options.text("cut").as_deref() {
                Some("both") => Cut::Both,
                Some("up") => Cut::Up,
                Some("down") => Cut::Down,
                Some(_) | None => Cut::None,
            },
            ..Faults::default()
        };
        let faults = with_corruption(with_loss(faults, options, 0), options, 0);
        with_delay(faults, options, "0..0")
    },
};

fn share(name: &'static str, help: &'static str) -> Arg {
    value(name, "PER_MILLE", help).value_parser(value_parser!(u16))
}

fn loss_arguments() -> Vec<Arg> {
    vec![
        share("loss", "frames of a thousand that are lost [default: 100; of `wire`: 0]"),
        value("burst", "FRAMES", "so many one after the other; the share of all stays [default: 1]")
            .value_parser(value_parser!(u16)),
    ]
}

fn with_loss(faults: Faults, options: &Options, default: u16) -> Faults {
    let loss_per_mille = options.get("loss").unwrap_or(default);
    Faults { loss_per_mille, loss_burst: options.get("burst").unwrap_or(1), ..faults }
}

fn corrupt_arguments() -> Vec<Arg> {
    vec![
        share("corrupt", "frames of a thousand that are damaged [default: 50; of `wire`: 0]"),
        value("bits", "NUMBER", "most bits that are flipped in one of them [default: 8]")
            .value_parser(value_parser!(u16)),
    ]
}

fn with_corruption(faults: Faults, options: &Options, default: u16) -> Faults {
    let corrupt_per_mille = options.get("corrupt").unwrap_or(default);
    Faults { corrupt_per_mille, corrupt_bits: options.get("bits").unwrap_or(FLIPS), ..faults }
}

fn delay_arguments() -> Vec<Arg> {
    vec![
        value(
            "delay",
            "FROM..TO",
            "milliseconds; every time between is as likely [default: 50..200; of `wire`: none]",
        ),
        flag("keep-order", "no frame overtakes another"),
    ]
}

fn with_delay(faults: Faults, options: &Options, default: &str) -> Inject<Faults> {
    let text = options.text("delay").unwrap_or_else(|| default.to_owned());
    let (from, to) = text.split_once("..").unwrap_or((&text, &text));
    let number = |text: &str| text.trim().parse::<u32>();
    let (Ok(delay_from_ms), Ok(delay_to_ms)) = (number(from), number(to)) else {
        return Err(InjectError::Usage(format!("--delay {text}: FROM..TO in milliseconds is needed.")));
    };
    Ok(Faults { delay_from_ms, delay_to_ms, keep_order: options.flag("keep-order"), ..faults })
}

/// What the state file keeps.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    ends: Vec<End>,
    faults: Faults,
    seed: u64,
}

impl Class for Path {
    type Before = Before;

    fn about(&self) -> About {
        About {
            name: self.name,
            what: self.what,
            places: &[Place::Host],
            undo: "the wire is taken out of the path; frames pass as before",
            // A trunk that only does its work badly is no event: no VM may be called failed for it.
            expected: &[],
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        let mut all = trunk::arguments();
        all.extend((self.arguments)());
        let seed = value("seed", "NUMBER", "the same seed does the same to the same frames");
        all.push(seed.value_parser(value_parser!(u64)));
        all
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        let faults = (self.faults)(options)?;
        faults.check().map_err(|problem| InjectError::Usage(format!("{problem}.")))?;
        let ends = trunk::ends(context, options)?;
        divert::check_kernel()?;
        for end in &ends {
            if let Some(what) = divert::standing(end, self.stage)?.first() {
                return Err(InjectError::Refused(format!(
                    "{what} is there already, and not by this injector."
                )));
            }
        }
        let seed = options.get::<u64>("seed").unwrap_or_else(wait::now);
        Ok(Before { ends, faults, seed })
    }

    fn apply(&self, context: &Context, record: &mut Record<'_, Before>) -> Inject<()> {
        let files = Files::new(context, self.name);
        files.remove()?;
        files.write_faults(&record.before().faults)?;
        let process = worker::start(context, self.name)?;
        wait::until("the wire is in the path", wait::SOON, || {
            Ok(process.life() == Life::Gone || files.told()?.is_some())
        })?;
        if process.life() == Life::Gone {
            let log = std::fs::read_to_string(worker::log_file(context, self.name)).unwrap_or_default();
            return Err(InjectError::Failed(format!("The wire ended at once: {}", log.trim())));
        }
        Ok(())
    }

    fn restore(&self, context: &Context, before: &Before) -> Inject<()> {
        // Asked to end it removes its rule and sends what it has. Its nft, which bears the same mark, ends with it.
        let is_wire = |process: &Process| process.words().iter().any(|word| word == worker::SUBCOMMAND);
        for wire in worker::find(context, self.name)?.into_iter().filter(is_wire) {
            wire.signal(Signal::SIGTERM)?;
        }
        let gone = || Ok(worker::find(context, self.name)?.is_empty());
        if wait::until("the wire ends", wait::SOON, gone).is_err() {
            worker::end(context, self.name)?;
        }
        for end in &before.ends {
            divert::sweep(end, self.stage)?;
        }
        let _ = std::fs::remove_file(worker::log_file(context, self.name));
        Files::new(context, self.name).remove()
    }

    fn state(&self, context: &Context, before: Option<&Before>) -> Inject<State> {
        let Some(before) = before else { return Ok(State::Off) };
        let runs = !worker::find(context, self.name)?.is_empty();
        let (mut there, mut missing) = (Vec::new(), 0);
        for end in &before.ends {
            let standing = divert::standing(end, self.stage)?;
            missing += usize::from(standing.len() < 2);
            there.extend(standing);
        }
        let told = Files::new(context, self.name).told()?;
        Ok(match (runs, there.is_empty(), missing, told) {
            (false, true, _, _) => State::Off,
            (true, false, 0, Some(told)) => State::On(self.describe(before, &told)),
            (true, ..) => State::Partly(format!("a wire runs, with {there:?} in the path")),
            (false, false, ..) => State::Partly(format!("no wire runs, and {there:?} is left")),
        })
    }

    fn work(&self, context: &Context, before: &Before) -> Inject<()> {
        relay::run(&before.ends, self.stage, before.seed, &Files::new(context, self.name))
    }
}

impl Path {
    fn describe(&self, before: &Before, told: &Told) -> String {
        let mut text = told.faults.describe();
        if let Some(problem) = &told.settings_problem {
            text.push_str(&format!(" (the settings file was not taken: {problem})"));
        }
        for (end, one) in before.ends.iter().zip(&told.ends) {
            text.push_str(&format!("; {}: {}", end.describe(), one.counts.describe()));
            match divert::dropped_before(end, self.stage) {
                0 => {}
                dropped => text.push_str(&format!(", dropped in the kernel's queue {dropped}")),
            }
        }
        let gone = before.ends.iter().filter(|end| !netns::there(end.netns.as_deref()));
        gone.for_each(|end| text.push_str(&format!("; {} is gone", end.describe())));
        format!("{text}; seed {}", before.seed)
    }
}
