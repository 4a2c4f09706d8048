//! `hmmgr trunk`.

mod show;
mod snippet;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::command::call;
use vmpulse_local::exit::Exit;
use vmpulse_protocol::MacAddr;

use super::{Output, fail, print};
use crate::settings::Settings;
use crate::status::{CommandRequest, Status};
use crate::trunk_setup::TrunkError;
use crate::trunk_setup::plan::{Adapter, DEFAULT_LIMITS, TrunkPlan};
use crate::trunk_setup::programs::Programs;
use crate::trunk_setup::records::Records;
use crate::trunk_setup::work::{Done, Works};

/// A host monitor that is well answers in milliseconds; one that is not has nobody to name.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// What a path is called whose VM is not registered: it gets no lane of its own.
const NOT_REGISTERED: &str = "NOT_MONITORED";

#[derive(Debug, Subcommand)]
pub(super) enum TrunkAction {
    /// Make a trunk and police it; run again, it repairs what is wrong and changes nothing else.
    Create(Create),
    /// Take a trunk away, with everything that was made for it.
    Delete {
        /// The trunk.
        name: Adapter,
        /// Also under running guests, which lose their adapters.
        #[arg(long)]
        force: bool,
    },
    /// List the trunks that were made here.
    List,
    /// Show a trunk: its adapters, its limits, what was dropped, and how guests are connected to it.
    Show {
        /// The trunk.
        name: Adapter,
    },
    /// Check a trunk, or all of them. Ends with 1 if something is wrong.
    Check {
        /// The trunk; all of them if none is named.
        name: Option<Adapter>,
    },
    /// Print a trunk in the words of systemd-networkd, systemd or libvirt, so that it is there after a reboot and guests hang on it.
    Snippet(snippet::Wanted),
    /// Police guests' adapters one by one.
    Port {
        #[command(subcommand)]
        action: PortAction,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The trunk, and the adapter that guests are connected to; the host monitor's is NAME-hm.
    #[arg(required_unless_present = "all")]
    name: Option<Adapter>,
    /// Every trunk that was made here before, as after a reboot.
    #[arg(long, conflicts_with = "name")]
    all: bool,
    #[command(flatten)]
    options: Options,
}

/// What is not said stays as it was, or as the defaults say.
#[derive(Debug, Args)]
#[group(id = "what", conflicts_with = "all")]
struct Options {
    /// MTU of the trunk; 1500 if never said.
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// The trunk is carried in this VLAN, 1 to 4094: frames of the protocol in no other reach the monitor; 0: in none.
    #[arg(long, value_name = "ID")]
    vlan: Option<u16>,
    /// Put the monitor's side into this named network namespace; it is made if it is not there.
    #[arg(long, value_name = "NAMESPACE")]
    netns: Option<Adapter>,
    /// Guests' frames come in by this adapter, from outside: police it and put the monitor's side on it.
    #[arg(long, value_name = "DEVICE")]
    adapter: Option<Adapter>,
    /// Address of the monitor's side; if never said, the one that the kernel gave it first.
    #[arg(long, value_name = "ADDRESS", value_parser = super::capture::address)]
    mac: Option<MacAddr>,
    /// Whether the kernel enforces limits; on if never said.
    #[arg(long, value_enum)]
    policing: Option<Switch>,
    /// Frames per second that one source address may send [200].
    #[arg(long, value_name = "FRAMES")]
    source_rate: Option<u32>,
    /// Frames that one source address may send at once [1024].
    #[arg(long, value_name = "FRAMES")]
    source_burst: Option<u32>,
    /// Frames per second of all addresses together that are no registered VM's [2000].
    #[arg(long, value_name = "FRAMES")]
    strangers_rate: Option<u32>,
    /// Frames that all of them together may send at once [2000].
    #[arg(long, value_name = "FRAMES")]
    strangers_burst: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
pub(super) enum PortAction {
    /// Police a guest's adapter: only frames from its own address leave it, and no more than one source may send.
    Add {
        /// The trunk.
        name: Adapter,
        /// The guest's adapter on the host: its macvtap, tap or veth.
        device: Adapter,
        /// The guest's address; a macvtap's own if not said.
        #[arg(long, value_name = "ADDRESS", value_parser = super::capture::address)]
        mac: Option<MacAddr>,
    },
    /// Police it no more.
    Remove {
        /// The trunk.
        name: Adapter,
        /// The guest's adapter.
        device: Adapter,
    },
    /// Police every macvtap that stands on the trunk by its own address, and forget those that are gone.
    Sync {
        /// The trunk.
        name: Adapter,
    },
}

/// What was done, as `-o json` shows it.
#[derive(Serialize)]
struct Report {
    trunks: Vec<Done>,
}

pub(super) fn run(settings: &Settings, output: Output, action: TrunkAction) -> Exit {
    let making = u64::try_from(MonotonicClock::start().realtime().as_nanos()).unwrap_or(u64::MAX);
    let works = Works::new(Programs::default(), Records::new(&settings.state_dir), making);
    let result = match action {
        TrunkAction::Create(create) => create_all(&works, settings, create, output),
        TrunkAction::Delete { name, force } => {
            works.delete(&name, force).map(|gone| done(output, vec![(gone, None)]))
        }
        TrunkAction::List => show::list(&works, output),
        TrunkAction::Show { name } => show::show(&works, output, &name),
        TrunkAction::Check { name } => show::check(&works, output, name.as_ref()),
        TrunkAction::Snippet(wanted) => snippet::run(&works, output, &wanted),
        TrunkAction::Port { action } => {
            port(&works, action).map(|changed| done(output, vec![(changed, None)]))
        }
    };
    result.unwrap_or_else(|error| fail(&error, error.exit()))
}

fn port(works: &Works, action: PortAction) -> Result<Done, TrunkError> {
    match action {
        PortAction::Add { name, device, mac } => works.port_add(&name, &device, mac),
        PortAction::Remove { name, device } => works.port_remove(&name, &device),
        PortAction::Sync { name } => works.port_sync(&name),
    }
}

/// A trunk that was worked on, with its plan if it is there afterwards.
type Worked = (Done, Option<TrunkPlan>);

/// One that cannot be made does not keep the others from being made; its exit code is the command's.
fn create_all(
    works: &Works,
    settings: &Settings,
    create: Create,
    output: Output,
) -> Result<Exit, TrunkError> {
    let Create { name, all: _, options } = create;
    let names = match name {
        Some(name) => vec![name],
        None => works.records().all()?.into_iter().map(|plan| plan.name).collect(),
    };
    let make = |name: &Adapter| -> Result<Worked, TrunkError> {
        let known = |plan: &TrunkPlan| known_guests(settings, plan);
        let done = works.create(name, |kept| options.apply(name, kept, settings.ethertype), known)?;
        Ok((done, Some(works.records().get(name)?)))
    };
    let (made, failed): (Vec<_>, Vec<_>) = names.iter().map(make).partition(Result::is_ok);
    let exit = done(output, made.into_iter().flatten().collect());
    let failed = failed.into_iter().filter_map(Result::err).map(|error| fail(&error, error.exit()));
    Ok(failed.reduce(|first, _| first).unwrap_or(exit))
}

impl Options {
    /// What the trunk is to be, from what it was.
    fn apply(
        &self,
        name: &Adapter,
        kept: Option<TrunkPlan>,
        ethertype: u16,
    ) -> Result<TrunkPlan, TrunkError> {
        let mut plan = match kept {
            Some(kept) => {
                self.refuse_moving(&kept)?;
                kept
            }
            None => TrunkPlan {
                netns: self.netns.clone(),
                adapter: self.adapter.clone(),
                ..TrunkPlan::new(name.clone(), ethertype)
            },
        };
        // The guests and the monitor's settings say which it is.
        plan.ethertype = ethertype;
        plan.mtu = self.mtu.unwrap_or(plan.mtu);
        plan.mac = self.mac.or(plan.mac);
        plan.vlan = self.vlan.map_or(plan.vlan, |vlan| Some(vlan).filter(|vlan| *vlan != 0));
        plan.policing = match self.policing {
            Some(Switch::Off) => None,
            Some(Switch::On) => plan.policing.or(Some(DEFAULT_LIMITS)),
            None => plan.policing,
        };
        match &mut plan.policing {
            Some(limits) => {
                let said = [
                    (&mut limits.source_per_second, self.source_rate),
                    (&mut limits.source_burst, self.source_burst),
                    (&mut limits.strangers_per_second, self.strangers_rate),
                    (&mut limits.strangers_burst, self.strangers_burst),
                ];
                for (limit, value) in said {
                    *limit = value.unwrap_or(*limit);
                }
            }
            None if self.says_a_limit() => {
                let text =
                    format!("trunk {name} is not policed, so it has no limits; say --policing on as well");
                return Err(TrunkError::Usage(text));
            }
            None => {}
        }
        Ok(plan)
    }

