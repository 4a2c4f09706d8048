//! The agent's configuration: what is read can be changed, the change is read as it was meant, every other byte is as
//! before, and what it says can be reported.

use roxmltree::Document;
use vmpulse_agent::config::attribute::{APPLICATION, Attribute, DEPENDENCY, VMM};
use vmpulse_agent::config::patch::{
    Target, add_application, add_dependency, delete_application, delete_dependency, set_attributes,
};
use vmpulse_agent::config::{Application, Configuration, Dependency, Values, Vmm};

use super::reports;

/// Most applications that `max_apps` may allow.
const APPLICATIONS: usize = 256;
/// Values for attributes; further ones are taken from the text itself.
const VALUES: [&str; 12] = [
    "",
    "0",
    "1",
    "7",
    "100",
    "86400",
    "yes",
    "OS",
    "/bin/true 'a b' \\\"c",
    "a \"quoted\" <text> & 'more'",
    "ä€\u{10ffff}",
    "root",
];
const NEW_NAME: &str = "an-application.of_its-own";

pub(super) fn check([which, attribute, value]: [u8; 3], text: &str) {
    let before = match Configuration::read(text, APPLICATIONS) {
        Ok(before) => before,
        Err(error) => {
            assert!(error.line > 0 && error.column > 0 && !error.to_string().is_empty());
            return;
        }
    };
    assert!(before.applications.len() <= APPLICATIONS);
    let value = value_for(value, text);
    set_in_root(text, &before, &VMM[usize::from(attribute) % VMM.len()], &value);
    let attribute = &APPLICATION[usize::from(attribute) % APPLICATION.len()];
    if let Some(at) = usize::from(which).checked_rem(before.applications.len()) {
        set_in_application(text, &before, at, attribute, &value);
        delete(text, &before, at);
    }
    add(text, &before, attribute, &value);
    depend(text, &before, usize::from(which));
    reports::check_configured(before);
}

/// One of the values above, or what stands somewhere in the text.
fn value_for(which: u8, text: &str) -> String {
    let own = || text.chars().skip(usize::from(which)).take(usize::from(which % 16)).collect();
    VALUES.get(usize::from(which)).map_or_else(own, |value| (*value).to_owned())
}

fn set_in_root(text: &str, before: &Configuration, attribute: &Attribute, value: &str) {
    let mut values = before.vmm.values.clone();
    if values.set(attribute.name, value).is_err() {
        return;
    }
    let pairs = [(attribute.name, values.text(attribute.name))];
    let after = set_attributes(text, Target::Root, &pairs).expect("a text that was read can be changed");
    let expected = Configuration { vmm: Vmm::new(values.clone()), ..before.clone() };
    assert_same(&Configuration::read(&after, APPLICATIONS).expect("valid"), &expected);
    assert_untouched(text, &after, replaced(text, None, attribute.name), pairs[0].1);
}

fn set_in_application(text: &str, before: &Configuration, at: usize, attribute: &Attribute, value: &str) {
    let application = &before.applications[at];
    let mut values = application.values.clone();
    if values.set(attribute.name, value).is_err() {
        return;
    }
    let Ok(changed) = Application::new(&application.name, values.clone()) else { return };
    let pairs = [(attribute.name, values.text(attribute.name))];
    let target = Target::Application(&application.name);
    let after = set_attributes(text, target, &pairs).expect("a text that was read can be changed");
    let mut expected = before.clone();
    expected.applications[at] = changed;
    assert_same(&Configuration::read(&after, APPLICATIONS).expect("valid"), &expected);
    assert_untouched(text, &after, replaced(text, Some(&application.name), attribute.name), pairs[0].1);
}

fn delete(text: &str, before: &Configuration, at: usize) {
    let mut expected = before.clone();
    let gone = expected.applications.remove(at);
    let after = delete_application(text, &gone.name).expect("it is there");
    if before.dependency_of(&gone.name).is_some() {
        assert!(Configuration::read(&after, APPLICATIONS).is_err());
        return;
    }
    assert_same(&Configuration::read(&after, APPLICATIONS).expect("valid"), &expected);
    assert!(common_ends(text, &after) >= after.len(), "more was changed than deleted");
}

