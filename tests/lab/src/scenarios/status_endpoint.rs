//! The status endpoint of a running host monitor: metrics that Prometheus takes, one VM's state as the controller will ask for it,
//! mutual TLS that keeps everybody else out; and whatever its clients do, heartbeats are not missed.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::Scenario;
use crate::daemons::{AS_SHIPPED, Chain, MonitorSettings, Plan, text_of};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::preflight::promtool;
use crate::process::{self, Place, Said, run_with_input};
use crate::wait;
use crate::workspace::{make_dir, write};
use crate::world::{self, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "status-endpoint",
    about: "metrics pass promtool; one VM is heard, silent, unknown; mutual TLS; bad clients delay no heartbeat",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
const ADDRESS: &str = "127.0.0.1:9095";
/// More than are served at once.
const IDLERS: usize = 100;
/// What curl ends with when the other end ended the handshake, or broke it off behind it.
const CURL_TURNED_AWAY: [i32; 3] = [35, 52, 56];

fn run(world: World, report: &mut Report) -> Lab<()> {
    let monitors = MonitorSettings { heartbeat_interval_ms: 500, ..AS_SHIPPED };
    let mut chain = Chain::start(world, Plan { monitors, pseudo_guests: 2, ..Plan::default() })?;
    let certificates = Certificates::make()?;
    let settings = format!(
        "status_listen = \"{ADDRESS}\"\nstatus_cert = \"{}\"\nstatus_key = \"{}\"\nstatus_client_ca = \"{}\"\n",
        certificates.file("hm.pem"),
        certificates.file("hm.key"),
        certificates.file("ca.pem")
    );
    chain.monitor_mut(0)?.restart_with(&settings)?;
    chain.register_and_wait()?;

    metrics_are_good(&chain, report)?;
    status_is_that_of_hmmgr(&chain)?;
    one_vm_is_told(&chain)?;
    nobody_else_gets_in(&chain, &certificates)?;
    idlers_delay_nobody(&chain)?;
    chain.still_runs()
}

fn metrics_are_good(chain: &Chain, report: &mut Report) -> Lab<()> {
    let mut lines = Vec::new();
    for target in ["/metrics", "/metrics/vms"] {
        let text = unix(chain, target)?.ok()?;
        let mut command = Place::Here.command(promtool(&chain.world.kit().lab_dir));
        command.args(["check", "metrics"]);
        let said = run_with_input(command, text.as_bytes())?;
        expect(said.status.success() && said.text().trim().is_empty(), || {
            format!("promtool check metrics of {target}: {}", said.text())
        })?;
        lines.push(format!("{target}: {} lines", text.lines().count()));
    }
    report.figure(format!("promtool check metrics passes; {}", lines.join(", ")));
    let beating = "vmpulse_hostmon_paths{state=\"BEATING\"} 2";
    wait::until_text(
        LIMIT,
        beating,
        || unix(chain, "/metrics")?.ok(),
        |text| text.lines().any(|line| line == beating),
    )
    .map(drop)
}

fn status_is_that_of_hmmgr(chain: &Chain) -> Lab<()> {
    let uuid = chain.monitor(0)?.uuid();
    let here = of_monitor(&unix(chain, "/status")?.ok()?, uuid)?;
    let told = of_monitor(&chain.monitor(0)?.hmmgr(&["status", "-o", "json"])?.ok()?, uuid)?;
    let keys = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    expect(keys(&here).is_some() && keys(&here) == keys(&told), || {
        format!("/status and `hmmgr status` differ: {here:#} {told:#}")
    })
}

fn of_monitor(answer: &str, uuid: &str) -> Lab<Value> {
    let answer = json(answer)?;
    let all = answer.get("host_monitors").and_then(Value::as_array);
    let found = all.and_then(|all| all.iter().find(|one| text_of(one, "uuid") == uuid));
    found.cloned().ok_or_else(|| LabError::Unexpected(format!("no host monitor {uuid} in {answer:#}")))
}

/// Beating, silent, and unknown while the monitor's own adapter is down.
fn one_vm_is_told(chain: &Chain) -> Lab<()> {
    let uuid = chain.guest(0)?.uuid().to_string();
    told(chain, &uuid, "HEARD", "BEATING")?;
    chain.guest(0)?.freeze()?;
    let silent = told(chain, &uuid, "SILENT", "MISSING")?;
    expect(text_of(&silent, "last_heartbeat_age_ms").parse::<u64>().is_ok_and(|age| age >= 950), || {
        format!("{silent:#}")
    })?;
    chain.guest(0)?.thaw()?;
    told(chain, &uuid, "HEARD", "BEATING")?;
    let trunk = chain.trunk(0)?;
    trunk.cut()?;
    let unknown = told(chain, &uuid, "UNKNOWN", "UNKNOWN")?;
    expect(text_of(&unknown, "isolated") == "true" && text_of(&unknown, "trunk_heard") == "false", || {
        format!("{unknown:#}")
    })?;
    trunk.mend()?;
    told(chain, &uuid, "HEARD", "BEATING")?;
    told(chain, "00000000-0000-4000-8000-000000000099", "UNKNOWN", "NOT_KNOWN").map(drop)
}

fn told(chain: &Chain, uuid: &str, hears: &str, state: &str) -> Lab<Value> {
    let mut last = Value::Null;
    let found = wait::until(LIMIT, &format!("VM {uuid} to be {hears} ({state})"), || {
        last = json(&unix(chain, &format!("/vm/{uuid}"))?.ok()?)?;
        let is = text_of(&last, "hears") == hears && text_of(&last, "state") == state;
        Ok(is.then(|| last.clone()))
    });
    found.map_err(|error| error.seen_last(|| format!("{last:#}")))
}

fn nobody_else_gets_in(chain: &Chain, certificates: &Certificates) -> Lab<()> {
    let ours = ["--cacert", &certificates.file("ca.pem")].map(str::to_string);
    let with = |name: &str| {
        let (certificate, key) =
            (certificates.file(&format!("{name}.pem")), certificates.file(&format!("{name}.key")));
        [&ours[..], &["--cert".to_string(), certificate, "--key".to_string(), key]].concat()
    };
    let good = wait::until(LIMIT, "an answer by mutual TLS", || {
        let said = tcp(chain, &with("controller"))?;
        Ok(said.status.success().then_some(said.stdout))
    })?;
    expect(text_of(&json(&good)?, "healthy") == "true", || good.clone())?;
    for (who, words) in [("nobody", ours.to_vec()), ("somebody of another authority", with("stranger"))] {
        let said = tcp(chain, &words)?;
        let turned_away = said.code().is_some_and(|code| CURL_TURNED_AWAY.contains(&code));
        expect(turned_away && said.stdout.is_empty(), || {
            format!("{who} got in: {:?} {}", said.code(), said.text())
        })?;
    }
    // Without TLS there is no answer either.
    let mut command = chain.monitor(0)?.trunk().place().command("curl");
    command.args(["--silent", "--show-error", "--max-time", "10", &format!("http://{ADDRESS}/health")]);
    let said = process::run(command)?;
    expect(!said.status.success(), || format!("without TLS: {}", said.text()))
}

/// They hold every place of the endpoint, and the heartbeats are heard in time.
fn idlers_delay_nobody(chain: &Chain) -> Lab<()> {
    let mut idlers = Vec::new();
    for _ in 0..IDLERS {
        let stream =
            UnixStream::connect(socket(chain)?).map_err(LabError::file("connect to", &socket(chain)?))?;
        idlers.push(stream);
    }
    let before = chain.monitor(0)?.logged().matches(" is silent for ").count();
    chain.wait_until_beating(LIMIT)?;
    // The first are put out, and then this is answered.
    told(chain, chain.guest(1)?.uuid(), "HEARD", "BEATING")?;
    let mut first = idlers.swap_remove(0);
    first.set_read_timeout(Some(LIMIT)).map_err(LabError::file("wait for", &socket(chain)?))?;
    let put_out = first.read(&mut [0]);
    expect(matches!(put_out, Ok(0)), || format!("an idle client was not put out: {put_out:?}"))?;
    let after = chain.monitor(0)?.logged().matches(" is silent for ").count();
    expect(after == before, || "a guest was called silent meanwhile".to_string())
}

fn socket(chain: &Chain) -> Lab<PathBuf> {
    let device = chain.monitor(0)?.trunk().device();
    Ok(PathBuf::from(format!("/run/vmpulse/status-{device}.sock")))
}

fn unix(chain: &Chain, target: &str) -> Lab<Said> {
    let mut command = Place::Here.command("curl");
    command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "20", "--unix-socket"]);
    command.arg(socket(chain)?).arg(format!("http://hostmon{target}"));
    process::run(command)
}

