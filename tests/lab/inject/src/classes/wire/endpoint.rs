//! An endpoint that cannot be reached: of a hypervisor's management, of storage, of the store.
//!
//! Rules of nftables on the machine that asks, for one address and port. The endpoint itself is not touched, and who asks from elsewhere
//! reaches it.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use clap::{Arg, value_parser};
use serde::{Deserialize, Serialize};

use crate::class::{About, Class, Expected, Place, State};
use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::options::{Options, value};
use crate::record::Record;
use crate::whose::{self, Whose};
use crate::wire::programs::{nft, run};

/// The table; one endpoint at a time.
const TABLE: &str = "vmpulse-inject-endpoint";
/// Before any other rule of these hooks: what lets everything of a network pass must not let this pass.
const PRIORITY: i32 = -200;
/// How long an endpoint may take to answer before it counts as one that does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The class.
pub(super) struct Endpoint;

/// How it cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    /// No answer at all: the machine or the network is dead.
    Drop,
    /// Connections are refused and reset: the service is dead.
    Refuse,
}

/// What the state file keeps.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    endpoint: SocketAddr,
    how: How,
    /// Whether it answered before: for people.
    answered: bool,
    /// None where nobody said so.
    #[serde(default)]
    whose: Option<Whose>,
}

impl Class for Endpoint {
    type Before = Before;

    fn about(&self) -> About {
        About {
            name: "endpoint",
            what: "an endpoint (libvirt, storage, the store) cannot be reached from this machine",
            places: &[Place::ControllerMachine, Place::Host],
            undo: "the rules are removed",
            // Of hypervisors and storage the product asks nothing yet.
            expected: whose::STORE,
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        vec![
            value("address", "IP", "the endpoint's address").value_parser(value_parser!(IpAddr)),
            value("port", "PORT", "its TCP port: 16509 or 16514 of libvirt, 5432 of PostgreSQL")
                .value_parser(value_parser!(u16).range(1..)),
            value(
                "how",
                "HOW",
                "drop: nothing answers; refuse: connections are refused and reset [default: drop]",
            )
            .value_parser(["drop", "refuse"]),
            whose::argument(&["store", "store-of-monitors", "store-of-controller", "other"]),
        ]
    }

    fn expected(&self, before: &Before) -> Inject<&'static [Expected]> {
        whose::expected(before.whose)
    }

    fn watched(&self, whose: Option<Whose>) -> Inject<&'static [Expected]> {
        whose::expected(whose)
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        let missing = || InjectError::Usage("--address and --port are needed.".to_owned());
        let address = options.get::<IpAddr>("address").ok_or_else(missing)?;
        let endpoint = SocketAddr::new(address, options.get::<u16>("port").ok_or_else(missing)?);
        context.need_target("endpoint", &endpoint.to_string())?;
        if table_stands()? {
            return Err(InjectError::Refused(format!(
                "the table {TABLE} is there already, and not by this injector."
            )));
        }
        let how = if options.text("how").as_deref() == Some("refuse") { How::Refuse } else { How::Drop };
        Ok(Before { endpoint, how, answered: answers(endpoint), whose: Whose::told(options) })
    }

    fn apply(&self, _context: &Context, record: &mut Record<'_, Before>) -> Inject<()> {
        nft(&record.before().script())
    }

    fn restore(&self, _context: &Context, _before: &Before) -> Inject<()> {
        if !table_stands()? {
            return Ok(());
        }
        run("nft", &["delete", "table", "inet", TABLE]).map(drop)
    }

    fn state(&self, _context: &Context, before: Option<&Before>) -> Inject<State> {
        let Some(before) = before else { return Ok(State::Off) };
        if !table_stands()? {
            return Ok(State::Off);
        }
        // The rules are looked at by their effect.
        if answers(before.endpoint) {
            return Ok(State::Partly(format!("{} answers in spite of the rules", before.endpoint)));
        }
        let was = if before.answered { "" } else { "; it did not answer before either" };
        Ok(State::On(format!("{} cannot be reached from here{was}", before.endpoint)))
    }
}

impl Before {
    fn script(&self) -> String {
        let (address, port) = (self.endpoint.ip(), self.endpoint.port());
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        let (to, from) = (
            format!("{family} daddr {address} tcp dport {port}"),
            format!("{family} saddr {address} tcp sport {port}"),
        );
        // What refuses is an answer as from the endpoint, so it must come in.
        let (out, back) = match self.how {
            How::Drop => ("drop", "drop"),
            How::Refuse => ("reject with tcp reset", "accept"),
        };
        format!(
            "add table inet {TABLE}\n\
             add chain inet {TABLE} out {{ type filter hook output priority {PRIORITY}; policy accept; }}\n\
             add chain inet {TABLE} in {{ type filter hook input priority {PRIORITY}; policy accept; }}\n\
             add rule inet {TABLE} out {to} {out}\n\
             add rule inet {TABLE} in {from} {back}\n"
        )
    }
}

fn answers(endpoint: SocketAddr) -> bool {
    TcpStream::connect_timeout(&endpoint, ANSWER_WITHIN).is_ok()
}

fn table_stands() -> Inject<bool> {
    let tables = run("nft", &["list", "tables", "inet"])?;
    Ok(tables.lines().any(|line| line.trim() == format!("table inet {TABLE}")))
}