fn add(text: &str, before: &Configuration, attribute: &Attribute, value: &str) {
    if before.application(NEW_NAME).is_some() || before.applications.len() == APPLICATIONS {
        return;
    }
    let mut values = Values::new(APPLICATION);
    let uuid = "1234567890123456789";
    let others = ["monitor_script", "start_script", "stop_script"];
    let set =
        values.set_uuid(uuid).is_ok() && others.iter().all(|name| values.set(name, "/bin/true").is_ok());
    assert!(set);
    if values.set(attribute.name, value).is_err() {
        return;
    }
    let Ok(application) = Application::new(NEW_NAME, values.clone()) else { return };
    if before.dependency(uuid).is_some() || before.applications.iter().any(|other| other.uuid == uuid) {
        return;
    }
    let mut pairs = vec![("name", NEW_NAME), ("uuid", uuid)];
    pairs.extend(
        others.into_iter().map(|name| (name, "/bin/true")).filter(|(name, _)| *name != attribute.name),
    );
    pairs.push((attribute.name, values.text(attribute.name)));
    let after = add_application(text, &pairs).expect("a text that was read can be changed");
    let mut expected = before.clone();
    expected.applications.push(application);
    assert_same(&Configuration::read(&after, APPLICATIONS).expect("valid"), &expected);
    // `<Monitoring/>` is opened.
    assert!(common_ends(text, &after) + 2 >= text.len(), "more was changed than added");
}

/// A dependency goes, and the same one comes back behind the others; its list is turned round, if that is allowed.
fn depend(text: &str, before: &Configuration, which: usize) {
    let Some(at) = which.checked_rem(before.dependencies.len()) else { return };
    let gone = &before.dependencies[at];
    let mut expected = before.clone();
    expected.dependencies.remove(at);
    let after = delete_dependency(text, &gone.uuid).expect("it is there");
    assert!(common_ends(text, &after) >= after.len(), "more was changed than deleted");
    assert_same(&Configuration::read(&after, APPLICATIONS).expect("valid"), &expected);
    let turned: Vec<&str> = gone.list.iter().rev().map(String::as_str).collect();
    let mut values = Values::new(DEPENDENCY);
    assert!(values.set_uuid(&gone.uuid).is_ok());
    for (name, value) in
        [("dependency_type", gone.kind.name()), ("dependency_list", &turned.join(",")), ("strict", "NO")]
    {
        assert!(values.set(name, value).is_ok());
    }
    let pairs: Vec<_> = values.iter().map(|(attribute, text)| (attribute.name, text)).collect();
    let added = add_dependency(&after, &pairs).expect("a text that was read can be changed");
    let dependency = Dependency::new(values.clone()).expect("as good as the other way round");
    let allowed = expected.check_dependency(&dependency);
    match Configuration::read(&added, APPLICATIONS) {
        Ok(read) => {
            assert_eq!(allowed, Ok(()));
            expected.dependencies.push(dependency);
            assert_same(&read, &expected);
        }
        Err(error) => assert!(allowed.is_err(), "{error}"),
    }
}

/// The same by what holds: a value that is written may be the default.
fn assert_same(one: &Configuration, other: &Configuration) {
    assert_eq!(shown(&one.vmm.values), shown(&other.vmm.values));
    assert_eq!(one.dependencies.len(), other.dependencies.len());
    for (one, other) in one.dependencies.iter().zip(&other.dependencies) {
        assert_eq!((shown(&one.values), &one.list), (shown(&other.values), &other.list));
        assert_eq!((one.kind, one.strict), (other.kind, other.strict));
    }
    assert_eq!(one.applications.len(), other.applications.len());
    for (one, other) in one.applications.iter().zip(&other.applications) {
        assert_eq!((&one.name, shown(&one.values)), (&other.name, shown(&other.values)));
        let times = |app: &Application| (app.monitor_period, app.monitor_timeout, app.restart_window);
        assert_eq!((times(one), one.critical), (times(other), other.critical));
    }
}

fn shown(values: &Values) -> Vec<(&str, &str)> {
    values.iter().map(|(attribute, text)| (attribute.name, text)).collect()
}

/// The bytes of a value as they stand in the text, if it is there; of the root, or of the first application so named.
fn replaced(text: &str, application: Option<&str>, attribute: &str) -> Option<usize> {
    let document = Document::parse(text).expect("it was read before");
    let root = document.root_element();
    let node = match application {
        None => root,
        Some(name) => root
            .children()
            .find(|node| node.has_tag_name("Application") && node.attribute("name") == Some(name))
            .expect("it was read before"),
    };
    node.attribute_node(attribute).map(|found| found.range_value().len())
}

/// Only the value was replaced, or an attribute was added.
fn assert_untouched(before: &str, after: &str, replaced: Option<usize>, value: &str) {
    let same = common_ends(before, after);
    match replaced {
        Some(length) => assert!(same + length >= before.len(), "more was changed than the value"),
        None => assert!(same >= before.len() && after.contains('"'), "more was changed than added"),
    }
    assert!(after.len() <= before.len() + 6 * value.len() + 64);
}

/// Bytes at the beginning and at the end that two texts have in common, at most the shorter one's.
fn common_ends(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let shorter = one.len().min(other.len());
    let prefix = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let suffix = one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
    (prefix + suffix).min(shorter)
}
