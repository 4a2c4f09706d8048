use super::*;

/// A guest with the agent `ocf:own:thing`.
fn guest() -> Guest {
    let guest = Guest::new();
    let settings = fs::read_to_string(guest.path("agent.toml")).unwrap();
    fs::write(guest.path("agent.toml"), format!("{settings}ocf_root = \"{}\"\n", guest.path("ocf"))).unwrap();
    let agent = guest.path("ocf/resource.d/own/thing");
    fs::create_dir_all(Path::new(&agent).parent().unwrap()).unwrap();
    let metadata = "<resource-agent><parameter name='port' required='1'/><parameter name='host'/>\
        <action name='start' timeout='40s'/><action name='stop' timeout='60s'/>\
        <action name='monitor' timeout='20s' interval='10s'/></resource-agent>";
    fs::write(&agent, format!("#!/bin/sh\necho \"{metadata}\"\n")).unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    guest
}

const ADD: &str = "add app a type=OCF instancename=ocf:own:thing param.port=80";

#[test]
fn the_times_of_the_agent_are_written_unless_given() {
    let guest = guest();
    assert_eq!(guest.run(ADD).0, Exit::Done);
    let (_, text, _) = guest.run("q app a");
    for line in [
        " monitor_period=21\n",
        " monitor_timeout=20\n",
        " start_stabilization_time=40\n",
        " stop_stabilization_time=60\n",
        " type=OCF\n",
        " param.port=80\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (_, json, _) = guest.run("-o json -a param.port,monitor_script q app a");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = serde_json::json!({ "name": "a", "monitor_script": "", "param.port": "80" });
    assert_eq!(json["applications"][0], expected);

    assert_eq!(guest.run("delete app a").0, Exit::Done);
    assert_eq!(guest.run(&format!("{ADD} monitor_period=5 start_stabilization_time=9")).0, Exit::Done);
    let (_, text, _) = guest.run("-a monitor_period,monitor_timeout,start_stabilization_time q app a");
    assert!(text.contains("=5\n monitor_timeout=4\n start_stabilization_time=9"), "{text}");
    assert_eq!(guest.run("delete app a").0, Exit::Done);
    assert_eq!(guest.run(&format!("{ADD} monitor_timeout=50")).0, Exit::Done);
    let (_, text, _) = guest.run("-a monitor_period,monitor_timeout q app a");
    assert!(text.contains("=51\n monitor_timeout=50"), "{text}");
}

#[test]
fn what_the_agent_would_refuse_is_refused_at_once() {
    let guest = guest();
    let missing = guest.refused("add app a type=OCF instancename=ocf:own:thing", Exit::Failed, "VMMGR-018");
    assert!(missing.contains("param.port=VALUE"), "{missing}");
    let absent = guest.refused("add app a type=DB2 instancename=db2inst1", Exit::Failed, "VMMGR-018");
    assert!(
        absent.contains("ocf:heartbeat:db2 is not installed") && absent.contains("resource-agents"),
        "{absent}"
    );
    assert_eq!(guest.run(ADD).0, Exit::Done);
    let unknown = guest.refused("modify app a param.prot=81", Exit::Failed, "VMMGR-018");
    assert!(unknown.contains("it has port, host"), "{unknown}");
    guest.refused("modify app a param.port=", Exit::Failed, "VMMGR-018");
    assert_eq!(guest.run("modify app a param.host=x").0, Exit::Done);
    assert_eq!(guest.run("modify app a param.host=").0, Exit::Done);
    let (_, text, _) = guest.run("q app a");
    assert!(text.contains("param.port=80") && !text.contains("param.host"), "{text}");
    // What is not touched is not asked for again: the agent may be on a disk that is not mounted now.
    fs::remove_file(guest.path("ocf/resource.d/own/thing")).unwrap();
    assert_eq!(guest.run("modify app a monitored=0").0, Exit::Done);
}

#[test]
fn a_plug_in_needs_its_scripts() {
    let guest = guest();
    let text = guest.refused("add app a type=NAGIOS monitor_script=@mon", Exit::Failed, "VMMGR-017");
    assert!(text.contains("start_script must be given"), "{text}");
    assert_eq!(
        guest.run("add app a type=NAGIOS monitor_script=@mon start_script=@start stop_script=@stop").0,
        Exit::Done
    );
}
