//! `Dependency` elements: which applications start, stop and live in relation to others, and which relations make no
//! sense.

use std::collections::BTreeMap;

use super::{Configuration, Values};

/// Most names in all dependency lists together: four for each of 256 applications. It bounds the search for cycles, which
/// the daemon does between two heartbeats.
pub const MAX_DEPENDENCY_NAMES: usize = 1024;

/// What a dependency says of the applications in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependencyKind {
    /// They start in this order.
    StartSequence,
    /// They stop in this order.
    StopSequence,
    /// The second lives only while the first does.
    ParentChild,
}

impl DependencyKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::StartSequence, Self::StopSequence, Self::ParentChild];

    /// As in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StartSequence => "start_sequence",
            Self::StopSequence => "stop_sequence",
            Self::ParentChild => "parent_child",
        }
    }
}

/// One dependency. Whether its applications exist and it fits the others is for
/// [`Configuration::check_dependency`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Unique number of 19 digits (`depuuid`): the nanosecond it was added.
    pub uuid: String,
    /// `dependency_type`.
    pub kind: DependencyKind,
    /// Names of applications (`dependency_list`), in their order: at least two, none twice.
    pub list: Vec<String>,
    /// The next waits for the end of the previous one's step; else only for its beginning. Means nothing to
    /// `parent_child`, which is always strict.
    pub strict: bool,
    /// Every attribute as text.
    pub values: Values,
}

impl Dependency {
    /// From checked texts, if they make a dependency.
    ///
    /// # Errors
    /// An attribute that is missing, or a list of the wrong length or with a name twice.
    pub fn new(values: Values) -> Result<Self, UnfitDependency> {
        let kind = values.text("dependency_type");
        let kind = DependencyKind::ALL.into_iter().find(|known| known.name() == kind);
        let dependency = Self {
            uuid: values.text("depuuid").to_owned(),
            kind: kind.ok_or(UnfitDependency::Missing("dependency_type"))?,
            list: values.text("dependency_list").split(',').map(str::to_owned).collect(),
            strict: values.text("strict") == "YES",
            values,
        };
        dependency.check()?;
        Ok(dependency)
    }

    /// Whether it names this application.
    #[must_use]
    pub fn has(&self, application: &str) -> bool {
        self.list.iter().any(|name| name == application)
    }

    fn check(&self) -> Result<(), UnfitDependency> {
        if self.uuid.is_empty() {
            return Err(UnfitDependency::Missing("depuuid"));
        }
        if self.values.text("dependency_list").is_empty() {
            return Err(UnfitDependency::Missing("dependency_list"));
        }
        if let [only] = self.list.as_slice() {
            return Err(UnfitDependency::One(only.clone()));
        }
        if self.kind == DependencyKind::ParentChild && self.list.len() != 2 {
            return Err(UnfitDependency::NotTwo(self.list.len()));
        }
        let mut seen = std::collections::BTreeSet::new();
        match self.list.iter().find(|name| !seen.insert(*name)) {
            Some(twice) => Err(UnfitDependency::Twice(twice.clone())),
            None => Ok(()),
        }
    }

    /// Parent and child.
    fn pair(&self) -> Option<(&str, &str)> {
        match (self.kind, self.list.as_slice()) {
            (DependencyKind::ParentChild, [parent, child]) => Some((parent, child)),
            _ => None,
        }
    }

    /// Which application comes before which when they start, or when they stop: neighbours only.
    fn edges(&self, phase: Phase) -> Vec<(&str, &str)> {
        let neighbours = || self.list.windows(2).filter_map(|pair| Some((pair.first()?, pair.get(1)?)));
        let forwards = || neighbours().map(|(first, next)| (first.as_str(), next.as_str())).collect();
        match (self.kind, phase) {
            (DependencyKind::StartSequence | DependencyKind::ParentChild, Phase::Start)
            | (DependencyKind::StopSequence, Phase::Stop) => forwards(),
            // The child is stopped first.
            (DependencyKind::ParentChild, Phase::Stop) => {
                neighbours().map(|(parent, child)| (child.as_str(), parent.as_str())).collect()
            }
            (DependencyKind::StartSequence, Phase::Stop) | (DependencyKind::StopSequence, Phase::Start) => {
                Vec::new()
            }
        }
    }
}

/// Starting and stopping have an order each; they may well be different.
#[derive(Clone, Copy)]
enum Phase {
    Start,
    Stop,
}

