use super::*;
use crate::config::attribute::APPLICATION;

fn values(pairs: &[(&str, &str)]) -> Values {
    let mut values = Values::new(APPLICATION);
    for (name, text) in pairs {
        values.set(name, text).unwrap();
    }
    values
}

fn typed(pairs: &[(&str, &str)]) -> Typed {
    Typed::new(&values(pairs)).unwrap().unwrap()
}

fn run(typed: &Typed, action: ScriptKind) -> Invocation {
    typed.invocation(
        action,
        Surroundings {
            ocf_root: Path::new("/usr/lib/ocf"),
            ocf_state: Path::new("/run/vmpulse/ocf"),
            application: "app1",
            time_limit: Duration::from_secs(7),
        },
    )
}

fn variable<'a>(invocation: &'a Invocation, name: &str) -> Option<&'a str> {
    invocation.environment.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
}

fn problem(pairs: &[(&str, &str)]) -> String {
    Typed::new(&values(pairs)).unwrap_err().to_string()
}

#[test]
fn an_agent_gets_what_the_standard_says() {
    let pgsql = typed(&[
        ("type", "OCF"),
        ("instancename", "ocf:heartbeat:pgsql"),
        ("param.pgdata", "/srv/pg data"),
        ("monitor_period", "40"),
    ]);
    let monitor = run(&pgsql, ScriptKind::Monitor);
    assert_eq!(monitor.words, ["/usr/lib/ocf/resource.d/heartbeat/pgsql", "monitor"]);
    for (name, value) in [
        ("OCF_ROOT", "/usr/lib/ocf"),
        ("OCF_RA_VERSION_MAJOR", "1"),
        ("OCF_RA_VERSION_MINOR", "0"),
        ("OCF_RESOURCE_INSTANCE", "app1"),
        ("OCF_RESOURCE_TYPE", "pgsql"),
        ("OCF_RESOURCE_PROVIDER", "heartbeat"),
        ("OCF_RESKEY_pgdata", "/srv/pg data"),
        ("OCF_RESKEY_CRM_meta_timeout", "7000"),
        ("OCF_RESKEY_CRM_meta_interval", "40000"),
        ("HA_RSCTMP", "/run/vmpulse/ocf"),
    ] {
        assert_eq!(variable(&monitor, name), Some(value), "{name}");
    }
    let start = run(&pgsql, ScriptKind::Start);
    assert_eq!(start.words.last().map(String::as_str), Some("start"));
    assert_eq!(variable(&start, "OCF_RESKEY_CRM_meta_interval"), Some("0"));
    let deep =
        typed(&[("type", "OCF"), ("instancename", "ocf:heartbeat:mysql"), ("param.OCF_CHECK_LEVEL", "10")]);
    assert_eq!(variable(&run(&deep, ScriptKind::Monitor), "OCF_CHECK_LEVEL"), Some("10"));
    assert_eq!(run(&pgsql, ScriptKind::Stop).words.last().map(String::as_str), Some("stop"));
}

#[test]
fn exit_codes_of_an_agent() {
    use Outcome::{CouldNotStart, Exit, Signal, Timeout};
    use ScriptKind::{Monitor, Start, Stop};
    let dummy = typed(&[("type", "OCF"), ("instancename", "ocf:heartbeat:Dummy")]);
    let expected = |code, judged: [Outcome; 3]| {
        for (action, judged) in [Monitor, Start, Stop].into_iter().zip(judged) {
            assert_eq!(dummy.judge(action, false, Exit(code)), judged, "{action} {code}");
        }
    };
    expected(0, [Exit(0); 3]);
    expected(1, [Exit(1); 3]);
    for code in 2..=6 {
        expected(code, [CouldNotStart; 3]);
    }
    expected(7, [Exit(7), Exit(7), Exit(0)]);
    for running in [8, 190, 191] {
        expected(running, [Exit(0), Exit(running), Exit(running)]);
    }
    expected(9, [Exit(9); 3]);
    for outcome in [Timeout, Signal(9), CouldNotStart] {
        assert_eq!(dummy.judge(Monitor, false, outcome), outcome);
    }
    assert_eq!(dummy.judge(Monitor, true, Exit(8)), Exit(8), "a script of its own is judged by 0 alone");
    assert_eq!(dummy.judge(Monitor, true, Exit(5)), Exit(5));
}

#[test]
fn a_plug_in_may_warn() {
    let nagios = typed(&[("type", "NAGIOS")]);
    assert!(!nagios.kind().supplies_scripts());
    for (code, judged) in [(0, 0), (1, 0), (2, 2), (3, 3), (4, 4), (127, 127)] {
        assert_eq!(nagios.judge(ScriptKind::Monitor, true, Outcome::Exit(code)), Outcome::Exit(judged));
    }
    assert_eq!(
        nagios.judge(ScriptKind::Start, true, Outcome::Exit(1)),
        Outcome::Exit(1),
        "a start script may not"
    );
}

