use super::*;
use crate::trunk_setup::plan::DEFAULT_LIMITS;
use std::collections::BTreeSet;

fn plan() -> TrunkPlan {
    TrunkPlan::new("trunkA".parse().unwrap(), 0x88B5)
}

fn side(name: &str, more: &str) -> String {
    format!(
        r#"{{"ifname":"{name}","flags":["UP","NOARP"],"mtu":1500,"link_type":"ether","address":"02:00:00:00:00:09",
            "linkinfo":{{"info_kind":"veth"}},"inet6_addr_gen_mode":"none","ifalias":"vmpulse trunk trunkA"{more}}}"#
    )
}

fn links(sides: &[String]) -> Links {
    Links::parse(&format!("[{}]", sides.join(",")), "").unwrap()
}

fn table_of(plan: &TrunkPlan) -> Table {
    let mark = rules::mark(plan, &DEFAULT_LIMITS, 1);
    let chains: BTreeSet<String> = [mark.clone(), "police".to_owned()].into();
    Table { mark: Some(mark), chains }
}

/// All as it should be.
fn well() -> Observed {
    let near = links(&[side("trunkA", ""), side("trunkA-hm", "")]);
    Observed { near, table: Some(table_of(&plan())), recorded: true, ..Observed::default() }
}

fn texts(plan: &TrunkPlan, observed: &Observed) -> Vec<String> {
    steps(plan, observed).unwrap().into_iter().map(|step| step.wrong).collect()
}

#[test]
fn a_trunk_that_is_well_needs_no_step() {
    assert_eq!(steps(&plan(), &well()), Ok(Vec::new()));
    assert!(remarks(&plan(), &well()).is_empty());
}

#[test]
fn nothing_there_makes_the_pair_first_and_the_namespace_before_it() {
    let made = steps(&plan(), &Observed::default()).unwrap();
    let words = "link add name trunkA mtu 1500 type veth peer name trunkA-hm mtu 1500";
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].action, Action::Ip(words.split(' ').map(str::to_owned).collect()));

    let apart = TrunkPlan { netns: Some("vios".parse().unwrap()), ..plan() };
    assert_eq!(texts(&apart, &Observed::default()), ["the network namespace vios is not there"]);
    let made = steps(&apart, &Observed { far: Some(Links::default()), ..Observed::default() }).unwrap();
    assert!(
        matches!(&made[0].action, Action::Ip(words) if words.ends_with(&["netns".into(), "vios".into()]))
    );
}

