//! A real PostgreSQL, supervised as type POSTGRESQL: it is killed, comes back under the agent, and has its rows.

use std::path::Path;
use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, GuestView, Plan, text_of};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::preflight::postgresql_programs;
use crate::wait::Stopwatch;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "postgresql-returns",
    about: "a PostgreSQL that is killed comes back under the agent, with its rows",
    run,
};

const LIMIT: Duration = Duration::from_secs(90);

/// Everything of it is in here: data, socket, log. It listens on no port.
const HOME: &str = "/run/pg";

fn run(world: World, report: &mut Report) -> Lab<()> {
    if !world.kit().real_root {
        let reason =
            "PostgreSQL runs as a user of its own only, and a user namespace has one user: run this as root";
        return Err(LabError::Skipped(reason.into()));
    }
    let programs = postgresql_programs()
        .ok_or_else(|| LabError::Missing("PostgreSQL is not installed: apt-get install postgresql".into()))?;
    let mut chain = Chain::start(world, Plan::default())?;
    chain.register_and_wait()?;
    let guest = GuestView::enter(&chain, 0)?;
    create(guest, &programs)?;
    supervise(guest, &programs)?;
    let psql = format!("{}/psql -qAt -h {HOME} -U postgres", programs.display());
    guest.sh(&format!("{psql} -c 'create table t as select 42 as n'"))?;

    let watch = Stopwatch::start();
    guest.sh(&format!("kill -9 $(head -1 {HOME}/data/postmaster.pid)"))?;
    guest.wait_for("db", LIMIT, "to be back", |app| {
        text_of(app, "nooftimes_restarted") == "2" && text_of(app, "status") == "NORMAL"
    })?;
    report
        .figure(format!("PostgreSQL NORMAL again {:.1} s after SIGKILL of the postmaster", watch.seconds()));
    let rows = guest.sh(&format!("{psql} -c 'select n from t'"))?;
    expect(rows.trim() == "42", || format!("its table says {rows}"))?;
    chain.wait_for_application("db", "GREEN", LIMIT)?;
    the_end_of_the_agent_is_not_its_end(&mut chain, &psql)
}

fn create(guest: GuestView<'_>, programs: &Path) -> Lab<()> {
    guest
        .sh(&format!(
            "install -d -o postgres {HOME}; cd {HOME}; \
         runuser -u postgres -- {}/initdb --no-sync -A trust -D {HOME}/data; \
         echo \"listen_addresses=''\" >> {HOME}/data/postgresql.conf; \
         echo \"unix_socket_directories='{HOME}'\" >> {HOME}/data/postgresql.conf",
            programs.display()
        ))
        .map(drop)
}

/// It is not running yet: the agent starts it.
fn supervise(guest: GuestView<'_>, programs: &Path) -> Lab<()> {
    let programs = programs.display();
    guest.add(
        "db",
        &format!(
            "type=POSTGRESQL instancename={HOME}/data param.pgctl={programs}/pg_ctl param.psql={programs}/psql \
             param.socketdir={HOME} param.logfile={HOME}/log monitor_period=3 monitor_timeout=2 \
             monitor_failure_threshold=1 restart_window=3600"
        ),
    )?;
    guest.wait_for_status("db", "NORMAL", LIMIT).map(drop)
}

/// An agent that is stopped or updated leaves what it supervises alone.
fn the_end_of_the_agent_is_not_its_end(chain: &mut Chain, psql: &str) -> Lab<()> {
    let postmaster = format!("head -1 {HOME}/data/postmaster.pid");
    let before = GuestView::enter(chain, 0)?.sh(&postmaster)?;
    chain.stop_agent(0)?;
    let guest = GuestView::enter(chain, 0)?;
    guest.sh(&format!("{psql} -c 'select 1'"))?;
    chain.restart_agent(0)?;
    let guest = GuestView::enter(chain, 0)?;
    guest.wait_for_status("db", "NORMAL", LIMIT)?;
    let after = guest.sh(&postmaster)?;
    expect(before == after, || {
        format!("it was restarted with the agent: process {before} and then {after}")
    })?;
    chain.still_runs()
}
