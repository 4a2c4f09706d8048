use proptest::prelude::*;

use super::*;
use crate::config::Configuration;

const FILE: &str = "<?xml version='1.0'?>\n<!-- kept -->\n<Monitoring  log = '2'\n\tperiod=\"1\" other=\"x &amp; y\">\n  \
    <Application name=\"app1\" uuid='1567267349133928000'  monitor_script='/m' start_script=\"/s\" stop_script=\"/t\" \
    vendor='z'/>\n\n  <!-- second --><Application monitored='0' name='app2' uuid='1567267349133928001' \
    monitor_script='/m2' start_script='/s2' stop_script='/t2'></Application>\n\t<Dependency depuuid='1542239347575681000' \
    dependency_type='start_sequence' future='&lt;' dependency_list='app1,app2'/>\n<![CDATA[ odd <text> ]]>\n</Monitoring>\n<!-- end -->";

const NEW: [(&str, &str); 5] = [
    ("name", "new"),
    ("uuid", "1567267349133928009"),
    ("monitor_script", "/m"),
    ("start_script", "/s"),
    ("stop_script", "/t"),
];

fn read(text: &str) -> Configuration {
    Configuration::read(text, 16).unwrap()
}

#[test]
fn only_the_value_changes() {
    let changed =
        set_attributes(FILE, Target::Application("app1"), &[("monitor_script", "/x 'a b'")]).unwrap();
    assert_eq!(changed, FILE.replace("monitor_script='/m'", "monitor_script='/x &apos;a b&apos;'"));
    assert_eq!(read(&changed).application("app1").unwrap().monitor_script, "/x 'a b'");
}

#[test]
fn an_attribute_that_is_not_there_goes_behind_the_others() {
    let changed = set_attributes(FILE, Target::Application("app1"), &[("critical", "yes")]).unwrap();
    assert_eq!(changed, FILE.replace("vendor='z'", "vendor='z' critical=\"yes\""));
    let bare = set_attributes("<Monitoring/>", Target::Root, &[("log", "3")]).unwrap();
    assert_eq!(bare, "<Monitoring log=\"3\"/>");
}

#[test]
fn added_then_deleted_leaves_the_file_as_it_was() {
    for text in [FILE, EMPTY_FILE, "<Monitoring></Monitoring>"] {
        let added = add_application(text, &NEW).unwrap();
        assert!(read(&added).application("new").is_some(), "{added}");
        let deleted = delete_application(&added, "new").unwrap();
        assert!(deleted == text || deleted == "<Monitoring>\n</Monitoring>", "{deleted}");
    }
    assert_eq!(read(&add_application("<Monitoring log=\"1\" />", &NEW).unwrap()).vmm.log, 1);
}

#[test]
fn what_shares_the_line_of_a_deleted_application_stays() {
    let deleted = delete_application(FILE, "app2").unwrap();
    assert!(Configuration::read(&deleted, 16).is_err(), "it is in a dependency");
    assert!(deleted.contains("<!-- second -->\n\t<Dependency"), "{deleted}");
    assert_eq!(delete_application(FILE, "app3"), Err(PatchError::NoApplication("app3".to_owned())));
}

#[test]
fn dependencies_are_added_changed_and_deleted_like_applications() {
    let pairs = [
        ("depuuid", "1542239347575681001"),
        ("dependency_type", "parent_child"),
        ("dependency_list", "app2,app1"),
    ];
    let added = add_dependency(FILE, &pairs[..2]).unwrap();
    let target = Target::Dependency("1542239347575681001");
    let whole = set_attributes(&added, target, &[pairs[2]]).unwrap();
    // It contradicts the one that is there.
    assert!(Configuration::read(&whole, 16).unwrap_err().to_string().contains("start before"), "{whole}");
    let other = Target::Dependency("1542239347575681000");
    let turned =
        set_attributes(&whole, other, &[("dependency_list", "app2,app1"), ("strict", "NO")]).unwrap();
    assert!(turned.contains("future='&lt;' dependency_list='app2,app1' strict=\"NO\"/>"), "{turned}");
    let configuration = read(&turned);
    assert!(!configuration.dependency("1542239347575681000").unwrap().strict);
    assert_eq!(configuration.dependencies.len(), 2);
    assert_eq!(delete_dependency(&whole, "1542239347575681001").unwrap(), FILE);
    assert_eq!(delete_dependency(FILE, "1"), Err(PatchError::NoDependency("1".to_owned())));
}

/// Any text that an attribute takes, the awkward characters often.
fn free_text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,40}", "[<>&'\"= /]{0,20}", "\\PC{0,30}"]
        .prop_filter("a text an attribute takes", |text| crate::config::value::Kind::Text.allows(text))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_set_is_read_and_the_rest_is_untouched(desc in free_text(), version in free_text(), period in 11u32..500) {
        let period = period.to_string();
        let pairs = [("desc", desc.as_str()), ("version", version.as_str()), ("monitor_period", period.as_str())];
        let added = add_application(FILE, &[&NEW[..], &pairs].concat()).unwrap();
        let configuration = read(&added);
        let application = configuration.application("new").unwrap();
        for (name, text) in pairs {
            prop_assert_eq!(application.values.text(name), text);
        }
        let modified = set_attributes(&added, Target::Application("app1"), &pairs).unwrap();
        let again = set_attributes(&modified, Target::Application("app1"), &[("desc", ""), ("version", "")]).unwrap();
        let configuration = read(&modified);
        for (name, text) in pairs {
            prop_assert_eq!(configuration.application("app1").unwrap().values.text(name), text);
        }
        let added_texts = format!(" desc=\"\" version=\"\" monitor_period=\"{period}\"");
        let original = delete_application(&again, "new").unwrap().replace(&added_texts, "");
        prop_assert_eq!(original, FILE);
    }

    #[test]
    fn no_text_makes_the_reader_or_the_patches_panic(text in "\\PC{0,200}|<Monitoring[ -~\n]{0,80}/?>|<[ -~]{0,60}") {
        let _ = Configuration::read(&text, 16);
        let _ = add_application(&text, &NEW);
        let _ = delete_application(&text, "new");
        let _ = set_attributes(&text, Target::Root, &[("log", "3")]);
    }
}
