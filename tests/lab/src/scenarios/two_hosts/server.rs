//! The server of several hosts: TLS, passwords from a file, roles with least privilege, own rows enforced.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use vmpulse_test_postgres::Server;

use crate::daemons::postgresql;
use crate::error::{Lab, LabError};
use crate::process::{Place, sh};
use crate::workspace::{make_dir, read, write};
use crate::world::{self, Trunk};

/// On the management network, which is none of the trunks.
const ADDRESS: &str = "10.99.0.1";
const ACCESS: &str = "local all postgres trust\nhostssl all all 10.99.0.0/24 scram-sha-256\n";

/// A server that every monitor's namespace reaches.
pub(crate) struct Site {
    server: Server,
    database: String,
    port: u16,
    files: PathBuf,
}

impl Site {
    /// Makes the management network, the server, and the schema by its owner.
    pub(crate) fn start(trunks: &[Trunk]) -> Lab<Site> {
        network(trunks)?;
        let files = make_dir(world::dir("state").join("site"))?;
        certificates(&files)?;
        let port = Server::free_port().map_err(postgresql::not_started)?;
        let settings = format!(
            "listen_addresses = '{ADDRESS}'\nssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'"
        );
        let from = files.clone();
        let mut server = Server::start_with(port, &settings, |data| prepare(&from, data))
            .map_err(postgresql::not_started)?;
        let database = server.database();
        Ok(Site { server, database, port, files })
    }

    /// For its owner, who makes the schema.
    pub(crate) fn owners_url(&self) -> String {
        self.server.url("postgres", &self.database)
    }

    /// For a login of one of the roles.
    pub(crate) fn url(&self, login: &str) -> String {
        let (port, database, files) = (self.port, &self.database, self.files.display());
        format!(
            "postgresql://{login}@{ADDRESS}:{port}/{database}?sslrootcert={files}/ca.pem&passfile={files}/passwords"
        )
    }

    /// Roles, logins with passwords, and which login is which host monitor's: (login, UUID).
    pub(crate) fn set_up(&self, monitors: &[(&str, String)]) -> Lab<()> {
        let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/postgresql");
        for file in ["roles.sql", "row-level-security.sql"] {
            self.server.sql_file(&self.database, &packaged.join(file)).map_err(LabError::Unexpected)?;
        }
        self.sql("CREATE ROLE controller1 LOGIN PASSWORD 'of controller1' IN ROLE vmpulse_controller")?;
        let mut logins: Vec<&str> = monitors.iter().map(|(login, _)| *login).collect();
        logins.dedup();
        for login in &logins {
            self.sql(&format!("CREATE ROLE {login} LOGIN PASSWORD 'of {login}' IN ROLE vmpulse_hostmon"))?;
        }
        for (login, uuid) in monitors {
            self.sql(&format!("INSERT INTO vmpulse.host_monitor_login VALUES ('{uuid}', '{login}')"))?;
        }
        let every = logins.into_iter().chain(["controller1"]);
        let passwords: String = every.map(|login| format!("*:*:*:{login}:of {login}\n")).collect();
        private(&self.files.join("passwords"), &passwords)
    }

    /// Ends the server at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again.
    pub(crate) fn launch(&mut self) -> Lab<()> {
        self.server.launch().map_err(LabError::Unexpected)
    }

    /// Sends a signal, as `STOP`, to the server's every process.
    pub(crate) fn signal(&self, signal: &str) {
        self.server.signal(signal);
    }

    /// All of the database as SQL.
    pub(crate) fn dump(&self, path: &Path) -> Lab<()> {
        let url = self.server.url("postgres", &self.database);
        sh(&Place::Here, &format!("pg_dump -f {} {url}", path.display())).map(drop)
    }

    /// As the superuser, by the socket.
    pub(crate) fn sql(&self, sql: &str) -> Lab<String> {
        self.server.sql(&self.database, sql).map_err(LabError::Unexpected)
    }
}

fn network(trunks: &[Trunk]) -> Lab<()> {
    for line in ["ip link add mgmt type bridge", "ip addr add 10.99.0.1/24 dev mgmt", "ip link set mgmt up"] {
        sh(&Place::Here, line)?;
    }
    for (trunk, number) in trunks.iter().zip(11..) {
        let (vios, port) = (trunk.vios(), format!("mgmt{}", trunk.letter()));
        for line in [
            format!("ip link add {port} type veth peer name mgmt netns {vios}"),
            format!("ip link set {port} master mgmt up"),
            format!("ip -n {vios} addr add 10.99.0.{number}/24 dev mgmt"),
            format!("ip -n {vios} link set mgmt up"),
        ] {
            sh(&Place::Here, &line)?;
        }
    }
    Ok(())
}

/// A CA, and what it signed for the server's address.
fn certificates(folder: &Path) -> Lab<()> {
    let at = folder.display();
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    write(&folder.join("names"), format!("subjectAltName=IP:{ADDRESS}"))?;
    for line in [
        format!("openssl req -x509 {new} -days 2 -subj /CN=ca -keyout {at}/ca.key -out {at}/ca.pem"),
        format!("openssl req {new} -subj /CN=server -keyout {at}/server.key -out {at}/server.csr"),
        format!(
            "openssl x509 -req -in {at}/server.csr -CA {at}/ca.pem -CAkey {at}/ca.key -CAcreateserial -days 2 \
             -extfile {at}/names -out {at}/server.pem"
        ),
    ] {
        sh(&Place::Here, &line)?;
    }
    Ok(())
}

fn prepare(files: &Path, data: &Path) -> Result<(), String> {
    let copy = |file: &str| private(&data.join(file), &read(&files.join(file))?);
    ["server.pem", "server.key"].into_iter().try_for_each(copy).map_err(|error| error.explain())?;
    std::fs::write(data.join("pg_hba.conf"), ACCESS).map_err(|error| error.to_string())
}

fn private(path: &Path, text: &str) -> Lab<()> {
    write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(LabError::file("change", path))
}
