//! An application that fails: the monitor script of the kit says so while a marker file exists.

use std::fs::{self, File};
use std::path::PathBuf;

use clap::Arg;
use serde::{Deserialize, Serialize};

use crate::class::{About, After, Class, Expected, Place, Source, State, Subject, Within};
use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::options::{Options, value};
use crate::record::Record;

/// The class.
pub(super) struct App;

/// What was there before: no marker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    marker: PathBuf,
}

impl Class for App {
    type Before = Before;

    fn about(&self) -> About {
        About {
            name: "app",
            what: "an application fails: its monitor script says so",
            places: &[Place::Guest],
            undo: "the marker file is removed",
            expected: &[Expected {
                event: "APP_FAILURE_DETECTED",
                source: Source::Controller,
                about: Subject::App,
                after: After::On,
                within: Within::Seconds(60),
                reaction: "the agent restarts the application up to max_restart times, then it is RED",
            }],
        }
    }

    fn arguments(&self) -> Vec<Arg> {
        vec![value("app", "NAME", "the application whose monitor is the kit's script")]
    }

    fn plan(&self, context: &Context, options: &Options) -> Inject<Before> {
        let name = options.need("app")?;
        Ok(Before { marker: context.path(&format!("/run/vmpulse-inject/fail-{name}")) })
    }

    fn apply(&self, _context: &Context, record: &mut Record<'_, Before>) -> Inject<()> {
        let marker = &record.before().marker;
        File::create(marker).map(drop).map_err(InjectError::file("write", marker))
    }

    fn restore(&self, _context: &Context, before: &Before) -> Inject<()> {
        match fs::remove_file(&before.marker) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(InjectError::file("remove", &before.marker)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn state(&self, _context: &Context, before: Option<&Before>) -> Inject<State> {
        Ok(match before {
            Some(before) if before.marker.exists() => {
                State::On(format!("{} exists", before.marker.display()))
            }
            Some(_) | None => State::Off,
        })
    }
}
