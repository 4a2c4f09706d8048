//! `list`: what can be made to fail.

use vmpulse_local::exit::Exit;

use super::expecting::bound;
use super::tell;
use crate::class::{About, After, AnyClass, Place};
use crate::classes;

/// `list`.
pub(super) fn list(json: bool) -> Exit {
    let all: Vec<About> = classes::all().map(AnyClass::about).collect();
    tell(json, &all, || all.iter().map(block).collect::<Vec<_>>().join("\n\n"));
    Exit::Done
}

fn block(about: &About) -> String {
    let places: Vec<&str> = about.places.iter().copied().map(place).collect();
    let events = |after: After| {
        let events = about.expected.iter().filter(|one| one.after == after);
        let told: Vec<String> =
            events.map(|one| format!("{} within {}", one.event, bound(one.within))).collect();
        if told.is_empty() { "no event".to_owned() } else { told.join(", ") }
    };
    format!(
        "{}: {}\n  where:     {}\n  undo:      {}\n  after on:  {}\n  after off: {}",
        about.name,
        about.what,
        places.join(", "),
        about.undo,
        events(After::On),
        events(After::Off)
    )
}

const fn place(place: Place) -> &'static str {
    match place {
        Place::Guest => "in the guest",
        Place::Host => "on the host",
        Place::StoreMachine => "where the store is",
        Place::ControllerMachine => "where the controller is",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_told_with_its_place_undo_and_events() {
        let class = classes::named("vm-freeze").unwrap();
        let text = block(&class.about());
        for part in [
            "vm-freeze: ",
            "on the host",
            "SIGCONT",
            "VM_FAILURE_DETECTED within the VM's",
            "after off: VM_RECOVERED within 120 s",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
