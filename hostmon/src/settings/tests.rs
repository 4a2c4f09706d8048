use super::*;

const SAMPLE: &str = include_str!("../../../packaging/hostmon.toml");

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse(text, Path::new("hostmon.toml"))
}

#[test]
fn the_shipped_sample_has_every_key_with_its_default() {
    assert_eq!(parse(SAMPLE).unwrap(), Settings::default());
    let table: toml::Table = SAMPLE.parse().unwrap();
    let found: std::collections::BTreeSet<&str> = table.keys().map(String::as_str).collect();
    let expected = [
        "authentication",
        "canary",
        "ethertype",
        "heartbeat_interval_ms",
        "key_dir",
        "lock_memory",
        "log",
        "policing_netns",
        "quiet_max_ms",
        "realtime_priority",
        "receive",
        "receive_buffer_bytes",
        "recorder",
        "run_dir",
        "state_dir",
        "status_cert",
        "status_client_ca",
        "status_key",
        "status_listen",
        "store",
        "store_heartbeat_interval_ms",
        "trunk",
        "uuid",
        "vlan",
    ];
    assert_eq!(found, expected.into());
}

#[test]
fn unknown_keys_and_bad_values_are_refused_with_their_name() {
    for (text, word) in [
        ("trunks = \"eth1\"", "trunks"),
        ("trunk = \"../etc\"", "trunk"),
        ("trunk = \"sixteen-letters-\"", "trunk"),
        ("canary = \"\"", "canary"),
        ("canary = \"sixteen-letters-\"", "canary"),
        ("canary = \"-x\"", "canary"),
        ("uuid = \"61be20f0\"", "uuid"),
        ("store = \"health.db\"", "store"),
        ("ethertype = 0x86DD", "ethertype"),
        ("vlan = 4095", "vlan"),
        ("heartbeat_interval_ms = 99", "heartbeat_interval_ms"),
        ("store_heartbeat_interval_ms = 60001", "store_heartbeat_interval_ms"),
        ("quiet_max_ms = 600001", "quiet_max_ms"),
        ("receive_buffer_bytes = 1000", "receive_buffer_bytes"),
        ("receive = \"dpdk\"", "batched"),
        ("realtime_priority = 100", "realtime_priority"),
        ("lock_memory = 1", "lock_memory"),
        ("run_dir = \"run\"", "run_dir"),
        ("state_dir = \"\"", "state_dir"),
        ("policing_netns = \"vios\"", "policing_netns"),
        ("key_dir = \"keys\"", "key_dir"),
        ("authentication = \"Required\"", "receive-only"),
        ("status_listen = \"9095\"", "status_listen"),
        ("status_listen = \"0.0.0.0:9095\"", "mutual TLS"),
        ("status_listen = \"[::]:1\"\nstatus_cert = \"/c\"\nstatus_key = \"/k\"", "status_client_ca"),
        ("status_listen = \"[::]:1\"\nstatus_cert = \"c\"", "absolute"),
        ("status_key = \"/k\"", "status_listen"),
        ("[recorder]\nfile = \"/r\"", "file"),
        ("[recorder]\nmax_mib = 0", "recorder.max_mib"),
        ("[recorder]\ndirectory = \"r\"", "recorder.directory"),
    ] {
        let error = parse(text).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error} {source}").contains(word), "{text}: {error} {source}");
    }
}

#[test]
fn names_follow_the_trunk() {
    let settings =
        parse("trunk = \"eth1\"\nuuid = \"61BE20F0-09A8-4753-B5E5-564F8A545ED5\"\nvlan = 7").unwrap();
    assert_eq!(settings.socket_path(), Path::new("/run/vmpulse/hostmon-eth1.sock"));
    assert_eq!(settings.lock_path(), Path::new("/run/vmpulse/hostmon-eth1.lock"));
    assert_eq!(settings.uuid_path(), Path::new("/var/lib/vmpulse/eth1.uuid"));
    assert_eq!(settings.uuid.unwrap().to_string(), "61be20f0-09a8-4753-b5e5-564f8a545ed5");
    assert_eq!(settings.vlan_id(), Some(7));
}

#[test]
fn named_files_must_be_there_and_a_daemon_needs_a_trunk() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.toml");
    assert!(matches!(Settings::load(Some(&missing), None), Err(SettingsError::Read { .. })));
    assert!(matches!(Settings::load(None, Some(&missing)), Err(SettingsError::Read { .. })));
    let present = directory.path().join("hostmon.toml");
    std::fs::write(&present, "vlan = 7").unwrap();
    assert_eq!(Settings::load(Some(&present), Some(&missing)).unwrap().vlan, 7);
    let refused = Settings::load_for_daemon(Some(&present), None).unwrap_err();
    assert!(matches!(refused, SettingsError::Invalid { key: "trunk", .. }), "{refused}");
    std::fs::write(&present, "trunk = \"eth1\"").unwrap();
    assert_eq!(Settings::load_for_daemon(None, Some(&present)).unwrap().trunk, "eth1");
}
