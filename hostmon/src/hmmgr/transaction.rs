//! `hmmgr transaction`: what became of requests to start, stop and remove VMs, from the health store.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use serde::Serialize;
use vmpulse_local::exit::Exit;
use vmpulse_protocol::id::VmUuid;
use vmpulse_store::{MAX_TRANSACTIONS, StoreError, Transaction, TransactionsWanted};

use super::status::local_time;
use super::{Output, fail, print};
use crate::settings::Settings;

/// The newest of them, the newest last. A tag is what START_VM, STOP_VM and REMOVE_VM answer with.
#[derive(Debug, Args)]
pub(super) struct TransactionArguments {
    /// Only those with these tags.
    #[arg(value_name = "TAG", value_parser = clap::value_parser!(i64).range(1..))]
    tags: Vec<i64>,
    /// Only about this VM.
    #[arg(long, value_name = "UUID", value_parser = parse_vm)]
    vm: Option<VmUuid>,
    /// Only those that wait for their host monitor.
    #[arg(long)]
    open: bool,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_TRANSACTIONS)))]
    count: u32,
}

#[derive(Debug, thiserror::Error)]
enum TransactionError {
    #[error("there is no health store at {0}: does a host monitor run with another one?")]
    Missing(String),
    #[error("the health store cannot be used")]
    Store(#[from] StoreError),
    #[error(
        "there is no transaction {0}: it was never given out, or the newest {MAX_TRANSACTIONS} came after it"
    )]
    NoTag(i64),
}

/// As `-o json` shows it.
#[derive(Debug, Serialize)]
struct Report {
    transactions: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    transaction: Transaction,
    /// RFC 3339.
    asked: String,
    /// RFC 3339.
    settled: Option<String>,
}

fn parse_vm(text: &str) -> Result<VmUuid, String> {
    text.parse().map_err(|_| "not a UUID of the form 01234567-89ab-cdef-0123-456789abcdef".to_owned())
}

pub(super) fn run(
    settings: &Settings,
    store: Option<&str>,
    wanted: TransactionArguments,
    output: Output,
) -> Exit {
    let found = match find(store.unwrap_or(&settings.store), wanted) {
        Ok(found) => found,
        Err(error) => return fail(&error, Exit::Failed),
    };
    match output {
        Output::Text if found.is_empty() => {
            // A remark: nothing is no failure.
            fail(&std::io::Error::other("there is no such transaction"), Exit::Done)
        }
        Output::Text => print(&lines(&found), Exit::Done),
        Output::Json => {
            let report = Report { transactions: found.into_iter().map(shown).collect() };
            print(&(serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"), Exit::Done)
        }
    }
}

fn find(url: &str, wanted: TransactionArguments) -> Result<Vec<Transaction>, TransactionError> {
    // A question makes no store.
    if url.strip_prefix("sqlite://").is_some_and(|path| !Path::new(path).exists()) {
        return Err(TransactionError::Missing(url.to_owned()));
    }
    let TransactionArguments { tags, vm, open, count } = wanted;
    let wanted = TransactionsWanted { tags, vm, open, limit: count };
    let found = vmpulse_store::open(url)?.transactions(&wanted)?;
    let narrowed = vm.is_some() || open;
    let missing = wanted.tags.iter().find(|tag| !narrowed && found.iter().all(|one| one.tag != **tag));
    match missing {
        Some(tag) => Err(TransactionError::NoTag(*tag)),
        None => Ok(found),
    }
}

fn lines(found: &[Transaction]) -> String {
    let mut text = String::new();
    let row = |cells: [&str; 7]| {
        let [tag, action, state, vm, monitor, asked, settled] = cells;
        format!("{tag:>6}  {action:<9}  {state:<8}  {vm:<36}  {monitor:<36}  {asked:<23}  {settled}")
    };
    let titles = ["TAG", "ACTION", "STATE", "VM", "HOST_MONITOR", "ASKED", "SETTLED"];
    let _cannot_fail = writeln!(text, "{}", row(titles));
    for one in found {
        let settled = one.settled_at.map_or_else(|| "-".to_owned(), |at| local_time(&at.rfc3339()));
        let line = row([
            &one.tag.to_string(),
            one.action.as_str(),
            one.state.as_str(),
            &one.vm.to_string(),
            &one.host_monitor.to_string(),
            &local_time(&one.asked_at.rfc3339()),
            &settled,
        ]);
        let _cannot_fail = writeln!(text, "{line}");
    }
    text
}

fn shown(transaction: Transaction) -> Shown {
    let asked = transaction.asked_at.rfc3339();
    let settled = transaction.settled_at.map(|at| at.rfc3339());
    Shown { transaction, asked, settled }
}