#[test]
fn each_thing_that_is_wrong_has_its_step() {
    let bent =
        side("trunkA-hm", "").replace(r#""UP","NOARP""#, "").replace("1500", "9000").replace("none", "eui64");
    let observed = Observed { near: links(&[side("trunkA", ""), bent]), ..well() };
    assert_eq!(texts(&plan(), &observed).len(), 4, "{:?}", texts(&plan(), &observed));
    let moved = TrunkPlan { mac: Some("02:00:00:00:00:08".parse().unwrap()), ..plan() };
    assert_eq!(
        texts(&moved, &well()),
        ["trunkA-hm has the address 02:00:00:00:00:09, not 02:00:00:00:00:08"]
    );
}

#[test]
fn a_table_that_is_missing_or_made_for_something_else_is_made_anew() {
    let without = Observed { table: None, ..well() };
    let step = steps(&plan(), &without).unwrap().remove(0);
    assert_eq!((step.action, step.wrong.contains("not policed")), (Action::Table, true));
    let other =
        rules::mark(&plan(), &crate::trunk_setup::plan::Limits { source_burst: 9, ..DEFAULT_LIMITS }, 1);
    let table = Table { mark: Some(other), ..table_of(&plan()) };
    assert!(texts(&plan(), &Observed { table: Some(table), ..well() })[0].contains("other limits"));
    let mut table = table_of(&plan());
    table.chains.remove("police");
    assert!(texts(&plan(), &Observed { table: Some(table), ..well() })[0].contains("lost its hook"));
    let unpoliced = TrunkPlan { policing: None, ..plan() };
    assert_eq!(steps(&unpoliced, &well()).unwrap()[0].action, Action::NoTable);
    assert!(steps(&unpoliced, &without).unwrap().is_empty());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let foreign = |name: &str| side(name, "").replace("vmpulse trunk trunkA", "vmpulse trunk trunkB");
    let observed = Observed { near: links(&[foreign("trunkA")]), ..well() };
    assert!(steps(&plan(), &observed).unwrap_err().contains("trunkA is taken by veth"));
    let dummy = side("trunkA-hm", "").replace("veth", "dummy");
    let observed = Observed { near: links(&[dummy]), ..well() };
    assert!(steps(&plan(), &observed).unwrap_err().contains("trunkA-hm is taken by dummy"));
    // Without a mark it is ours only if the trunk was made before: the making was cut off in the middle.
    let unmarked = |name: &str| side(name, "").replace("vmpulse trunk trunkA", "");
    let observed = Observed { near: links(&[unmarked("trunkA"), unmarked("trunkA-hm")]), ..well() };
    assert_eq!(texts(&plan(), &observed), ["trunkA is not marked", "trunkA-hm is not marked"]);
    assert!(steps(&plan(), &Observed { recorded: false, ..observed }).is_err());
}

#[test]
fn half_a_pair_is_not_repaired_under_guests() {
    let guest = r#"{"ifname":"macvtap0","link":"trunkA","linkinfo":{"info_kind":"macvtap","info_data":{"mode":"vepa"}}}"#;
    let observed = Observed { near: links(&[side("trunkA", ""), guest.to_owned()]), ..well() };
    let error = steps(&plan(), &observed).unwrap_err();
    assert!(error.contains("takes macvtap0 with it"), "{error}");
    let observed = Observed { near: links(&[side("trunkA-hm", "")]), ..well() };
    assert!(steps(&plan(), &observed).is_err());
}

#[test]
fn an_adapter_of_the_host_is_used_as_it_is() {
    let plan = TrunkPlan { adapter: Some("eth1".parse().unwrap()), ..plan() };
    assert!(steps(&plan, &Observed::default()).unwrap_err().contains("no adapter eth1"));
    let eth1 = side("eth1", "").replace("veth", "").replace("NOARP", "LOWER_UP").replace("1500", "9000");
    let alone = Observed { near: links(std::slice::from_ref(&eth1)), ..Observed::default() };
    let made = steps(&plan, &alone).unwrap();
    assert_eq!((made.len(), made[0].does.as_str()), (1, "made trunkA-hm on eth1"));
    let down = Observed { near: links(&[eth1.replace("\"UP\",", "")]), ..Observed::default() };
    assert!(steps(&plan, &down).unwrap_err().contains("eth1 is down"));
    let hm = side("trunkA-hm", "").replace("veth", "macvlan");
    let observed = Observed { near: links(&[eth1, hm]), table: Some(table_of(&plan)), ..well() };
    assert_eq!(steps(&plan, &observed), Ok(Vec::new()));
}

#[test]
fn ports_are_policed_while_their_adapters_are_there() {
    let port = Port { adapter: "macvtap0".parse().unwrap(), mac: "02:00:00:00:00:01".parse().unwrap() };
    let plan = TrunkPlan { ports: vec![port], ..plan() };
    assert_eq!(steps(&plan, &well()), Ok(Vec::new()));
    assert!(remarks(&plan, &well())[0].contains("macvtap0 is gone"));
    let guest = r#"{"ifname":"macvtap0","link":"trunkA","linkinfo":{"info_kind":"macvtap","info_data":{"mode":"bridge"}}}"#;
    let near = links(&[side("trunkA", ""), side("trunkA-hm", ""), guest.to_owned()]);
    let observed = Observed { near, ..well() };
    assert_eq!(steps(&plan, &observed).unwrap()[0].action, Action::Port("macvtap0".parse().unwrap()));
    assert!(remarks(&plan, &observed)[0].contains("mode bridge"));
    // A table that is made anew has them in it.
    let observed = Observed { table: None, ..observed };
    assert_eq!(steps(&plan, &observed).unwrap().len(), 1);
}

#[test]
fn addresses_of_ip_are_told() {
    let with = r#"[{"ifname":"trunkA","addr_info":[{"local":"10.0.0.1"}]}]"#;
    let text = format!("[{},{}]", side("trunkA", ""), side("trunkA-hm", ""));
    let observed = Observed { near: Links::parse(&text, with).unwrap(), ..well() };
    assert!(remarks(&plan(), &observed)[0].contains("10.0.0.1"));
}
