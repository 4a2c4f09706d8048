//! What runs inside the namespaces: a world's first process, a guest's first process, and the frame tools.

use std::path::Path;

use crate::cli::Inside;
use crate::demo;
use crate::error::{Lab, LabError};
use crate::frames;
use crate::kit::Kit;
use crate::outcome::{Outcome, Report};
use crate::qemu;
use crate::scenarios;
use crate::soak;
use crate::world::{self, World};

/// Runs one of the hidden commands.
pub(crate) fn run(command: Inside) -> Lab<()> {
    match command {
        Inside::World { job, kit, outcome, keep } => run_world(&job, &kit, &outcome, keep),
        Inside::GuestInit { name } => world::run_init(&name),
        Inside::Capture { interface, file } => frames::capture_into(&interface, &file),
        Inside::Send { interface } => frames::send_lines(&interface, std::io::stdin().lock()),
        Inside::Flood { interface, kind, to, from, uuid, seconds } => {
            let sent = frames::flood(&interface, &kind.frames(&to, &from, &uuid), seconds)?;
            println!("{}", serde_json::to_string(&sent).unwrap_or_default());
            Ok(())
        }
        Inside::Attach { socket, command } if command.is_empty() => qemu::attach(&socket),
        Inside::Attach { socket, command } => {
            print!("{}", qemu::run_in_shell(&socket, &command.join(" "))?.ok()?);
            Ok(())
        }
    }
}

fn run_world(job: &str, kit: &Path, outcome: &Path, keep: bool) -> Lab<()> {
    let kit = Kit::load(kit)?;
    let failures = kit.lab_dir.join("failures").join(job);
    let mut report = Report::default();
    // What a demo has built stays in `stage` until the world ends, whoever ends it.
    let stage = World::create(kit).and_then(|world| perform(job, world, &mut report));
    let evidence = match &stage {
        Ok(_) | Err(LabError::Skipped(_)) => None,
        Err(_) => world::keep_evidence(&failures).is_ok().then_some(failures),
    };
    Outcome::of(&stage, report.into_figures(), evidence).save(outcome)?;
    if keep && stage.is_ok() {
        return world::collect_orphans();
    }
    Ok(())
}

fn perform(job: &str, world: World, report: &mut Report) -> Lab<Option<demo::Stage>> {
    if job == demo::NAME {
        return demo::play(world, report).map(Some);
    }
    if job == soak::NAME {
        return soak::perform(world, report).map(|()| None);
    }
    let scenario = scenarios::find(job)?;
    (scenario.run)(world, report).map(|()| None)
}
