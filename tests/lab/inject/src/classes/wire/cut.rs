//! A path that is cut: nothing passes, without a process of ours in it.
//!
//! Two ways, which a host monitor sees differently. Frames that are dropped leave every device up: only its canary tells the monitor that
//! the trunk is dead. A device that is down tells it at once.

use clap::Arg;
use serde::{Deserialize, Serialize};

use crate::class::{About, After, Class, Expected, Place, Source, State, Subject, Within};
use crate::context::Context;
use crate::error::{self, Inject, InjectError};
use crate::expect::Named;
use crate::options::{Options, value};
use crate::record::Record;
use crate::wire::Way;
use crate::wire::netns::{there, within};
use crate::wire::programs::{nft, run};
use crate::wire::trunk::{self, End};

/// Before every other rule: what is cut reaches no wire and no policing.
const PRIORITY: i32 = -510;

/// What a monitor that is cut off says.
const ISOLATED: &[Expected] = &[
    Expected {
        event: "VIOS_ISOLATED",
        source: Source::Controller,
        about: Subject::Monitor,
        after: After::On,
        within: Within::Seconds(30),
        reaction: "its VMs are judged by the other monitors alone; no VM is called failed for it",
    },
    Expected {
        event: "VIOS_ISOLATION_OVER",
        source: Source::Controller,
        about: Subject::Monitor,
        after: After::Off,
        within: Within::Seconds(30),
        reaction: "all paths are judged again",
    },
];

/// The class.
pub(super) struct Cut;

/// What stops frames at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    /// A rule where they leave it. Who sends there is told that the device takes nothing.
    Egress,
    /// A rule where they come in from the other end: nobody is told anything.
    Ingress,
    /// The device is down.
    LinkDown,
}

/// One direction that is cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stop {
    /// The device that stops frames, and which way these go.
    end: End,
    how: How,
}

/// What the state file keeps.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    stops: Vec<Stop>,
    /// Adapters of the monitors that are cut off, as far as they are known here: events name them.
    monitors: Vec<String>,
    /// Trunks on which the monitor cannot tell that they are cut: nothing goes missing that comes up to it, or it has no canary
    /// there and its device stays up.
    #[serde(default)]
    unnoticed: Vec<String>,
}

impl Class for Cut {
    type Before = Before;

    fn about(&self) -> About {
        About {
            name: "path-cut",
            what: "nothing passes on a trunk, one way or both",
            places: &[Place::Host],
            undo: "the rules are removed, or the device is up again; frames pass",
            expected: ISOLATED,
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        let mut all = trunk::arguments();
        let how = "drop: rules drop frames, all devices stay up; link-down: the monitor's device is down [default: drop]";
        all.push(value("how", "HOW", how).value_parser(["drop", "link-down"]));
        all
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        let ends = trunk::ends(context, options)?;
        let monitors = ends.iter().filter(|end| end.way == Way::Down).cloned().collect::<Vec<End>>();
        let stops = match options.text("how").as_deref() {
            Some("link-down") => downs(ends, options.text("way").as_deref())?,
            Some(_) | None => ends.into_iter().map(dropping).collect::<Inject<Vec<_>>>()?,
        };
        let unnoticed = unnoticed(&stops)?;
        let monitors = monitors.into_iter().filter(|end| !unnoticed.contains(&end.trunk));
        let monitors = monitors.map(|end| end.interface).collect();
        for stop in &stops {
            if stop.stands()? {
                return Err(InjectError::Refused(format!(
                    "{} already, and not by this injector.",
                    stop.describe()
                )));
            }
        }
        Ok(Before { stops, monitors, unnoticed })
    }

    fn expected(&self, before: &Before) -> Inject<&'static [Expected]> {
        let noticed = before.stops.iter().any(|stop| !before.unnoticed.contains(&stop.end.trunk));
        Ok(if noticed { ISOLATED } else { &[] })
    }

    fn named(&self, _context: &Context, before: &Before) -> Vec<Named> {
        before.monitors.iter().map(|name| (Subject::Monitor, name.clone())).collect()
    }

    fn apply(&self, _context: &Context, record: &mut Record<'_, Before>) -> Inject<()> {
        record.before().stops.iter().try_for_each(Stop::make)
    }

    fn restore(&self, _context: &Context, before: &Before) -> Inject<()> {
        error::all(before.stops.iter().map(Stop::undo))
    }

