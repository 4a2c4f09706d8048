//! The products: which resource agent each has, and which of its parameters `instancename` and `database` are.
//!
//! A parameter that is given as `param.NAME` goes before the one that is derived here.

use super::ocf::{Agent, CHECK_LEVEL};
use super::{Type, TypeError};
use crate::config::Values;

/// Of a type that is a product. OCF, NAGIOS and SYSTEMD are none and are refused.
pub(super) fn agent(kind: Type, values: &Values) -> Result<Agent, TypeError> {
    let (instance, database) = (values.text("instancename"), values.text("database"));
    let derived = match kind {
        Type::Oracle => oracle(instance, database),
        Type::Db2 => db2(instance, database),
        Type::SapHana => hana(instance, database),
        Type::Postgresql => postgresql(instance, database),
        Type::Mariadb => mariadb(instance, database),
        Type::Ocf | Type::Nagios | Type::Systemd => Err("it has no agent of its own".to_owned()),
    };
    let agent = derived.map_err(|problem| TypeError::of(kind, problem))?;
    Ok(agent.with(values.parameters()))
}

/// The agent knows an instance by its SID only.
fn oracle(instance: &str, database: &str) -> Result<Agent, String> {
    if !instance.is_empty() && !database.is_empty() && instance != database {
        return Err("instancename and database both mean the SID here; give one of them".to_owned());
    }
    let sid = if instance.is_empty() { database } else { instance };
    if sid.is_empty() {
        return Err("instancename must be given: the SID of the instance".to_owned());
    }
    Ok(Agent::heartbeat("oracle").set("sid", sid))
}

fn db2(instance: &str, database: &str) -> Result<Agent, String> {
    if instance.is_empty() {
        return Err(
            "instancename must be given: the instance, which is its owner's name, as db2inst1".to_owned()
        );
    }
    Ok(Agent::heartbeat("db2").set("instance", instance).set("dblist", database))
}

/// The agents named SAPHana are for replicated pairs and need a cluster manager; this one does not.
fn hana(instance: &str, database: &str) -> Result<Agent, String> {
    if database.is_empty() {
        return Err("database must be given: the SID of the system, as HA1".to_owned());
    }
    let agent = Agent::heartbeat("SAPDatabase").set("SID", database).set("DBTYPE", "HDB");
    Ok(agent.set("DBINSTANCE", instance))
}

/// A data directory, or a cluster of Debian as `15/main`.
fn postgresql(instance: &str, database: &str) -> Result<Agent, String> {
    let agent = Agent::heartbeat("pgsql").set("pgdb", database);
    if instance.is_empty() || instance.starts_with('/') {
        return Ok(agent.set("pgdata", instance));
    }
    let Some((version, cluster)) = debian_cluster(instance) else {
        return Err(format!(
            "instancename=\"{instance}\" is neither a data directory (an absolute path) nor VERSION/CLUSTER, as 15/main"
        ));
    };
    Ok(agent
        .set("pgdata", format!("/var/lib/postgresql/{version}/{cluster}"))
        .set("config", format!("/etc/postgresql/{version}/{cluster}/postgresql.conf"))
        .set("pgctl", format!("/usr/lib/postgresql/{version}/bin/pg_ctl"))
        .set("psql", format!("/usr/lib/postgresql/{version}/bin/psql"))
        .set("socketdir", "/var/run/postgresql"))
}

fn debian_cluster(text: &str) -> Option<(&str, &str)> {
    let (version, cluster) = text.split_once('/')?;
    let number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let good = version.bytes().all(number) && cluster.bytes().all(name);
    (good
        && version.starts_with(|c: char| c.is_ascii_digit())
        && !cluster.is_empty()
        && !cluster.starts_with('.'))
    .then_some((version, cluster))
}

/// The agent named mariadb is for replication and needs a cluster manager; this one serves both products alone.
fn mariadb(instance: &str, database: &str) -> Result<Agent, String> {
    if !instance.is_empty() && !instance.starts_with('/') {
        return Err(format!("instancename=\"{instance}\" is no data directory (an absolute path)"));
    }
    if !database.is_empty() && !database.contains('.') {
        return Err("database must be DATABASE.TABLE, which the agent can read".to_owned());
    }
    // Only a deeper check reads a table.
    let level = if database.is_empty() { "" } else { "10" };
    let agent = Agent::heartbeat("mysql").set("datadir", instance).set("test_table", database);
    Ok(agent.set(CHECK_LEVEL, level))
}
