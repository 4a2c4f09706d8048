//! How one gets into a PostgreSQL store: TLS, passwords, roles, URLs.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use vmpulse_protocol::id::HostMonitorId;
use vmpulse_store::{HostMonitorWrite, PostgresStore, Store, StoreError, SystemSettings, check_url};
use vmpulse_test_postgres::Server;

fn openssl(folder: &Path, line: &str) {
    let said = Command::new("openssl").args(line.split(' ')).current_dir(folder).output().unwrap();
    assert!(said.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&said.stderr));
}

/// A CA and what it signed for the server `localhost` and the user `host2`; and another CA that signed nothing.
fn certificates(folder: &Path) {
    for ca in ["ca", "stranger"] {
        let line = format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={ca} -keyout {ca}.key \
             -out {ca}.pem"
        );
        openssl(folder, &line);
    }
    for (name, file) in [("localhost", "server"), ("host2", "host2")] {
        let request = format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {file}.key -out {file}.csr"
        );
        openssl(folder, &request);
        std::fs::write(folder.join("names"), format!("subjectAltName=DNS:{name}")).unwrap();
        let sign = format!(
            "x509 -req -in {file}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {file}.pem"
        );
        openssl(folder, &sign);
    }
}

const HBA: &str = "local all postgres trust\nlocal all all scram-sha-256\nhostssl all host2 127.0.0.1/32 cert\n\
                   hostssl all all 127.0.0.1/32 scram-sha-256\n";

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn tls_passwords_and_roles() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path();
    certificates(files);
    let port = Server::free_port().unwrap();
    let settings = "listen_addresses = '127.0.0.1'\nssl = on\nssl_cert_file = 'server.pem'\n\
                    ssl_key_file = 'server.key'\nssl_ca_file = 'ca.pem'\nshared_buffers = 16MB";
    let prepare = |data: &Path| {
        for file in ["server.pem", "server.key", "ca.pem"] {
            std::fs::copy(files.join(file), data.join(file)).map_err(|e| e.to_string())?;
        }
        std::fs::set_permissions(data.join("server.key"), std::fs::Permissions::from_mode(0o600))
            .map_err(|e| e.to_string())?;
        std::fs::write(data.join("pg_hba.conf"), HBA).map_err(|e| e.to_string())
    };
    let mut server = match Server::start_with(port, settings, prepare) {
        Ok(server) => server,
        Err(reason) if reason.starts_with("SKIPPED") => return eprintln!("{reason}"),
        Err(reason) => panic!("{reason}"),
    };
    let database = server.database();
    PostgresStore::open(&server.url("postgres", &database)).unwrap();
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/postgresql/roles.sql");
    server.sql_file(&database, &roles).unwrap();
    let users = "CREATE ROLE host1 LOGIN PASSWORD 'colon:and\\slash' IN ROLE vmpulse_hostmon;
                 CREATE ROLE host2 LOGIN IN ROLE vmpulse_hostmon;
                 CREATE ROLE controller1 LOGIN PASSWORD 'other' IN ROLE vmpulse_controller";
    server.sql(&database, users).unwrap();

    let passwords = files.join("passwords");
    let lines = format!(
        "# host:port:database:user:password\nelsewhere:*:*:host1:wrong\n\
         localhost:{port}:{database}:host1:colon\\:and\\\\slash\n*:*:*:controller1:other\n"
    );
    private(&passwords, &lines);
    let name = |file: &str| files.join(file).display().to_string();
    let url = |user: &str, host: &str, rest: &str| {
        format!("postgresql://{user}@{host}:{port}/{database}?passfile={}&{rest}", passwords.display())
    };
    let verified = format!("sslmode=verify-full&sslrootcert={}", name("ca.pem"));
    let open = |url: &str| PostgresStore::open(url);

    let mut host1 = open(&url("host1", "localhost", &verified)).unwrap();
    let encrypted =
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'host1'";
    assert_eq!(server.sql(&database, encrypted).unwrap(), "t");
    let mut controller = open(&url("controller1", "localhost", &verified)).unwrap();
    let certificate = format!("{verified}&sslcert={}&sslkey={}", name("host2.pem"), name("host2.key"));
    open(&url("host2", "localhost", &certificate)).unwrap();

    // Nobody gets in who does not prove who he is, and no server is believed that does not either.
    let stranger = format!("sslrootcert={}", name("stranger.pem"));
    for (what, url) in [
        ("no certificate", url("host2", "localhost", &verified)),
        ("a CA that signed nothing", url("host1", "localhost", &stranger)),
        ("another name than the certificate's", url("host1", "127.0.0.1", &verified)),
        ("no TLS", url("host1", "localhost", "sslmode=disable")),
        ("nobody's password", url("nobody", "localhost", &verified)),
    ] {
        let refused = open(&url).unwrap_err();
        assert!(matches!(refused, StoreError::Connect { .. }), "{what}: {refused:?}");
    }
    std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = open(&url("host1", "localhost", &verified)).unwrap_err();
    assert!(refused.to_string().contains("chmod 600"), "{refused}");

    // Roles: a host monitor sets nothing, a controller heartbeats for no host monitor, neither makes tables.
    let denied = |result: Result<(), StoreError>| {
        let error = result.unwrap_err();
        let source =
            std::error::Error::source(&error).and_then(std::error::Error::source).unwrap().to_string();
        assert!(source.contains("permission denied"), "{source}");
    };
    denied(host1.system_settings_replace(&SystemSettings::default()));
    denied(host1.incident_close("vm-silent:1"));
    denied(host1.hosts_add(&[vmpulse_store::HostRegistration {
        key: vmpulse_store::HostKey { machine_type: "a".into(), model: "b".into(), serial: "c".into() },
        host_monitors: vec![],
    }]));
    let id = HostMonitorId::from_bytes([1; 16]);
    host1.host_monitor_apply(id, &[HostMonitorWrite::Heartbeat]).unwrap();
    denied(controller.host_monitor_apply(id, &[HostMonitorWrite::Heartbeat]).map(drop));
    controller.system_settings_replace(&SystemSettings::default()).unwrap();

    // A version that a role may not bring up to date is said, with what to do.
    std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(0o600)).unwrap();
    server.sql(&database, "UPDATE vmpulse.schema_version SET version = 2").unwrap();
    let refused = open(&url("host1", "localhost", &verified)).unwrap_err();
    assert!(matches!(refused, StoreError::Outdated { known: 3, .. }), "{refused:?}");
}

