//! Keys of guests, handled as an operator would: made on the host, carried to the guest through a pipe.

use std::time::Duration;

use super::{Chain, PathStatus};
use crate::error::Lab;
use crate::wait;

/// A new handshake takes milliseconds; this is for loaded cores.
const LIMIT: Duration = Duration::from_secs(30);

/// How the paths of a guest are to be authenticated, seen from the host monitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secured {
    pub(crate) incoming: bool,
    pub(crate) outgoing: bool,
    pub(crate) key_id: Option<u8>,
}

impl Secured {
    /// Not at all.
    pub(crate) const PLAIN: Secured = Secured { incoming: false, outgoing: false, key_id: None };

    /// Both ways with this key.
    pub(crate) const fn with(key_id: u8) -> Secured {
        Secured { incoming: true, outgoing: true, key_id: Some(key_id) }
    }

    fn holds(self, path: &PathStatus) -> bool {
        let found = (path.authenticated_in, path.authenticated_out, path.key_id);
        found == (self.incoming, self.outgoing, self.key_id)
    }
}

/// Runs `hmmgr key WORDS` for a guest: `VM` stands for its UUID. Fails unless it succeeds.
pub(crate) fn hmmgr_key(chain: &Chain, guest: usize, line: &str) -> Lab<String> {
    said(chain, guest, line)?.ok()
}

/// As [`hmmgr_key`], however it ends.
pub(crate) fn said(chain: &Chain, guest: usize, line: &str) -> Lab<crate::process::Said> {
    let uuid = chain.guest(guest)?.uuid();
    let line = format!("key {line}");
    let words: Vec<&str> =
        line.split_whitespace().map(|word| if word == "VM" { uuid } else { word }).collect();
    chain.monitor(0)?.hmmgr(&words)
}

/// Carries a key of the host to the guest, and returns it.
pub(crate) fn carry(chain: &Chain, guest: usize, id: u8) -> Lab<String> {
    let secret = hmmgr_key(chain, guest, &format!("export VM --id {id}"))?;
    let line = format!("key import --id {id} -");
    chain.agent(guest)?.vmmgr_with_input(chain.guest(guest)?, &line, &secret)?.ok()?;
    Ok(secret.trim().to_string())
}

/// Sets the mode of a guest's agent, which takes it at once.
pub(crate) fn set_agent_mode(chain: &Chain, guest: usize, mode: &str) -> Lab<()> {
    let (agent, guest) = (chain.agent(guest)?, chain.guest(guest)?);
    let settings = format!("vm_uuid = \"{}\"\nauthentication = \"{mode}\"\n", guest.uuid());
    guest.write("/etc/vmpulse/agent.toml", &settings)?;
    agent.vmmgr(guest, "sync")?.ok().map(drop)
}

/// Waits until every path of a guest is authenticated so, and beats.
pub(crate) fn wait_until(chain: &Chain, guest: usize, secured: Secured) -> Lab<()> {
    let uuid = chain.guest(guest)?.uuid();
    for monitor in &chain.monitors {
        let what = format!("the path of {uuid} over {} to be {secured:?}", monitor.trunk().device());
        let mut last = Vec::new();
        let found = wait::until(LIMIT, &what, || {
            last = monitor.paths()?;
            let mut own = last.iter().filter(|path| path.vm == uuid);
            Ok(own.any(|path| secured.holds(path) && path.state == "BEATING").then_some(()))
        });
        found.map_err(|error| error.seen_last(|| format!("{last:#?}")))?;
    }
    Ok(())
}
