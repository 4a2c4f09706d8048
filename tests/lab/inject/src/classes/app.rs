//! An application that fails, and neither stopping nor starting it helps.
//!
//! The kit's own script (`scripts/vmpulse-inject-app`) says so while a marker file is there. Any other application is given a monitor
//! script that always fails, by `vmmgr`.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Arg;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::class::{About, After, Class, Expected, Place, Source, State, Subject, Within};
use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::expect::Named;
use crate::options::{Options, value};
use crate::record::Record;
use crate::tool;

/// The class.
pub(super) struct App;

/// The kit's script, by its file's name.
const SCRIPT: &str = "vmpulse-inject-app";
/// Where the script looks; readable for everybody, as any user may run it.
const MARKERS: &str = "/run/vmpulse-inject-app";
/// A monitor script that every system has and that every user may run.
const FAILS: &str = "/bin/false";
/// Until the news of RED is in the store and the controller has looked.
const TOLD_S: u64 = 60;

/// What was there before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    app: String,
    way: Way,
    vmmgr: String,
    /// How long its scripts may take until it is RED.
    red_s: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    /// The marker file of the kit's script.
    Marker(PathBuf),
    /// The monitor script that was replaced.
    Replaced(String),
}

impl Class for App {
    type Before = Before;

    fn about(&self) -> About {
        About {
            name: "app",
            what: "an application fails, and starting it again does not help",
            places: &[Place::Guest],
            undo: "the marker file is removed, or the monitor script put back, and the application gets a new chance",
            expected: &[Expected {
                event: "APP_FAILURE_DETECTED",
                source: Source::Controller,
                about: Subject::App,
                after: After::On,
                within: Within::Own,
                reaction: "the agent restarts the application up to max_restart times, then it is RED; nothing is restarted beyond in this version",
            }],
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        vec![
            value("app", "NAME", "the application, as vmmgr names it"),
            value("vmmgr", "FILE", "the agent's command").default_value("vmmgr"),
        ]
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        let app = options.need("app")?;
        let vmmgr = options.text("vmmgr").unwrap_or_else(|| "vmmgr".to_owned());
        let shown = show(&vmmgr, &app)?;
        if text(&shown, "monitored") != "1" {
            return Err(InjectError::Failed(format!(
                "{app} is not monitored: nobody would see it fail (vmmgr resume app {app})."
            )));
        }
        if !text(&shown, "type").is_empty() {
            let why = format!(
                "{app} has a type, whose agent judges it: stop what it stands for instead, and start it again."
            );
            return Err(InjectError::Unsupported(why));
        }
        let script = text(&shown, "monitor_script");
        let program = Path::new(script.split(' ').next().unwrap_or_default());
        let way = if program.file_name().is_some_and(|name| name == SCRIPT) {
            Way::Marker(context.path(MARKERS).join(format!("fail-{app}")))
        } else {
            Way::Replaced(script)
        };
        Ok(Before { way, vmmgr, red_s: red_s(&shown), app })
    }

    fn apply(&self, _context: &Context, record: &mut Record<'_, Before>) -> Inject<()> {
        let before = record.before();
        match &before.way {
            Way::Marker(file) => {
                let folder = file.parent().unwrap_or(file);
                fs::create_dir_all(folder).map_err(InjectError::file("make", folder))?;
                File::create(file).map(drop).map_err(InjectError::file("write", file))
            }
            Way::Replaced(_) => set_script(before, FAILS),
        }
    }

    fn restore(&self, _context: &Context, before: &Before) -> Inject<()> {
        match &before.way {
            Way::Marker(file) => {
                match fs::remove_file(file) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(InjectError::file("remove", file)(error));
                    }
                    Ok(()) | Err(_) => {}
                }
                vmmgr(&before.vmmgr, &["resume", "app", &before.app])
            }
            // What was changed ends a final state, too.
            Way::Replaced(script) if is_failing(before)? => set_script(before, script),
            Way::Replaced(_) => Ok(()),
        }
    }

    fn state(&self, _context: &Context, before: Option<&Before>) -> Inject<State> {
        let Some(before) = before else { return Ok(State::Off) };
        let on = match &before.way {
            Way::Marker(file) => file.exists(),
            Way::Replaced(_) => is_failing(before)?,
        };
        let details = || match &before.way {
            Way::Marker(file) => format!("{} fails while {} is there", before.app, file.display()),
            Way::Replaced(script) => {
                format!("the monitor script of {} is {FAILS} instead of {script}", before.app)
            }
        };
        Ok(if on { State::On(details()) } else { State::Off })
    }

    fn named(&self, _context: &Context, before: &Before) -> Vec<Named> {
        vec![(Subject::App, before.app.clone())]
    }

    fn own_seconds(&self, before: &Before) -> u64 {
        before.red_s
    }
}

fn is_failing(before: &Before) -> Inject<bool> {
    Ok(text(&show(&before.vmmgr, &before.app)?, "monitor_script") == FAILS)
}

fn show(program: &str, app: &str) -> Inject<Value> {
    let mut command = Command::new(program);
    command.args(["-o", "json", "query", "app", app]);
    let answer = tool::ask(command)?;
    let shown = answer.pointer("/applications/0").cloned();
    shown.ok_or_else(|| InjectError::Failed(format!("{program} shows no application {app}.")))
}

fn set_script(before: &Before, script: &str) -> Inject<()> {
    vmmgr(&before.vmmgr, &["-s", "modify", "app", &before.app, &format!("monitor_script={script}")])
}

fn vmmgr(program: &str, words: &[&str]) -> Inject<()> {
    let mut command = Command::new(program);
    command.args(words);
    tool::run(command).map(drop)
}

fn text(shown: &Value, name: &str) -> String {
    shown.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The longest way to RED: every check and restart takes all the time it may.
fn red_s(shown: &Value) -> u64 {
    let number = |name: &str| shown.get(name).and_then(Value::as_u64).unwrap_or_default();
    let noticed =
        (number("monitor_failure_threshold") + 1) * number("monitor_period").max(number("monitor_timeout"));
    let restart = number("stop_stabilization_time") + number("start_stabilization_time");
    noticed * (number("max_restart") + 1) + restart * number("max_restart") + TOLD_S
}
