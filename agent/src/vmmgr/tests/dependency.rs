//! Dependencies: what is added is shown, what makes no sense is refused at once.

use super::*;

fn guest() -> Guest {
    let guest = Guest::new();
    let settings = fs::read_to_string(guest.path("agent.toml")).unwrap();
    fs::write(guest.path("agent.toml"), settings.replace("max_apps = 2", "max_apps = 16")).unwrap();
    for name in ["db", "shop", "web"] {
        guest.add(name);
    }
    guest
}

/// Adds one, and returns its number.
fn add(guest: &Guest, words: &str) -> String {
    let (exit, _, said) = guest.run(&format!("add dependency {words}"));
    assert_eq!(exit, Exit::Done, "{words}: {said}");
    let number = said.strip_prefix("VMMGR-100(INFO): Dependency ").unwrap();
    number.split(' ').next().unwrap().to_owned()
}

#[test]
fn added_modified_shown_and_deleted() {
    let guest = guest();
    let uuid = add(&guest, "dependency_type=start_sequence dependency_list=db,shop");
    assert_eq!(uuid.len(), 19);
    let shown = format!(
        "Dependency depuuid={uuid}\n dependency_type=start_sequence\n dependency_list=db,shop\n strict=YES\n"
    );
    assert_eq!(guest.run("q dependency").1, shown);
    assert_eq!(guest.run(&format!("list dep {uuid}")).1, shown);
    let (exit, _, said) =
        guest.run(&format!("modify dependency {uuid} strict=NO dependency_list=db,shop,web"));
    assert!(exit == Exit::Done && said.contains("modified: start_sequence of db, shop, web."), "{said}");
    let (_, stdout, _) = guest.run("-o json query dependency");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let found = &json["dependencies"][0];
    assert_eq!((&found["depuuid"], &found["strict"]), (&uuid.as_str().into(), &"NO".into()));
    assert_eq!(found["dependency_list"], serde_json::json!(["db", "shop", "web"]));
    assert_eq!(guest.run("-a strict q dependency").1, format!("Dependency depuuid={uuid}\n strict=NO\n"));
    let said = guest.refused("delete app shop", Exit::Failed, "VMMGR-033");
    assert!(said.contains(&uuid), "{said}");
    assert_eq!(guest.run(&format!("rm dependency {uuid}")).0, Exit::Done);
    assert_eq!(guest.run("delete app shop").0, Exit::Done);
    assert_eq!(guest.run("q dependency").1, "");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    let guest = guest();
    let first = add(&guest, "dependency_type=start_sequence dependency_list=db,shop");
    let pair = add(&guest, "dependency_type=parent_child dependency_list=db,web");
    for (words, exit, code, reason) in [
        ("add dependency", Exit::Failed, "VMMGR-017", "dependency_type must be given"),
        (
            "add dependency dependency_type=start_sequence",
            Exit::Failed,
            "VMMGR-017",
            "dependency_list must be given",
        ),
        ("add dependency x dependency_type=start_sequence", Exit::Usage, "VMMGR-005", "\"x\""),
        ("add dependency dependency_type=stop_sequence dependency_list=db", Exit::Failed, "VMMGR-034", "two"),
        (
            "add dependency dependency_type=stop_sequence dependency_list=db,cb",
            Exit::Failed,
            "VMMGR-034",
            "no application cb",
        ),
        (
            "add dependency dependency_type=stop_sequence dependency_list=db,db",
            Exit::Failed,
            "VMMGR-034",
            "twice",
        ),
        (
            "add dependency dependency_type=parent_child dependency_list=db,web,shop",
            Exit::Failed,
            "VMMGR-034",
            "exactly two",
        ),
        (
            "add dependency dependency_type=parent_child dependency_list=web,shop",
            Exit::Failed,
            "VMMGR-034",
            "one level",
        ),
        (
            "add dependency dependency_type=start_sequence dependency_list=shop,db",
            Exit::Failed,
            "VMMGR-034",
            "circle",
        ),
        (
            "add dependency dependency_type=start_sequence dependency_list=db,shop",
            Exit::Failed,
            "VMMGR-034",
            "already",
        ),
        (
            "add dependency dependency_type=sideways dependency_list=db,shop",
            Exit::Failed,
            "VMMGR-008",
            "start_sequence",
        ),
        ("add dependency depuuid=1", Exit::Failed, "VMMGR-007", "read-only"),
        ("add dependency dependency_lst=db,shop", Exit::Usage, "VMMGR-006", "did you mean dependency_list?"),
        ("delete dependency", Exit::Usage, "VMMGR-004", "DEPUUID"),
        ("delete dependency 1", Exit::Failed, "VMMGR-032", "query dependency"),
        ("query dependency 1", Exit::Failed, "VMMGR-032", "query dependency"),
    ] {
        let said = guest.refused(words, exit, code);
        assert!(said.contains(reason), "{words}: {said}");
    }
    let said = guest.refused(
        &format!("modify dependency {pair} dependency_list=shop,db"),
        Exit::Failed,
        "VMMGR-034",
    );
    assert!(said.contains("circle") && said.contains("db, shop"), "{said}");
    guest.refused(&format!("modify dependency {first}"), Exit::Usage, "VMMGR-005");
}
