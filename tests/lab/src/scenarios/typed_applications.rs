//! Typed applications with the real things of the distribution: the OCF agents Dummy and apache, and monitoring plug-ins.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, GuestView, Plan, text_of};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::wait::Stopwatch;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "typed-applications",
    about: "OCF agents and monitoring plug-ins of the distribution, started and brought back",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Short times, a restart at the first failure, and restarts that go on counting.
const QUICK: &str = "monitor_period=2 monitor_timeout=1 monitor_failure_threshold=1 restart_window=3600";

/// A web server with a folder, a port and an address of its own.
const WEB: &str = "ServerRoot /run/web\nServerName localhost\nListen 127.0.0.1:8080\nPidFile /run/web/httpd.pid\n\
    LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
    LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
    LoadModule status_module /usr/lib/apache2/modules/mod_status.so\n\
    User www-data\nGroup www-data\nDocumentRoot /run/web/html\nErrorLog /run/web/error.log\n\
    <Location /server-status>\nSetHandler server-status\n</Location>\n";

const PLUGINS: &str = "/usr/lib/nagios/plugins";

fn run(world: World, report: &mut Report) -> Lab<()> {
    if !world.kit().real_root {
        let reason =
            "a web server runs as a user of its own, and a user namespace has one user: run this as root";
        return Err(LabError::Skipped(reason.into()));
    }
    let mut chain = Chain::start(world, Plan::default())?;
    chain.register_and_wait()?;
    let guest = GuestView::enter(&chain, 0)?;
    dummy(guest)?;
    web(guest, report)?;
    plugins(guest)?;
    systemd_is_refused(guest)?;
    chain.wait_for_application("web", "GREEN", LIMIT)?;
    chain.still_runs()
}

/// Not running at first, so it is started; its state is lost, so it is started again. Its times are the agent's.
fn dummy(guest: GuestView<'_>) -> Lab<()> {
    let state = "/run/dummy.state";
    guest.add("plain", "type=OCF instancename=ocf:heartbeat:Dummy")?;
    let app = guest.application("plain")?;
    expect(
        text_of(&app, "monitor_timeout") == "20" && text_of(&app, "start_stabilization_time") == "20",
        || format!("the times of Dummy's meta-data are 20 s:\n{app:#}"),
    )?;
    guest.vmmgr("-s delete app plain")?;
    guest.add("dummy", &format!("type=OCF instancename=ocf:heartbeat:Dummy param.state={state} {QUICK}"))?;
    guest.wait_for_status("dummy", "NORMAL", LIMIT)?;
    guest.sh(&format!("test -e {state}; rm {state}"))?;
    guest.wait_for("dummy", LIMIT, "to be started twice", |app| {
        text_of(app, "nooftimes_restarted") == "2" && text_of(app, "status") == "NORMAL"
    })?;
    guest.sh(&format!("test -e {state}")).map(drop)
}

/// Killed with all its processes, it answers again.
fn web(guest: GuestView<'_>, report: &mut Report) -> Lab<()> {
    guest.write("/run/web/httpd.conf", WEB)?;
    guest.write("/run/web/html/index.html", "here\n")?;
    let parameters = "param.configfile=/run/web/httpd.conf param.httpd=/usr/sbin/apache2 \
        param.statusurl=http://127.0.0.1:8080/server-status";
    guest.add("web", &format!("type=OCF instancename=ocf:heartbeat:apache {parameters} {QUICK}"))?;
    guest.wait_for_status("web", "NORMAL", LIMIT)?;
    let watch = Stopwatch::start();
    guest.sh("kill -9 $(pgrep -x apache2)")?;
    guest.wait_for("web", LIMIT, "to be back", |app| {
        text_of(app, "nooftimes_restarted") == "2" && text_of(app, "status") == "NORMAL"
    })?;
    report.figure(format!("apache NORMAL again {:.1} s after SIGKILL", watch.seconds()));
    guest.sh("pgrep -x apache2").map(drop)
}

/// OK and WARNING are normal, CRITICAL is not, and what a plug-in prints is shown.
fn plugins(guest: GuestView<'_>) -> Lab<()> {
    guest.write("/run/nothing", "#!/bin/sh\nexit 0\n")?;
    let scripts =
        format!("type=NAGIOS start_script=/run/nothing stop_script=/run/nothing max_restart=0 {QUICK}");
    let cases = [
        ("port", "check_tcp -H 127.0.0.1 -p 8080", "NORMAL", "TCP OK"),
        ("no-port", "check_tcp -H 127.0.0.1 -p 8081", "FAILURE", "refused"),
        ("procs", "check_procs -C apache2 -c 1:", "NORMAL", "PROCS OK"),
        ("few-procs", "check_procs -C apache2 -w 1000: -c 1:", "NORMAL", "PROCS WARNING"),
        ("no-procs", "check_procs -C no-such -c 1:", "FAILURE", "PROCS CRITICAL"),
        ("disk", "check_disk -w 1 -c 0 -p /run", "NORMAL", "DISK OK"),
    ];
    for (name, plugin, _, _) in cases {
        let monitor = format!("monitor_script={PLUGINS}/{plugin}");
        let words =
            ["-s", "add", "app", name, monitor.as_str()].into_iter().chain(scripts.split_whitespace());
        guest.vmmgr_words(&words.collect::<Vec<_>>())?;
    }
    for (name, _, status, said) in cases {
        guest.wait_for_status(name, status, LIMIT)?;
        guest.expect_output(name, said)?;
    }
    Ok(())
}

/// Here systemd is not the init, and that is said at once.
fn systemd_is_refused(guest: GuestView<'_>) -> Lab<()> {
    match guest.vmmgr("add app unit type=SYSTEMD instancename=nginx.service") {
        Err(LabError::Command { detail, .. }) if detail.contains("systemd does not run this system") => {
            Ok(())
        }
        Err(error) => Err(error),
        Ok(said) => Err(LabError::Unexpected(format!("a unit was taken without systemd: {said}"))),
    }
}