/// Why a dependency is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitDependency {
    /// A mandatory attribute is not there.
    #[error("{0} must be given")]
    Missing(&'static str),
    /// A list of one.
    #[error("{0} alone makes no dependency; dependency_list needs at least two applications")]
    One(String),
    /// parent_child of more than two.
    #[error("parent_child takes exactly two applications, the parent and the child, not {0}")]
    NotTwo(usize),
    /// A name twice.
    #[error("{0} is in dependency_list twice")]
    Twice(String),
    /// No such application.
    #[error("there is no application {0}; add it first")]
    Unknown(String),
    /// The same once more.
    #[error("dependency {0} says this already")]
    Exists(String),
    /// More than [`MAX_DEPENDENCY_NAMES`].
    #[error("all dependency lists together have more than {MAX_DEPENDENCY_NAMES} names")]
    TooMany,
    /// A parent that is a child, or a child that is a parent.
    #[error("parent_child has one level only, and by dependency {other} {name} is a {role} already")]
    SecondLevel {
        /// The application that would be both.
        name: String,
        /// What it is.
        role: &'static str,
        /// depuuid of the dependency that says so.
        other: String,
    },
    /// No order satisfies all dependencies.
    #[error("{} would each have to {action} before the others; the dependencies go round in a circle", names.join(", "))]
    Cycle {
        /// The applications in it.
        names: Vec<String>,
        /// `start` or `stop`.
        action: &'static str,
    },
}

impl Configuration {
    /// The dependency of that depuuid.
    #[must_use]
    pub fn dependency(&self, uuid: &str) -> Option<&Dependency> {
        self.dependencies.iter().find(|dependency| dependency.uuid == uuid)
    }

    /// A dependency that names this application, which must not be deleted then.
    #[must_use]
    pub fn dependency_of(&self, application: &str) -> Option<&Dependency> {
        self.dependencies.iter().find(|dependency| dependency.has(application))
    }

    /// Whether `new` fits the applications and the other dependencies. One with the same uuid is not another: it is
    /// the one that `new` is to replace.
    ///
    /// # Errors
    /// An unknown application, a repetition, a second level of parent_child, a circle.
    pub fn check_dependency(&self, new: &Dependency) -> Result<(), UnfitDependency> {
        if let Some(unknown) = new.list.iter().find(|name| self.application(name).is_none()) {
            return Err(UnfitDependency::Unknown(unknown.clone()));
        }
        let others = || self.dependencies.iter().filter(|other| other.uuid != new.uuid);
        if let Some(other) = others().find(|other| other.kind == new.kind && other.list == new.list) {
            return Err(UnfitDependency::Exists(other.uuid.clone()));
        }
        if others().map(|other| other.list.len()).sum::<usize>() + new.list.len() > MAX_DEPENDENCY_NAMES {
            return Err(UnfitDependency::TooMany);
        }
        check_levels(new, others())?;
        for (phase, action) in [(Phase::Start, "start"), (Phase::Stop, "stop")] {
            let all = others().chain([new]);
            let names = cycle(all.flat_map(|dependency| dependency.edges(phase)).collect());
            if !names.is_empty() {
                return Err(UnfitDependency::Cycle { names, action });
            }
        }
        Ok(())
    }
}

fn check_levels<'a>(
    new: &Dependency,
    others: impl Iterator<Item = &'a Dependency>,
) -> Result<(), UnfitDependency> {
    let Some((parent, child)) = new.pair() else { return Ok(()) };
    for other in others {
        let Some((other_parent, other_child)) = other.pair() else { continue };
        let second = |name: &str, role| UnfitDependency::SecondLevel {
            name: name.to_owned(),
            role,
            other: other.uuid.clone(),
        };
        if parent == other_child {
            return Err(second(parent, "child"));
        }
        if child == other_parent {
            return Err(second(child, "parent"));
        }
    }
    Ok(())
}

/// The applications that lie on a circle, or between two; empty if there is none.
fn cycle(edges: Vec<(&str, &str)>) -> Vec<String> {
    // What nothing comes before is in no circle, nor is, once that is gone, what comes next; then from the other end.
    let forwards = without_beginnings(edges);
    let backwards = forwards.into_iter().map(|(first, next)| (next, first)).collect();
    let edges = without_beginnings(backwards);
    let mut names: Vec<String> = edges.into_iter().map(|(first, _)| first.to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn without_beginnings<'a>(edges: Vec<(&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    let mut incoming: BTreeMap<&str, usize> = BTreeMap::new();
    let mut followers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for &(first, next) in &edges {
        incoming.entry(first).or_default();
        *incoming.entry(next).or_default() += 1;
        followers.entry(first).or_default().push(next);
    }
    let mut free: Vec<&str> =
        incoming.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    while let Some(name) = free.pop() {
        for next in followers.remove(name).unwrap_or_default() {
            if let Some(count) = incoming.get_mut(next) {
                *count -= 1;
                if *count == 0 {
                    free.push(next);
                }
            }
        }
    }
    edges.into_iter().filter(|(first, _)| followers.contains_key(first)).collect()
}

#[cfg(test)]
mod tests;