#[test]
fn urls_are_checked_without_opening_anything() {
    for right in [
        "sqlite:///var/lib/vmpulse/health.db",
        "postgresql://hm@%2Frun%2Fpostgresql/vmpulse",
        "postgres://hm@a,b:5433/vmpulse?sslrootcert=/etc/vmpulse/ca.pem&passfile=/etc/vmpulse/pass",
        "postgresql://hm@db/vmpulse?sslmode=disable&connect_timeout=3",
    ] {
        check_url(right).unwrap();
    }
    for (wrong, said) in [
        ("mysql://db/vmpulse", "write sqlite:///absolute/path or postgresql://"),
        ("postgresql://hm:secret@db/vmpulse?sslmode=disable", "it holds a password"),
        ("postgresql://db/vmpulse?password=secret", "it holds a password"),
        ("postgresql:///vmpulse", "names no server"),
        ("postgresql://hm@db/vmpulse", "sslrootcert=/path"),
        ("postgresql://hm@db/vmpulse?sslmode=prefer", "sslmode=prefer is refused"),
        ("postgresql://hm@db/vmpulse?sslrootcert=/a&sslcert=/b", "need each other"),
        ("postgresql://hm@db/vmpulse?nonsense=1", "nonsense"),
    ] {
        let refused = check_url(wrong).unwrap_err().to_string();
        assert!(refused.contains(said) && !refused.contains("secret"), "{wrong}: {refused}");
    }
}
