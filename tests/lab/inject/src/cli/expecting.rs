//! `--expect` and `watch`: events are told beforehand, and waited for.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde::Serialize;
use serde_json::Value;
use vmpulse_local::exit::Exit;

use super::{tell, told};
use crate::class::{After, AnyClass, Expected, Subject, Within};
use crate::classes;
use crate::context::Context;
use crate::engine::Done;
use crate::error::{Inject, InjectError};
use crate::expect::watch::{Asker, Told, watch};
use crate::expect::{Expectation, Named};
use crate::record::Saved;
use crate::wait;
use crate::whose::{self, Whose};

/// A store that was broken answers again within this, or the events cannot be judged.
const STORE_RETURNS: std::time::Duration = std::time::Duration::from_secs(120);
/// Until somebody who has started `watch` has made the failure elsewhere.
const LEAD_S: u64 = 60;

/// Has the last word over what is planned.
pub(super) type Check<'a> = &'a dyn Fn(&Value) -> Inject<()>;

/// What `--expect` adds to every class.
pub(super) fn arguments() -> Vec<Arg> {
    let text = |name: &'static str, shape: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(shape).help(help)
    };
    vec![
        Arg::new("expect")
            .long("expect")
            .action(ArgAction::SetTrue)
            .help("tell the expected events, wait for them, fail if they do not come"),
        text("expect-vm", "NAME", "the VM that events name, where the class cannot know")
            .action(ArgAction::Append),
        text("expect-monitor", "NAME", "the same for host monitors: trunk adapter or UUID")
            .action(ArgAction::Append),
        text("expect-watch", "SECONDS", "watch so long in any case for what must not come")
            .value_parser(value_parser!(u64)),
        text("hamgr", "FILE", "the controller's command, which is asked").default_value("hamgr"),
        text("hamgr-settings", "FILE", "its settings"),
        text("hamgr-store", "URL", "the health store"),
    ]
}

/// `watch CLASS on|off`.
pub(super) fn command() -> Command {
    let class = Arg::new("class").required(true);
    let moment = Arg::new("moment").required(true).value_parser(["on", "off"]);
    let own = Arg::new("within")
        .long("within")
        .value_name("SECONDS")
        .value_parser(value_parser!(u64))
        .default_value("600");
    Command::new("watch")
        .about("waits here for the events of a failure that is made on another machine; start it just before")
        .args([
            class,
            moment,
            own.help("how long an application may take to be RED"),
            whose::argument(&whose::WORDS),
        ])
        .args(arguments().into_iter().filter(|one| one.get_id() != "expect"))
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    done: Option<&'a Done>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expectation: Option<Judged>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "judged")]
enum Judged {
    Met(Expectation),
    NotMet(Expectation),
    /// Why nobody can say.
    Not {
        why: String,
    },
}

impl Judged {
    const fn text(&self) -> &'static str {
        match self {
            Judged::Met(_) => "as expected",
            Judged::NotMet(_) => "NOT as expected",
            Judged::Not { .. } => "not judged",
        }
    }

    const fn exit(&self) -> Exit {
        match self {
            Judged::Met(_) => Exit::Done,
            Judged::NotMet(_) => Exit::Failed,
            Judged::Not { .. } => Exit::TempFail,
        }
    }
}

/// Makes or undoes a failure, and waits for its events if that is wanted. `make` is given the store's time before, if it was asked, and
/// what has to be asked before anything is made.
pub(super) fn act(
    class: &dyn AnyClass,
    context: &Context,
    own: &ArgMatches,
    after: After,
    json: bool,
    make: impl FnOnce(Option<String>, Check<'_>) -> Inject<Done>,
) -> Inject<Exit> {
    let name = class.about().name;
    if !own.get_flag("expect") {
        let done = make(None, &|_| Ok(()))?;
        tell(json, &Answer { done: Some(&done), expectation: None }, || told(name, &done));
        return Ok(Exit::Done);
    }
    // What off knows of it is gone when it is done.
    let saved = Saved::read(context, name)?;
    let check = |planned: &Value| {
        let events = something(name, class.expected(planned.clone())?, own)?;
        announce(events, after);
        Ok(())
    };
    if let (After::Off, Some(saved)) = (after, &saved) {
        check(&saved.before)?;
    }
    let asker = asker(own);
    let before = asker.told();
    let done = make(before.as_ref().ok().map(|told| told.time.clone()), &check)?;
    eprintln!("{}", told(name, &done));
    let saved = if after == After::On { Saved::read(context, name)? } else { saved };
    let judged = match (&done, saved) {
        (Done::Made(_) | Done::Undone, Some(saved)) => {
            judge(class, context, own, after, &asker, before, &saved)?
        }
        (Done::AlreadyOn(_) | Done::AlreadyOff, _) | (_, None) => {
            Judged::Not { why: "nothing was changed now: its events came when it was".to_owned() }
        }
    };
    Ok(end(json, Some(&done), judged))
}

fn end(json: bool, done: Option<&Done>, judged: Judged) -> Exit {
    let (exit, text) = (judged.exit(), judged.text());
    tell(json, &Answer { done, expectation: Some(judged) }, || text.to_owned());
    exit
}

fn judge(
    class: &dyn AnyClass,
    context: &Context,
    own: &ArgMatches,
    after: After,
    asker: &Asker,
    before: Inject<Told>,
    saved: &Saved,
) -> Inject<Judged> {
    let (since, told) = match (before, &saved.told_at, after) {
        (Ok(told), _, _) => (told.time.clone(), told),
        (Err(_), Some(since), After::Off) => match returned(asker) {
            Ok(told) => (since.clone(), told),
            Err(error) => return Ok(unjudged(&error)),
        },
        (Err(error), _, _) => return Ok(unjudged(&error)),
    };
    let named = [named_by_user(own), class.named(context, saved.before.clone())?];
    // Who names somebody knows better.
    let named = named.into_iter().find(|named| !named.is_empty()).unwrap_or_default();
    let bounds = told.bounds(&named, class.own_seconds(saved.before.clone())?);
    let events = class.expected(saved.before.clone())?;
    wait_for(asker, &since, Expectation::of(events, after, &named, bounds), own)
}

/// Who asks for events where none come, neither now nor at the undo, must not believe that something was checked.
fn something<'a>(name: &str, events: &'a [Expected], own: &ArgMatches) -> Inject<&'a [Expected]> {
    if events.is_empty() && own.get_one::<u64>("expect-watch").is_none_or(|seconds| *seconds == 0) {
        return Err(InjectError::Usage(format!(
            "{name} as it is asked for brings no event, so --expect has nothing to wait for. Add --expect-watch SECONDS to see that nothing \
             Critical comes for so long, or leave --expect out. Nothing was touched."
        )));
    }
    Ok(events)
}

