//! What applications have to do with each other.
//!
//! | dependency | the start of the later one waits until the nearest earlier one | the stop of the later one waits |
//! |---|---|---|
//! | `start_sequence`, strict | is NORMAL | |
//! | `start_sequence`, not strict | has no start before it that was not tried | |
//! | `stop_sequence`, strict | | while an earlier one is in TO_STOP |
//! | `stop_sequence`, not strict | | while an earlier one has a stop before it that was not tried |
//! | `parent_child` | is NORMAL (the parent) | |
//!
//! And with `parent_child` a child that is UNSET, NORMAL or FAILING is stopped when its parent is being stopped or started
//! or has failed, and the stop of the parent waits until its children are down. A parent whose child is NOT_STOPPABLE (or
//! ABNORMAL because its stop script is missing) is NOT_STOPPABLE too.
//!
//! A suspended application is passed over: nobody waits for it, and nothing is done to it.

use std::collections::HashMap;

use super::application::Machine;
use super::status::Status;
use crate::config::{Dependency, DependencyKind};

/// A sequence, by the places of its applications in the engine.
#[derive(Clone, Debug)]
struct Sequence {
    strict: bool,
    members: Vec<usize>,
}

/// The dependencies, by the places of the applications in the engine.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    starts: Vec<Sequence>,
    stops: Vec<Sequence>,
    /// Parent and child.
    pairs: Vec<(usize, usize)>,
}

impl Links {
    /// The configuration has checked that every name is there.
    pub(super) fn new(dependencies: &[Dependency], machines: &[Machine]) -> Self {
        let places: HashMap<&str, usize> =
            machines.iter().enumerate().map(|(place, machine)| (machine.spec.name.as_str(), place)).collect();
        let mut links = Self::default();
        for dependency in dependencies {
            let members: Vec<usize> =
                dependency.list.iter().filter_map(|name| places.get(name.as_str()).copied()).collect();
            let sequence = Sequence { strict: dependency.strict, members };
            match dependency.kind {
                DependencyKind::StartSequence => links.starts.push(sequence),
                DependencyKind::StopSequence => links.stops.push(sequence),
                DependencyKind::ParentChild => {
                    if let [parent, child] = sequence.members.as_slice() {
                        links.pairs.push((*parent, *child));
                    }
                }
            }
        }
        links
    }

    /// The places of the children that must not run, because of what their parents are.
    pub(super) fn bereaved(&self, machines: &[Machine]) -> Vec<usize> {
        let pairs = self.considered_pairs(machines);
        pairs
            .filter(|(_, parent, _, child)| parent.is_leaving() && child.is_up())
            .map(|(_, _, child, _)| child)
            .collect()
    }

    /// The places of the parents that are to be stopped and cannot be, because a child of theirs could not.
    pub(super) fn stuck(&self, machines: &[Machine]) -> Vec<usize> {
        let pairs = self.considered_pairs(machines);
        pairs
            .filter(|(_, parent, _, child)| {
                parent.status == Status::ToStop && parent.running.is_none() && child.is_stuck()
            })
            .map(|(place, ..)| place)
            .collect()
    }

    /// The places of those that the next script of an application in TO_STOP or TO_START waits for.
    pub(super) fn waits_for(&self, machines: &[Machine], place: usize) -> Vec<usize> {
        match machines.get(place).map(|machine| machine.status) {
            Some(Status::ToStart) => self.start_waits_for(machines, place).collect(),
            Some(Status::ToStop) => self.stop_waits_for(machines, place).collect(),
            Some(
                Status::NotMonitored
                | Status::Unset
                | Status::Normal
                | Status::Failing
                | Status::NotStoppable
                | Status::NotStartable
                | Status::Abnormal
                | Status::Failure,
            )
            | None => Vec::new(),
        }
    }

    fn start_waits_for<'a>(
        &'a self,
        machines: &'a [Machine],
        place: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        let nearest = move |sequence: &'a Sequence| {
            let (earlier, machine) = earlier(machines, sequence, place).last()?;
            let free =
                if sequence.strict { machine.status == Status::Normal } else { !machine.has_start_ahead() };
            (!free).then_some(earlier)
        };
        let parents = self
            .considered_pairs(machines)
            .filter(move |(_, parent, child, _)| *child == place && parent.status != Status::Normal)
            .map(|(parent, ..)| parent);
        self.starts.iter().filter_map(nearest).chain(parents)
    }

    fn stop_waits_for<'a>(
        &'a self,
        machines: &'a [Machine],
        place: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        let sequences = self.stops.iter().flat_map(move |sequence| {
            let ahead = |machine: &Machine| {
                if sequence.strict { machine.status == Status::ToStop } else { machine.has_stop_ahead() }
            };
            earlier(machines, sequence, place)
                .filter(move |(_, machine)| ahead(machine))
                .map(|(place, _)| place)
        });
        let children = self
            .considered_pairs(machines)
            .filter(move |(parent, _, _, child)| *parent == place && !child.is_down())
            .map(|(_, _, child, _)| child);
        sequences.chain(children)
    }

    /// Parent and child with their places, where neither is suspended.
    fn considered_pairs<'a>(
        &'a self,
        machines: &'a [Machine],
    ) -> impl Iterator<Item = (usize, &'a Machine, usize, &'a Machine)> + 'a {
        self.pairs
            .iter()
            .filter_map(|(parent, child)| {
                Some((*parent, machines.get(*parent)?, *child, machines.get(*child)?))
            })
            .filter(|(_, parent, _, child)| !parent.is_suspended() && !child.is_suspended())
    }
}

/// Those before `place` in a sequence that are not suspended, the nearest last; none if it is not in the sequence.
fn earlier<'a>(
    machines: &'a [Machine],
    sequence: &'a Sequence,
    place: usize,
) -> impl Iterator<Item = (usize, &'a Machine)> + 'a {
    let position = sequence.members.iter().position(|member| *member == place).unwrap_or(0);
    sequence
        .members
        .iter()
        .take(position)
        .filter_map(|member| Some((*member, machines.get(*member)?)))
        .filter(|(_, machine)| !machine.is_suspended())
}
