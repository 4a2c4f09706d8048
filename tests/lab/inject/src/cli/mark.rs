//! `mark` and `unmark`.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use vmpulse_local::exit::Exit;

use super::{local, tell, timestamp};
use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::marker::{self, Marker, Wanted};

/// Their command lines.
pub(super) fn commands() -> [Command; 2] {
    let name = Arg::new("name").value_name("NAME").required(true).help("the test group's name");
    let yes = Arg::new("yes").long("yes").action(ArgAction::SetTrue).help("this machine may be broken");
    let hours = Arg::new("hours").long("hours").value_name("N").value_parser(value_parser!(u64));
    let target = Arg::new("target").long("target").value_name("KIND:NAME").action(ArgAction::Append);
    let target = target.help("what may be touched beside the product's daemons: domain:vm1, database:/var/lib/..., as refusals say");
    let mark = Command::new("mark").about("marks this machine as one of a test group, which may be broken");
    let unmark = Command::new("unmark").about("takes the mark away");
    [mark.args([name, yes, hours.help("after how many hours the mark runs out (8)"), target]), unmark]
}

/// `mark NAME --yes`.
pub(super) fn mark(context: &Context, own: &ArgMatches, json: bool) -> Inject<Exit> {
    let group = own.get_one::<String>("name").cloned().unwrap_or_default();
    if !own.get_flag("yes") {
        let problem = format!(
            "this lets `vmpulse-inject ... on --group {group}` break this machine. If that is meant, add --yes."
        );
        return Err(InjectError::Usage(problem));
    }
    let targets = own.get_many::<String>("target").into_iter().flatten().cloned().collect();
    let wanted = Wanted { group, hours: own.get_one("hours").copied(), targets };
    let marker = marker::mark(context, &wanted)?;
    tell(json, &marker, || text(&marker));
    Ok(Exit::Done)
}

/// `unmark`.
pub(super) fn unmark(context: &Context, json: bool) -> Inject<Exit> {
    let was = marker::unmark(context)?;
    let said = if was {
        "the mark is gone: nothing may be broken here any more"
    } else {
        "this machine was not marked"
    };
    tell(json, &serde_json::json!({ "unmarked": was }), || said.to_owned());
    Ok(Exit::Done)
}

fn text(marker: &Marker) -> String {
    let until = timestamp(marker.until).map(local).unwrap_or_default();
    let targets: String = marker.targets.iter().map(|target| format!(", {target}")).collect();
    format!("marked for the test group {}{targets}, until {until}", marker.group)
}