fn wait_for(asker: &Asker, since: &str, mut expectation: Expectation, own: &ArgMatches) -> Inject<Judged> {
    let at_least_s = own.get_one::<u64>("expect-watch").copied().unwrap_or(0);
    // Where nothing is expected the store may be what is broken: it is not asked for nothing.
    if (!expectation.expected.is_empty() || at_least_s > 0)
        && let Err(error) = watch(asker, since, &mut expectation, at_least_s)
    {
        return Ok(unjudged(&error));
    }
    for wanted in &expectation.expected {
        let came = wanted
            .came_after_s
            .map_or_else(|| "did NOT come".to_owned(), |after| format!("came after {after} s"));
        eprintln!("{}: {came} (within {} s)", wanted.title(), wanted.within_s);
    }
    if !expectation.missing().is_empty() {
        eprintln!(
            "An event is not told again while its incident is open (docs/reference/events.md): was it so before?"
        );
    }
    for seen in &expectation.unexpected {
        eprintln!("{} came and must NOT: {}", seen.event, seen.text);
    }
    Ok(if expectation.is_met() { Judged::Met(expectation) } else { Judged::NotMet(expectation) })
}

fn returned(asker: &Asker) -> Inject<Told> {
    let mut last = asker.told();
    wait::until("the store answers again", STORE_RETURNS, || {
        if last.is_err() {
            last = asker.told();
        }
        Ok(last.is_ok())
    })?;
    last
}

fn unjudged(error: &InjectError) -> Judged {
    eprintln!("The events cannot be judged from here: {error}");
    eprintln!(
        "Where hamgr reaches the store: `vmpulse-inject watch CLASS on|off`, begun before, or `hamgr query event` afterwards."
    );
    Judged::Not { why: error.to_string() }
}

fn asker(own: &ArgMatches) -> Asker {
    let text = |name: &str| own.get_one::<String>(name).cloned();
    Asker {
        hamgr: text("hamgr").unwrap_or_else(|| "hamgr".to_owned()),
        settings: text("hamgr-settings"),
        store: text("hamgr-store"),
    }
}

fn named_by_user(own: &ArgMatches) -> Vec<Named> {
    let of = |option: &str, subject: Subject| {
        let names = own.get_many::<String>(option).into_iter().flatten().cloned();
        names.map(move |name| (subject, name)).collect::<Vec<Named>>()
    };
    [of("expect-vm", Subject::Vm), of("expect-monitor", Subject::Monitor)].concat()
}

fn announce(events: &[Expected], after: After) {
    let mut any = false;
    for one in events.iter().filter(|one| one.after == after) {
        any = true;
        eprintln!("expected: {} within {}: {}", one.event, bound(one.within), one.reaction);
    }
    if !any {
        eprintln!("expected: no event now");
    }
    eprintln!("must not come: any other event of severity Critical");
}

/// For people.
pub(super) fn bound(within: Within) -> String {
    match within {
        Within::Seconds(seconds) => format!("{seconds} s"),
        Within::Vmfdt => "the VM's failure detection time (VMFDT)".to_owned(),
        Within::HostFdt => "host_failure_detection_time".to_owned(),
        Within::Own => "the time that its scripts may take".to_owned(),
    }
}

/// `watch CLASS on|off`.
pub(super) fn watch_only(own: &ArgMatches, json: bool) -> Inject<Exit> {
    let name = own.get_one::<String>("class").map(String::as_str).unwrap_or_default();
    let class =
        classes::named(name).ok_or_else(|| InjectError::Usage(format!("there is no class {name}.")))?;
    let after = if own.get_one::<String>("moment").is_some_and(|moment| moment == "on") {
        After::On
    } else {
        After::Off
    };
    let whose = own.get_one::<String>(whose::OPTION);
    if whose.is_some() && class.arguments().iter().all(|one| one.get_id() != whose::OPTION) {
        return Err(InjectError::Usage(format!("{name} has no --whose.")));
    }
    let events = something(name, class.watched(whose.and_then(|word| Whose::of(word)))?, own)?;
    announce(events, after);
    let asker = asker(own);
    let told = asker.told()?;
    eprintln!("watching since {}: now make the failure", told.time);
    let named = named_by_user(own);
    let mut bounds = told.bounds(&named, own.get_one::<u64>("within").copied().unwrap_or_default());
    bounds.slack_s += LEAD_S;
    let judged = wait_for(&asker, &told.time, Expectation::of(events, after, &named, bounds), own)?;
    Ok(end(json, None, judged))
}
