use super::*;

fn parse_words(text: &str) -> Result<CommandLine, Fault> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    parse(&words)
}

fn good(text: &str) -> CommandLine {
    parse_words(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

#[test]
fn every_alias_means_its_action() {
    for (action, names) in ACTIONS {
        for name in names.iter().map(|name| name.trim_end_matches('*')) {
            assert_eq!(Action::named(name), Some(action));
            assert_eq!(Action::named(&name.to_uppercase()), Some(action));
        }
    }
    for (shortened, action) in
        [("qu", Some(Action::Query)), ("quer", Some(Action::Query)), ("modif", Some(Action::Modify))]
    {
        assert_eq!(Action::named(shortened), action, "{shortened}");
    }
    for longer in ["qx", "queryx", "modx", "ad", "m", ""] {
        assert_eq!(Action::named(longer), None, "{longer}");
    }
    assert_eq!(good("RM app a").action, Action::Delete);
}

#[test]
fn flags_class_name_and_attributes() {
    let line = good("-s modify app app1 desc=a=b critical=yes -o json --settings=/x.toml");
    assert!(line.apply);
    assert_eq!(
        (line.action, line.class, line.name.as_deref()),
        (Action::Modify, Some(Class::App), Some("app1"))
    );
    assert_eq!(line.attributes, [("desc".into(), "a=b".into()), ("critical".into(), "yes".into())]);
    assert_eq!((line.format, line.settings), (Format::Json, Some(PathBuf::from("/x.toml"))));

    let line = good("-a status,desc q app app1");
    assert_eq!(line.only, Some(vec!["status".to_owned(), "desc".to_owned()]));
    assert_eq!(good("query").class, Some(Class::Vmm));
    assert_eq!(good("q app").name, None);
    let line = good("modify log=3");
    assert_eq!((line.class, line.attributes.len()), (Some(Class::Vmm), 1));
    assert_eq!(good("status").class, None);
    assert_eq!(good("delete app -- -odd").name.as_deref(), Some("-odd"));
    assert_eq!(good("add app -h").action, Action::Help);
    assert_eq!(good("-h").action, Action::Help);
}

#[test]
fn an_announced_silence_has_a_time_and_a_reason() {
    for (text, ms, reason) in [
        ("quiet 60s backup", 60_000, "backup"),
        ("quiet 600 x", 600_000, "x"),
        ("-o json QUIET 500ms file system freeze: a=b", 500, "file system freeze: a=b"),
        ("quiet 5m kexec", 300_000, "kexec"),
        ("quiet 1min -- -odd", 60_000, "-odd"),
    ] {
        let wanted = QuietWords::For { ms, reason: reason.to_owned() };
        assert_eq!(good(text).quiet, Some(wanted), "{text}");
    }
    assert_eq!(good("quiet end").quiet, Some(QuietWords::End));
    assert_eq!((good("suspend").class, good("resume vmm").class), (Some(Class::Vmm), Some(Class::Vmm)));
}

#[test]
fn keys_in_the_order_of_the_grammar_and_of_habit() {
    for (text, action, id, file) in [
        ("import key 2", Action::Import, Some("2"), None),
        ("import key 2 -", Action::Import, Some("2"), Some("-")),
        ("key import --id 2 /tmp/a=b", Action::Import, Some("2"), Some("/tmp/a=b")),
        ("--id=2 import", Action::Import, Some("2"), None),
        ("key create", Action::Add, None, None),
        ("add key 7", Action::Add, Some("7"), None),
        ("key remove --id 1", Action::Delete, Some("1"), None),
        ("rm key 1", Action::Delete, Some("1"), None),
        ("key export 1", Action::Export, Some("1"), None),
        ("key list -o json", Action::Query, None, None),
        ("q key", Action::Query, None, None),
    ] {
        let line = good(text);
        assert_eq!((line.action, line.class), (action, Some(Class::Key)), "{text}");
        assert_eq!((line.name.as_deref(), line.file.as_deref()), (id, file), "{text}");
    }
    assert_eq!(good("app list").class, Some(Class::App));
}

#[test]
fn mistakes_are_named() {
    for (text, code) in [
        ("", 2),
        ("frobnicate", 2),
        ("add vmm x", 3),
        ("query disk", 3),
        ("status app", 3),
        ("sync now", 3),
        ("query app a b", 5),
        ("modify vmm log", 5),
        ("query app a x=1", 5),
        ("modify app a =1", 5),
        ("modify app a x=1 x=2", 9),
        ("quiet", 29),
        ("quiet backup", 29),
        ("quiet 60s", 29),
        ("quiet +5s x", 29),
        ("quiet 5h x", 29),
        ("quiet ms x", 29),
        ("quiet end now", 29),
        ("suspend vmm now", 5),
        ("-x query", 10),
        ("query -o", 11),
        ("query app a --id 1", 5),
        ("modify log=3 --id 1", 5),
        ("add key 1 x=1", 5),
        ("import key 1 - more", 5),
        ("export key 1 2", 5),
        ("import app 1", 3),
        ("sync key", 3),
        ("key", 2),
        ("key frobnicate", 2),
        ("-o yaml query", 11),
        ("completion", 11),
        ("completion tcsh", 11),
        ("completion bash zsh", 5),
        ("help frobnicate", 2),
    ] {
        let fault = parse_words(text).unwrap_err();
        assert_eq!(fault.code().number(), code, "{text}: {fault}");
        assert_eq!(fault.exit(), vmpulse_local::exit::Exit::Usage, "{text}: {fault}");
    }
}

#[test]
fn a_silence_that_cannot_be_had_is_refused() {
    for text in ["quiet 0s x", "quiet 601s x", "quiet 11m x", "quiet 9999999999s x", "quiet 60s caf\u{e9}"] {
        let fault = parse_words(text).unwrap_err();
        assert_eq!(
            (fault.code().number(), fault.exit()),
            (31, vmpulse_local::exit::Exit::Failed),
            "{text}: {fault}"
        );
    }
}

#[test]
fn help_is_about_what_precedes_it() {
    for (text, action, class) in [
        ("-h", None, None),
        ("help", None, None),
        ("add -h", Some(Action::Add), None),
        ("add app a no_such=1 -h", Some(Action::Add), Some(Class::App)),
        ("key import -h", Some(Action::Import), Some(Class::Key)),
        ("help app", None, Some(Class::App)),
        ("help rm dep", Some(Action::Delete), Some(Class::Dependency)),
        ("frobnicate -h", None, None),
    ] {
        let line = good(text);
        assert_eq!(
            (line.action, line.topic.action, line.topic.class),
            (Action::Help, action, class),
            "{text}"
        );
    }
    assert!(good("help markdown").topic.markdown);
    for (text, attribute, default) in [
        ("modify app a monitor_period=5 -h", "monitor_period", "30"),
        ("help monitor_timeout", "monitor_timeout", "10"),
        ("help modify vmm version", "version", "1.0"),
        ("modify log -h", "log", "2"),
        ("help add app version", "version", ""),
    ] {
        let found = good(text).topic.attribute.unwrap();
        assert_eq!((found.name, found.default), (attribute, default), "{text}");
    }
}
