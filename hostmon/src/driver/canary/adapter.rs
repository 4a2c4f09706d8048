//! The canary's adapter: a macvlan in VEPA mode on the guests' side of the trunk.

use std::fs::File;
use std::path::PathBuf;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use vmpulse_local::errors;
use vmpulse_protocol::MacAddr;

use crate::settings::{Canary, Settings};
use crate::trunk_setup::programs::Programs;
use crate::trunk_setup::records::Records;
use crate::trunk_setup::seen::{Link, Links};
use crate::trunk_setup::{canary_mark, canary_name};

/// Name of the canary's adapter on the trunk that a monitor hears by the adapter `trunk`.
pub(super) fn name_of(trunk: &str) -> String {
    canary_name(trunk)
}

/// Why there is no adapter. A sentence each.
#[derive(Debug)]
pub(super) enum Unmade {
    /// For a reason of its own.
    Own(String),
    /// It stood on the guests' side once, and that is gone or down: so no guest is heard either.
    Lower(String),
}

impl From<String> for Unmade {
    fn from(why: String) -> Self {
        Self::Own(why)
    }
}

/// What it stood on when it was last made.
struct Stood {
    lower: String,
    /// A new adapter of the same name has another one.
    index: Option<u32>,
}

/// Where the adapter is made, and how. Used by the canary's thread alone: it enters the namespace for good.
pub(super) struct Place {
    wanted: Canary,
    trunk: String,
    records: Records,
    netns: Option<PathBuf>,
    entered: bool,
    programs: Programs,
    name: String,
    mark: String,
    mac: MacAddr,
    made: bool,
    stood: Option<Stood>,
}

impl Place {
    pub(super) fn new(settings: &Settings, mac: MacAddr, uuid: &str) -> Self {
        Self {
            wanted: settings.canary.clone(),
            trunk: settings.trunk.clone(),
            records: Records::new(&settings.state_dir),
            netns: settings.policing_netns(),
            entered: false,
            programs: Programs::default(),
            name: name_of(&settings.trunk),
            mark: canary_mark(uuid),
            mac,
            made: false,
            stood: None,
        }
    }

    /// Makes the adapter, in place of one that an earlier life of this monitor left behind.
    pub(super) fn make(&mut self) -> Result<(), Unmade> {
        let lower = self.lower()?;
        self.enter()?;
        let links = self.links()?;
        if let Some(how) = self.stood_on(&lower).and_then(|_| is_missing(&links, &lower)) {
            return Err(Unmade::Lower(how));
        }
        self.make_on(&lower, &links)?;
        self.stood = Some(Stood { index: index_of(&lower), lower });
        Ok(())
    }

    /// Why it ended: for its own reason, which is given, or because the guests' side went away under it.
    pub(super) fn ended(&self, why: String) -> Unmade {
        let Some(stood) = &self.stood else { return Unmade::Own(why) };
        let replaced = || {
            let is_another = index_of(&stood.lower) != stood.index;
            is_another
                .then(|| format!("{}, on which guests stand, was taken away and made anew", stood.lower))
        };
        match self.links().map(|links| is_missing(&links, &stood.lower)) {
            Ok(missing) => missing.or_else(replaced).map_or(Unmade::Own(why), Unmade::Lower),
            // Not known. The next attempt to make it says more.
            Err(_) => Unmade::Own(why),
        }
    }

    /// What is known of the last time, if it stood there.
    fn stood_on(&self, lower: &str) -> Option<&Stood> {
        self.stood.as_ref().filter(|stood| stood.lower == lower)
    }

    fn links(&self) -> Result<Links, String> {
        let said = self.programs.ip(&["-j", "-d", "link", "show"]).map_err(|error| errors::chain(&error))?;
        Links::parse(&said, "").map_err(|error| errors::chain(&error))
    }

    fn make_on(&mut self, lower: &str, links: &Links) -> Result<(), String> {
        let ip = |words: &[&str]| self.programs.ip(words).map_err(|error| errors::chain(&error));
        if let Some(link) = links.find(&self.name) {
            if !is_ours(link, lower, &self.mark) {
                return Err(format!(
                    "{0} is taken by an adapter that is not this monitor's; remove it: `ip link delete dev {0}`",
                    self.name
                ));
            }
            ip(&["link", "delete", "dev", &self.name])?;
        }
        let mac = self.mac.to_string();
        ip(&[
            "link", "add", "link", lower, "name", &self.name, "address", &mac, "type", "macvlan", "mode",
            "vepa",
        ])?;
        self.made = true;
        ip(&["link", "set", "dev", &self.name, "alias", &self.mark, "arp", "off"])?;
        // Without IPv6 there is nothing to keep away.
        let _ = ip(&["link", "set", "dev", &self.name, "addrgenmode", "none"]);
        ip(&["link", "set", "dev", &self.name, "up"]).map(drop)
    }

    /// Takes it away, if it was made.
    pub(super) fn remove(&mut self) {
        if std::mem::take(&mut self.made)
            && let Err(error) = self.programs.ip(&["link", "delete", "dev", &self.name])
        {
            // It went with the trunk.
            tracing::debug!(err = %errors::chain(&error), "the canary's adapter was not removed");
        }
    }

    /// The adapter that guests stand on.
    fn lower(&self) -> Result<String, String> {
        match &self.wanted {
            Canary::On(adapter) => Ok(adapter.clone()),
            Canary::Off | Canary::Auto => {
                let plans = self.records.all().map_err(|error| errors::chain(&error))?;
                let plan = plans.into_iter().find(|plan| plan.monitor_adapter() == self.trunk);
                plan.map(|plan| plan.guests_adapter().to_string()).ok_or_else(|| {
                    format!(
                        "`hmmgr trunk create` has not made the trunk of {}, so its guests' side is not known; name that \
                         adapter in the settings (canary = \"ADAPTER\"), or say canary = \"off\"",
                        self.trunk
                    )
                })
            }
        }
    }

    /// The thread stays there; what it starts, too.
    fn enter(&mut self) -> Result<(), String> {
        let Some(netns) = self.netns.as_ref().filter(|_| !self.entered) else { return Ok(()) };
        let entered = File::open(netns).and_then(|file| Ok(setns(file, CloneFlags::CLONE_NEWNET)?));
        entered.map_err(|error| {
            format!("cannot enter the network namespace {} (policing_netns): {error}", netns.display())
        })?;
        self.entered = true;
        Ok(())
    }
}

fn index_of(adapter: &str) -> Option<u32> {
    if_nametoindex(adapter).ok()
}

/// How the guests' side is not there, if it is not.
fn is_missing(links: &Links, lower: &str) -> Option<String> {
    match links.find(lower) {
        None => Some(format!("{lower}, on which guests stand, is gone")),
        Some(link) if !link.flags.iter().any(|flag| flag == "UP") => {
            Some(format!("{lower}, on which guests stand, is down"))
        }
        Some(_) => None,
    }
}

/// By its mark; or it was killed before it could be marked.
fn is_ours(link: &Link, lower: &str, mark: &str) -> bool {
    let unmarked = link.alias.is_empty() && link.kind() == "macvlan" && link.link.as_deref() == Some(lower);
    link.alias == mark || unmarked
}