fn tcp(chain: &Chain, words: &[String]) -> Lab<Said> {
    let mut command = chain.monitor(0)?.trunk().place().command("curl");
    command.args(["--silent", "--show-error", "--max-time", "10"]).args(words);
    command.arg(format!("https://{ADDRESS}/health"));
    process::run(command)
}

fn json(text: &str) -> Lab<Value> {
    serde_json::from_str(text).map_err(|error| LabError::Unexpected(format!("{error}: {text}")))
}

/// An authority that signs for the monitor and a controller, and another one that signs for a stranger.
struct Certificates(PathBuf);

impl Certificates {
    fn make() -> Lab<Certificates> {
        let made = Certificates(make_dir(world::dir("certificates"))?);
        for (authority, signed) in [("ca", &["hm", "controller"][..]), ("other", &["stranger"])] {
            made.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={authority} \
                 -keyout {authority}.key -out {authority}.pem"
            ))?;
            for name in signed {
                write(
                    &made.0.join(format!("{name}.ext")),
                    "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
                )?;
                made.openssl(&format!(
                    "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
                ))?;
                made.openssl(&format!(
                    "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 2 \
                     -extfile {name}.ext -out {name}.pem"
                ))?;
            }
        }
        Ok(made)
    }

    fn openssl(&self, line: &str) -> Lab<()> {
        let mut command = Place::Here.command("openssl");
        command.args(line.split(' ')).current_dir(&self.0);
        process::run(command)?.ok().map(drop)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}
