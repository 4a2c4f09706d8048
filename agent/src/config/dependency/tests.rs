use proptest::prelude::*;

use super::*;

/// Applications a to f and these dependencies, each `type:list`.
fn file(dependencies: &[&str]) -> String {
    let mut text = "<Monitoring>\n".to_owned();
    for (index, name) in ["a", "b", "c", "d", "e", "f"].iter().enumerate() {
        text.push_str(&format!(
            "<Application name=\"{name}\" uuid=\"156726734913392800{index}\" monitor_script=\"/m\" \
             start_script=\"/s\" stop_script=\"/t\"/>\n"
        ));
    }
    for (index, dependency) in dependencies.iter().enumerate() {
        let (kind, list) = dependency.split_once(':').unwrap();
        text.push_str(&format!(
            "<Dependency depuuid=\"{:019}\" dependency_type=\"{kind}\" dependency_list=\"{list}\" newer=\"x\"/>\n",
            1_542_239_347_575_681_000_u64 + index as u64
        ));
    }
    text + "</Monitoring>"
}

fn read(dependencies: &[&str]) -> Result<Configuration, String> {
    Configuration::read(&file(dependencies), 16).map_err(|error| error.to_string())
}

#[test]
fn dependencies_are_read_in_their_order() {
    let configuration = read(&["start_sequence:b,a,c", "stop_sequence:a,c", "parent_child:d,e"]).unwrap();
    let [start, stop, pair] = configuration.dependencies.as_slice() else { panic!("{configuration:?}") };
    assert_eq!((start.kind, start.list.join(" ")), (DependencyKind::StartSequence, "b a c".to_owned()));
    assert!(start.strict, "strict is the default");
    assert_eq!(stop.kind, DependencyKind::StopSequence);
    assert_eq!(pair.pair(), Some(("d", "e")));
    assert_eq!(configuration.dependency("1542239347575681002"), Some(pair));
    assert_eq!(configuration.dependency_of("e"), Some(pair));
    assert_eq!(configuration.dependency_of("f"), None);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason_and_line() {
    for (dependencies, line, words) in [
        (vec!["start_sequence:a"], 8, "a alone makes no dependency"),
        (vec!["start_sequence:"], 8, "dependency_list must be given"),
        (vec![":a,b"], 8, "expected start_sequence or stop_sequence or parent_child"),
        (vec!["start_sequence:a,,b"], 8, "expected names of applications"),
        (vec!["start_sequence:a,b,a"], 8, "a is in dependency_list twice"),
        (vec!["parent_child:a,b,c"], 8, "exactly two"),
        (vec!["start_sequence:a,x"], 8, "there is no application x"),
        (
            vec!["start_sequence:a,b", "start_sequence:a,b"],
            9,
            "dependency 1542239347575681000 says this already",
        ),
        (
            vec!["parent_child:a,b", "parent_child:b,c"],
            9,
            "one level only, and by dependency 1542239347575681000 b is a child",
        ),
        (vec!["parent_child:b,c", "parent_child:a,b"], 9, "b is a parent already"),
        (
            vec!["start_sequence:a,b", "start_sequence:b,a"],
            9,
            "a, b would each have to start before the others",
        ),
        (
            vec!["start_sequence:a,b,c,d", "start_sequence:f,c", "start_sequence:c,e,b"],
            10,
            ": b, c, e would each",
        ),
        (vec!["parent_child:a,b", "start_sequence:b,a"], 9, "a, b would each have to start"),
        (vec!["parent_child:a,b", "stop_sequence:a,b"], 9, "a, b would each have to stop"),
    ] {
        let error = read(&dependencies).unwrap_err();
        assert!(error.contains(words), "{dependencies:?}: {error}");
        assert!(error.starts_with(&format!("line {line}, ")), "{dependencies:?}: {error}");
    }
    let text = file(&["start_sequence:a,b"]).replace("1542239347575681000", "1567267349133928000");
    assert!(
        Configuration::read(&text, 16).unwrap_err().to_string().contains("another"),
        "unique in the file"
    );
}

#[test]
fn starting_and_stopping_may_go_in_different_orders() {
    assert!(read(&["start_sequence:a,b,c", "stop_sequence:c,b,a", "stop_sequence:c,a"]).is_ok());
    assert!(read(&["start_sequence:a,b,c", "stop_sequence:a,b,c"]).is_ok());
    assert!(
        read(&["parent_child:a,b", "parent_child:a,c", "parent_child:d,c"]).is_ok(),
        "one level all the same"
    );
}

#[test]
fn a_dependency_may_replace_itself() {
    let configuration = read(&["start_sequence:a,b"]).unwrap();
    let mut values = configuration.dependencies.first().unwrap().values.clone();
    values.set("dependency_list", "b,a").unwrap();
    assert_eq!(configuration.check_dependency(&Dependency::new(values.clone()).unwrap()), Ok(()));
    values.set_uuid("1542239347575681009").unwrap();
    let other = Dependency::new(values).unwrap();
    assert!(matches!(configuration.check_dependency(&other), Err(UnfitDependency::Cycle { .. })));
}

#[test]
fn the_lists_are_bounded_together() {
    let names = (0..256).map(|number| format!("n{number}")).collect::<Vec<_>>();
    let mut text = "<Monitoring>".to_owned();
    for (number, name) in names.iter().enumerate() {
        text.push_str(&format!(
            "<Application name=\"{name}\" uuid=\"{:019}\" monitor_script=\"/m\" start_script=\"/s\" stop_script=\"/t\"/>",
            1_567_267_349_133_928_000_u64 + number as u64
        ));
    }
    for number in 0..5 {
        // The same order without one name each, so that none repeats another.
        let list: Vec<&str> =
            names.iter().enumerate().filter(|(at, _)| *at != number).map(|(_, n)| n.as_str()).collect();
        text.push_str(&format!(
            "<Dependency depuuid=\"{:019}\" dependency_type=\"start_sequence\" dependency_list=\"{}\"/>",
            1_542_239_347_575_681_000_u64 + number as u64,
            list.join(",")
        ));
    }
    let error = Configuration::read(&(text + "</Monitoring>"), 256).unwrap_err().to_string();
    assert!(error.contains("more than 1024 names"), "{error}");
}

proptest! {
    /// The circle is found exactly when no order exists, which trying all orders tells too.
    #[test]
    fn a_circle_is_found_exactly_when_no_order_exists(edges in prop::collection::vec((0..5_usize, 0..5_usize), 0..9)) {
        let names = ["a", "b", "c", "d", "e"];
        let named = edges.iter().map(|(first, next)| (names[*first], names[*next])).collect();
        let found = cycle(named);
        let orders = permutations(5);
        let possible = orders.iter().any(|order| edges.iter().all(|(first, next)| order[*first] < order[*next]));
        prop_assert_eq!(found.is_empty(), possible, "{:?}", found);
    }
}

/// Every assignment of places to `count` things.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(count - 1);
    let insert = |places: &Vec<usize>, at: usize| {
        let mut longer = places.clone();
        longer.insert(at, count - 1);
        longer
    };
    shorter.iter().flat_map(|places| (0..count).map(move |at| insert(places, at))).collect()
}