    /// Guests and monitor would be left behind.
    fn refuse_moving(&self, kept: &TrunkPlan) -> Result<(), TrunkError> {
        let moved = [("--netns", &self.netns, &kept.netns), ("--adapter", &self.adapter, &kept.adapter)];
        let moved = moved.into_iter().find(|(_, said, is)| said.is_some() && said != is);
        moved.map_or(Ok(()), |(option, _, is)| {
            let is = is.as_ref().map_or("without it".to_owned(), |is| format!("with {is}"));
            let name = &kept.name;
            let text = format!(
                "trunk {name} was made {is}: {option} cannot be changed; `hmmgr trunk delete {name}` first"
            );
            Err(TrunkError::Usage(text))
        })
    }

    const fn says_a_limit(&self) -> bool {
        self.source_rate.is_some()
            || self.source_burst.is_some()
            || self.strangers_rate.is_some()
            || self.strangers_burst.is_some()
    }
}

/// Registered guests that a running host monitor hears: a new table must not take them for strangers.
fn known_guests(settings: &Settings, plan: &TrunkPlan) -> Vec<MacAddr> {
    let listens = Settings { trunk: plan.monitor_adapter(), ..settings.clone() };
    match call::<_, Status>(&listens.socket_path(), &CommandRequest::Status, ANSWER_TIMEOUT) {
        Ok(status) => {
            let registered = status.paths.iter().filter(|path| path.state != NOT_REGISTERED);
            registered.filter_map(|path| path.mac.parse().ok()).collect()
        }
        // None runs: it will tell the kernel when it does.
        Err(_) => Vec::new(),
    }
}

fn done(output: Output, worked: Vec<Worked>) -> Exit {
    let text = match output {
        Output::Json => {
            let trunks = worked.into_iter().map(|(done, _)| done).collect();
            serde_json::to_string_pretty(&Report { trunks }).unwrap_or_default() + "\n"
        }
        Output::Text => worked.iter().map(|(done, plan)| show::done(done, plan.as_ref())).collect(),
    };
    print(&text, Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        action: TrunkAction,
    }

    fn options(line: &str) -> Options {
        let words = ["hmmgr", "create", "trunkA"].into_iter().chain(line.split_whitespace());
        let action = Line::try_parse_from(words).unwrap().action;
        let TrunkAction::Create(create) = action else { panic!("{action:?}") };
        create.options
    }

    fn apply(line: &str, kept: Option<&TrunkPlan>) -> Result<TrunkPlan, TrunkError> {
        options(line).apply(&"trunkA".parse().unwrap(), kept.cloned(), 0x88B5)
    }

    #[test]
    fn what_is_not_said_stays_as_it_was() {
        let plan = apply("--mtu 9000 --source-rate 50 --netns vios --vlan 100", None).unwrap();
        assert_eq!(plan.vlan, Some(100));
        assert_eq!(apply("--vlan 0", Some(&plan)).unwrap().vlan, None);
        assert_eq!((plan.mtu, plan.policing.unwrap().source_per_second), (9000, 50));
        assert_eq!(apply("", Some(&plan)).unwrap(), plan);
        let off = apply("--policing off", Some(&plan)).unwrap();
        assert_eq!(off.policing, None);
        assert_eq!(apply("--policing on", Some(&off)).unwrap().policing, Some(DEFAULT_LIMITS));
    }

    #[test]
    fn a_trunk_is_not_moved_and_limits_need_policing() {
        let plan = apply("--policing off", None).unwrap();
        assert!(apply("--netns vios", Some(&plan)).unwrap_err().to_string().contains("--netns"));
        assert!(apply("--source-rate 5", Some(&plan)).unwrap_err().to_string().contains("--policing on"));
        let there = TrunkPlan { netns: Some("vios".parse().unwrap()), ..plan };
        assert!(apply("--netns vios", Some(&there)).is_ok());
    }

    #[test]
    fn either_a_name_or_all() {
        let parse = |line: &str| Line::try_parse_from(line.split_whitespace());
        assert!(parse("hmmgr create").is_err());
        assert!(parse("hmmgr create --all").is_ok());
        assert!(parse("hmmgr create --all trunkA").is_err());
        assert!(parse("hmmgr create --all --mtu 9000").is_err());
        assert!(parse("hmmgr create a;b").is_err());
    }
}
