//! How one gets into a PostgreSQL store: TLS, passwords, roles, URLs.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use vmpulse_protocol::id::HostMonitorId;
use vmpulse_store::{
    HostKey, HostMonitorWrite, HostRegistration, PostgresStore, Store, StoreError, SystemSettings, check_url,
};
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

/// A server that demands TLS and a proof of who one is.
struct Strict {
    server: Server,
    database: String,
    port: u16,
    files: tempfile::TempDir,
}

impl Strict {
    fn start() -> Result<Self, String> {
        let files = tempfile::tempdir().unwrap();
        certificates(files.path());
        let port = Server::free_port()?;
        let settings = "listen_addresses = '127.0.0.1'\nssl = on\nssl_cert_file = 'server.pem'\n\
                        ssl_key_file = 'server.key'\nssl_ca_file = 'ca.pem'";
        let mut server = Server::start_with(port, settings, |data: &Path| {
            for file in ["server.pem", "server.key", "ca.pem"] {
                private(&data.join(file), &std::fs::read_to_string(files.path().join(file)).unwrap());
            }
            std::fs::write(data.join("pg_hba.conf"), HBA).map_err(|e| e.to_string())
        })?;
        let database = server.database();
        PostgresStore::open(&server.url("postgres", &database)).unwrap();
        let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/postgresql/roles.sql");
        server.sql_file(&database, &roles)?;
        let users = "CREATE ROLE host1 LOGIN PASSWORD 'colon:and\\slash' IN ROLE vmpulse_hostmon;
                     CREATE ROLE host2 LOGIN IN ROLE vmpulse_hostmon;
                     CREATE ROLE controller1 LOGIN PASSWORD 'other' IN ROLE vmpulse_controller";
        server.sql(&database, users)?;
        let passwords = format!(
            "# host:port:database:user:password\nelsewhere:*:*:host1:wrong\n\
             localhost:{port}:{database}:host1:colon\\:and\\\\slash\n*:*:*:controller1:other\n"
        );
        private(&files.path().join("passwords"), &passwords);
        Ok(Self { server, database, port, files })
    }

    /// `@` is the folder of certificates.
    fn open(&self, user: &str, host: &str, rest: &str) -> Result<PostgresStore, StoreError> {
        let (files, port, database) = (self.files.path().display().to_string(), self.port, &self.database);
        let rest = rest.replace('@', &files);
        PostgresStore::open(&format!(
            "postgresql://{user}@{host}:{port}/{database}?passfile={files}/passwords&{rest}"
        ))
    }

    fn mode_of_passwords(&self, mode: u32) {
        let path = self.files.path().join("passwords");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

const VERIFIED: &str = "sslmode=verify-full&sslrootcert=@/ca.pem";

#[test]
fn tls_passwords_and_roles() {
    let strict = match Strict::start() {
        Ok(strict) => strict,
        Err(reason) if reason.starts_with("SKIPPED") => return eprintln!("{reason}"),
        Err(reason) => panic!("{reason}"),
    };
    let host1 = strict.open("host1", "localhost", VERIFIED).unwrap();
    let encrypted =
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'host1'";
    assert_eq!(strict.server.sql(&strict.database, encrypted).unwrap(), "t");
    let controller = strict.open("controller1", "localhost", VERIFIED).unwrap();
    let certificate = format!("{VERIFIED}&sslcert=@/host2.pem&sslkey=@/host2.key");
    strict.open("host2", "localhost", &certificate).unwrap();
    nobody_gets_in_without_proof(&strict);
    nobody_does_what_is_not_his(host1, controller);

    without_grants_of_later_columns_nobody_starts(&strict);

    let outdated = "UPDATE vmpulse.schema_version SET version = 2";
    strict.server.sql(&strict.database, outdated).unwrap();
    let refused = strict.open("host1", "localhost", VERIFIED).unwrap_err();
    assert!(matches!(refused, StoreError::Outdated { .. }), "{refused:?}");
}

/// As after an upgrade with `roles.sql` forgotten. Whoever has no use for them is not held up.
fn without_grants_of_later_columns_nobody_starts(strict: &Strict) {
    let both = "UPDATE (suspension_at, shutdown_by) ON vmpulse.vm";
    strict.server.sql(&strict.database, &format!("REVOKE {both} FROM vmpulse_hostmon")).unwrap();
    let refused = strict.open("host1", "localhost", VERIFIED).unwrap_err();
    let said = refused.to_string();
    assert!(matches!(refused, StoreError::Grants { .. }), "{refused:?}");
    assert!(said.contains("vm.suspension_at, vm.shutdown_by") && said.contains("roles.sql"), "{said}");
    strict.open("controller1", "localhost", VERIFIED).unwrap();
    strict.server.sql(&strict.database, &format!("GRANT {both} TO vmpulse_hostmon")).unwrap();
    strict.open("host1", "localhost", VERIFIED).unwrap();
}

/// And no server is believed that does not prove itself either.
fn nobody_gets_in_without_proof(strict: &Strict) {
    for (what, user, host, rest) in [
        ("no certificate", "host2", "localhost", VERIFIED),
        ("a CA that signed nothing", "host1", "localhost", "sslrootcert=@/stranger.pem"),
        ("another name than the certificate's", "host1", "127.0.0.1", VERIFIED),
        ("no TLS", "host1", "localhost", "sslmode=disable"),
        ("nobody's password", "nobody", "localhost", VERIFIED),
    ] {
        let refused = strict.open(user, host, rest).unwrap_err();
        assert!(matches!(refused, StoreError::Connect { .. }), "{what}: {refused:?}");
    }
    strict.mode_of_passwords(0o640);
    let refused = strict.open("host1", "localhost", VERIFIED).unwrap_err();
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
    strict.mode_of_passwords(0o600);
}

/// A host monitor sets and registers nothing, a controller does not pose as a host monitor.
fn nobody_does_what_is_not_his(mut host1: PostgresStore, mut controller: PostgresStore) {
    let denied = |result: Result<(), StoreError>| {
        let error = result.unwrap_err();
        let source =
            std::error::Error::source(&error).and_then(std::error::Error::source).unwrap().to_string();
        assert!(source.contains("permission denied"), "{source}");
    };
    denied(host1.system_settings_replace(&SystemSettings::default()));
    denied(host1.incident_close("vm-silent:1"));
    let key = HostKey { machine_type: "a".into(), model: "b".into(), serial: "c".into() };
    denied(host1.hosts_add(&[HostRegistration { key, host_monitors: vec![] }]));
    let id = HostMonitorId::from_bytes([1; 16]);
    host1.host_monitor_apply(id, &[HostMonitorWrite::Heartbeat]).unwrap();
    denied(controller.host_monitor_apply(id, &[HostMonitorWrite::Heartbeat]).map(drop));
    controller.system_settings_replace(&SystemSettings::default()).unwrap();
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
