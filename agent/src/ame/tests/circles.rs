//! Whatever dependencies are accepted, nobody waits for ever: not when everything starts, fails or stops at once.

use proptest::prelude::*;

use super::dependencies::several;
use super::*;
use crate::config::{DependencyKind, Values};

const NAMES: &str = "abcdef";

/// A dependency as somebody might try to add it.
#[derive(Clone, Debug)]
struct Wish {
    kind: DependencyKind,
    list: Vec<String>,
    strict: bool,
}

fn wish() -> impl Strategy<Value = Wish> {
    let names: Vec<String> = NAMES.chars().map(String::from).collect();
    let kind = prop::sample::select(DependencyKind::ALL.to_vec());
    let list = prop::sample::subsequence(names, 2..5).prop_shuffle();
    (kind, list, any::<bool>()).prop_map(|(kind, mut list, strict)| {
        if kind == DependencyKind::ParentChild {
            list.truncate(2);
        }
        Wish { kind, list, strict }
    })
}

/// Those of the wishes that are accepted, one after the other.
fn accepted(wishes: &[Wish]) -> Configuration {
    let attributes = "monitor_failure_threshold=\"1\" max_restart=\"100\"";
    let mut configuration = several("", NAMES, attributes, &[]);
    for (number, wish) in wishes.iter().enumerate() {
        let mut values = Values::new(crate::config::attribute::DEPENDENCY);
        values.set_uuid(&format!("{:019}", 1_542_239_347_575_681_000_usize + number)).unwrap();
        values.set("dependency_type", wish.kind.name()).unwrap();
        values.set("dependency_list", &wish.list.join(",")).unwrap();
        values.set("strict", if wish.strict { "YES" } else { "NO" }).unwrap();
        let dependency = Dependency::new(values).unwrap();
        if configuration.check_dependency(&dependency).is_ok() {
            configuration.dependencies.push(dependency);
        }
    }
    configuration
}

fn assert_all(world: &World, status: Status, when: &str) {
    for app in world.ame.applications() {
        assert_eq!(app.status, status, "{when}: {} waits for {:?}", app.name, app.waits_for);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nobody_waits_for_ever(wishes in prop::collection::vec(wish(), 0..10), order in Just(NAMES.chars().collect::<Vec<_>>()).prop_shuffle()) {
        let booted = Past { booted: true, ..Past::default() };
        let mut world = World::with(accepted(&wishes), &booted);
        world.run(100_000);
        assert_all(&world, Status::Normal, "after the boot");
        world.monitor = FAILS;
        world.run(120_000);
        world.monitor = OK;
        world.run(300_000);
        assert_all(&world, Status::Normal, "after everything has failed");
        for app in &order {
            world.order(Order::Stop, &app.to_string()).unwrap();
        }
        world.run(400_000);
        assert_all(&world, Status::NotMonitored, "after everything was stopped");
        for app in order.iter().rev() {
            world.order(Order::Start, &app.to_string()).unwrap();
        }
        world.run(600_000);
        assert_all(&world, Status::Normal, "after everything was started");
    }
}
