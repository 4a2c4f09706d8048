//! `query key`: ids, and the paths that use them.

use serde_json::{Value, json};
use vmpulse_protocol::auth::KeyId;

use crate::command::{DaemonStatus, LivePath};
use crate::vmmgr::grammar::Format;
use crate::vmmgr::{Context, Fault, Outcome, query, show};

/// `query key`
pub(in crate::vmmgr) fn query(context: &Context<'_>) -> Result<Outcome, Fault> {
    let ring = crate::keys::read(&context.settings.key_file).map_err(super::file_fault)?;
    let status = query::daemon_status(context)?;
    // In mode off the last one is used no more than the others.
    let used = ring.last().filter(|_| mode(context, status.as_ref()) != "off");
    let keys: Vec<Shown<'_>> =
        ring.ids().map(|id| Shown::new(id, Some(id) == used, status.as_ref())).collect();
    let text = match context.line.format {
        Format::Text if keys.is_empty() => {
            "No key: take one in with `vmmgr import key ID`, or make one with `vmmgr create key`.\n"
                .to_owned()
        }
        Format::Text => keys.iter().map(Shown::block).collect::<Vec<_>>().join("\n"),
        Format::Json => show::json(&json!({
            "key_file": context.settings.key_file,
            "authentication": mode(context, status.as_ref()),
            "problem": status.as_ref().and_then(|status| status.key_problem.as_deref()),
            "keys": keys.iter().map(Shown::object).collect::<Vec<_>>(),
        })),
    };
    Ok(Outcome::shown(text))
}

/// As the daemon has it, else as it will.
fn mode(context: &Context<'_>, status: Option<&DaemonStatus>) -> String {
    status.map_or_else(|| context.settings.authentication.to_string(), |status| status.authentication.clone())
}

/// A key of the file.
struct Shown<'a> {
    id: KeyId,
    /// It is the one for new handshakes.
    used: bool,
    /// That are authenticated with it.
    paths: Vec<&'a LivePath>,
}

impl<'a> Shown<'a> {
    fn new(id: KeyId, used: bool, status: Option<&'a DaemonStatus>) -> Self {
        let paths = status.map(|status| status.paths.as_slice()).unwrap_or_default();
        Self { id, used, paths: paths.iter().filter(|path| path.key_id == Some(id.as_u8())).collect() }
    }

    fn block(&self) -> String {
        let used = if self.used { "yes" } else { "no" };
        let adapters: Vec<&str> = self.paths.iter().map(|path| path.adapter.as_str()).collect();
        format!("Key id={}\n used={used}\n paths={}\n", self.id, adapters.join(","))
    }

    fn object(&self) -> Value {
        let path = |path: &&LivePath| {
            json!({
                "adapter": path.adapter,
                "host_monitor": path.host_monitor,
                "authenticated_in": path.authenticated_in,
                "authenticated_out": path.authenticated_out,
            })
        };
        let paths: Vec<Value> = self.paths.iter().map(path).collect();
        json!({ "id": self.id.as_u8(), "used": self.used, "paths": paths })
    }
}