#[test]
fn a_unit() {
    let nginx = typed(&[("type", "SYSTEMD"), ("instancename", "nginx.service")]);
    for (action, word) in
        [(ScriptKind::Start, "start"), (ScriptKind::Stop, "stop"), (ScriptKind::Monitor, "is-active")]
    {
        let invocation = run(&nginx, action);
        assert_eq!(invocation.words, ["/bin/systemctl", word, "--", "nginx.service"]);
        assert_eq!(nginx.judge(action, false, Outcome::Exit(3)), Outcome::Exit(3));
    }
    typed(&[("type", "SYSTEMD"), ("instancename", "postgresql@15-main.service")]);
    for bad in ["", "-x", "a b", "../x", "a/b", ".service"] {
        assert!(
            problem(&[("type", "SYSTEMD"), ("instancename", bad)]).contains("no name of a systemd unit"),
            "{bad}"
        );
    }
}

fn product(kind: &str, instance: &str, database: &str) -> (String, Vec<(String, String)>) {
    let typed = typed(&[("type", kind), ("instancename", instance), ("database", database)]);
    let agent = typed.agent().unwrap().clone();
    let parameters = agent.parameters().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    (agent.full_name(), parameters)
}

#[test]
fn products_have_agents_and_parameters() {
    type Case =
        (&'static str, &'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);
    let cases: [Case; 9] = [
        ("ORACLE", "ORCL", "", "ocf:heartbeat:oracle", &[("sid", "ORCL")]),
        ("ORACLE", "", "ORCL", "ocf:heartbeat:oracle", &[("sid", "ORCL")]),
        ("DB2", "db2inst1", "SALES", "ocf:heartbeat:db2", &[("dblist", "SALES"), ("instance", "db2inst1")]),
        ("SAPHANA", "", "HA1", "ocf:heartbeat:SAPDatabase", &[("DBTYPE", "HDB"), ("SID", "HA1")]),
        (
            "SAPHANA",
            "HDB00",
            "HA1",
            "ocf:heartbeat:SAPDatabase",
            &[("DBINSTANCE", "HDB00"), ("DBTYPE", "HDB"), ("SID", "HA1")],
        ),
        ("POSTGRESQL", "", "", "ocf:heartbeat:pgsql", &[]),
        ("POSTGRESQL", "/srv/pg", "shop", "ocf:heartbeat:pgsql", &[("pgdata", "/srv/pg"), ("pgdb", "shop")]),
        (
            "POSTGRESQL",
            "15/main",
            "",
            "ocf:heartbeat:pgsql",
            &[
                ("config", "/etc/postgresql/15/main/postgresql.conf"),
                ("pgctl", "/usr/lib/postgresql/15/bin/pg_ctl"),
                ("pgdata", "/var/lib/postgresql/15/main"),
                ("psql", "/usr/lib/postgresql/15/bin/psql"),
                ("socketdir", "/var/run/postgresql"),
            ],
        ),
        (
            "MARIADB",
            "/var/lib/mysql",
            "shop.orders",
            "ocf:heartbeat:mysql",
            &[("OCF_CHECK_LEVEL", "10"), ("datadir", "/var/lib/mysql"), ("test_table", "shop.orders")],
        ),
    ];
    for (kind, instance, database, agent, parameters) in cases {
        let parameters =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(product(kind, instance, database), (agent.to_owned(), parameters), "{kind} {instance}");
    }
    let own = typed(&[("type", "POSTGRESQL"), ("instancename", "15/main"), ("param.psql", "/opt/psql")]);
    assert_eq!(
        variable(&run(&own, ScriptKind::Start), "OCF_RESKEY_psql"),
        Some("/opt/psql"),
        "what is given goes first"
    );
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    for (pairs, words) in [
        (vec![("type", "OCF")], "names no agent; give ocf:PROVIDER:AGENT"),
        (vec![("type", "OCF"), ("instancename", "heartbeat:pgsql")], "names no agent"),
        (vec![("type", "OCF"), ("instancename", "ocf:..:pgsql")], "names no agent"),
        (vec![("type", "OCF"), ("instancename", "ocf:heartbeat:../../x")], "names no agent"),
        (vec![("type", "OCF"), ("instancename", "ocf:a:b"), ("database", "x")], "database is not used"),
        (vec![("type", "NAGIOS"), ("param.x", "1")], "this one is of NAGIOS"),
        (vec![("type", "SYSTEMD"), ("instancename", "a"), ("param.x", "1")], "this one is of SYSTEMD"),
        (vec![("param.x", "1")], "this one is of no type"),
        (vec![("type", "ORACLE")], "the SID of the instance"),
        (vec![("type", "ORACLE"), ("instancename", "A"), ("database", "B")], "both mean the SID"),
        (vec![("type", "DB2"), ("database", "SALES")], "instancename must be given"),
        (vec![("type", "SAPHANA"), ("instancename", "HDB00")], "database must be given"),
        (vec![("type", "POSTGRESQL"), ("instancename", "main")], "neither a data directory"),
        (vec![("type", "POSTGRESQL"), ("instancename", "15/../x")], "neither a data directory"),
        (vec![("type", "MARIADB"), ("instancename", "main")], "no data directory"),
        (vec![("type", "MARIADB"), ("database", "shop")], "DATABASE.TABLE"),
    ] {
        let problem = problem(&pairs);
        assert!(problem.contains(words), "{pairs:?}: {problem}");
    }
    assert_eq!(Typed::new(&values(&[])).unwrap(), None);
}