    fn state(&self, _context: &Context, before: Option<&Before>) -> Inject<State> {
        let Some(before) = before else { return Ok(State::Off) };
        let (mut cut, mut open) = (Vec::new(), Vec::new());
        for stop in &before.stops {
            if stop.stands()? { cut.push(stop.describe()) } else { open.push(stop.end.describe()) }
        }
        Ok(match (cut.is_empty(), open.is_empty()) {
            (true, _) => State::Off,
            (false, true) => State::On(cut.join(", ")),
            (false, false) => State::Partly(format!("{}; but {} passes", cut.join(", "), open.join(", "))),
        })
    }
}

/// Rules that drop what goes the way of `end`. What goes down is dropped where it comes in at the guests' end, if that is here:
/// the monitor then sends as if nothing were.
fn dropping(end: End) -> Inject<Stop> {
    let guests = End { interface: end.trunk.clone(), netns: None, ..end.clone() };
    Ok(match end.way {
        Way::Down if guests != end && guests.look()?.is_some() => Stop { end: guests, how: How::Ingress },
        Way::Down | Way::Up => Stop { end, how: How::Egress },
    })
}

/// The trunks of which the monitor cannot tell that they are cut.
fn unnoticed(stops: &[Stop]) -> Inject<Vec<String>> {
    let mut all = Vec::new();
    for stop in stops {
        let trunk = &stop.end.trunk;
        let mut of_this_trunk = stops.iter().filter(|other| other.end.trunk == *trunk);
        let noticed = of_this_trunk.try_fold(false, |so_far, stop| Ok(so_far || stop.is_noticed()?))?;
        if !noticed && !all.contains(trunk) {
            all.push(trunk.clone());
        }
    }
    Ok(all)
}

fn downs(ends: Vec<End>, way: Option<&str>) -> Inject<Vec<Stop>> {
    if way.is_some_and(|way| way != "both") {
        return Err(InjectError::Usage("A device that is down is down both ways.".to_owned()));
    }
    let monitors = ends.into_iter().filter(|end| end.way == Way::Down);
    let stops: Vec<Stop> = monitors.map(|end| Stop { end, how: How::LinkDown }).collect();
    if stops.is_empty() {
        return Err(InjectError::Unsupported(
            "the monitor's end of the trunk is not on this machine.".to_owned(),
        ));
    }
    Ok(stops)
}

impl Stop {
    /// Whether the monitor learns of it: its device is down, or its canary's frames leave where nothing does.
    fn is_noticed(&self) -> Inject<bool> {
        match self.how {
            How::LinkDown => Ok(true),
            How::Ingress => Ok(false),
            How::Egress => within(self.end.netns.as_deref(), || trunk::has_canary(&self.end.interface)),
        }
    }

    fn make(&self) -> Inject<()> {
        let end = &self.end;
        within(end.netns.as_deref(), || match self.how {
            How::Egress => nft(&self.script("egress")),
            How::Ingress => nft(&self.script("ingress")),
            How::LinkDown => run("ip", &["link", "set", "dev", &end.interface, "down"]).map(drop),
        })
    }

    fn undo(&self) -> Inject<()> {
        if !self.stands()? {
            return Ok(());
        }
        let end = &self.end;
        within(end.netns.as_deref(), || match self.how {
            How::Egress | How::Ingress => run("nft", &["delete", "table", "netdev", &self.table()]).map(drop),
            How::LinkDown => run("ip", &["link", "set", "dev", &end.interface, "up"]).map(drop),
        })
    }

    /// A trunk that was removed meanwhile is not cut, and not ours to make.
    fn stands(&self) -> Inject<bool> {
        if !there(self.end.netns.as_deref()) {
            return Ok(false);
        }
        if self.how == How::LinkDown {
            return Ok(self.end.look()?.is_some_and(|device| !device.up));
        }
        let tables = within(self.end.netns.as_deref(), || run("nft", &["list", "tables", "netdev"]))?;
        Ok(tables.lines().any(|line| line.trim() == format!("table netdev {}", self.table())))
    }

    fn describe(&self) -> String {
        match self.how {
            How::Egress | How::Ingress => {
                format!(
                    "nothing passes {} (rules of {} drop it; all devices are up)",
                    self.end.describe(),
                    self.end.interface
                )
            }
            How::LinkDown => format!("{} is down", self.end.interface),
        }
    }

    fn table(&self) -> String {
        format!("vmpulse-inject-cut-{}{}", self.end.number, self.end.way.word())
    }

    fn script(&self, hook: &str) -> String {
        let (table, device) = (self.table(), &self.end.interface);
        format!(
            "add table netdev {table}\n\
             add chain netdev {table} cut {{ type filter hook {hook} device \"{device}\" priority {PRIORITY}; policy drop; }}\n"
        )
    }
}
