//! A configuration in a record: without command lines, which may hold passwords, and without what stands behind types.
//!
//! In their place is a number, another one whenever something of an application that is left out has changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::attribute::{self, Attribute};
use crate::config::value::Kind;
use crate::config::{Application, Configuration, Dependency, Values, Vmm};

/// Attributes of applications that are left out, beside scripts and parameters: what is said of a type, and what only people read.
const LEFT_OUT: [&str; 6] = ["type", "instancename", "database", "desc", "vendor_id", "status"];
/// Scripts have to be something.
const SCRIPTS: [&str; 3] = ["monitor_script", "stop_script", "start_script"];

/// Attributes that are given, and their texts.
type Texts = Vec<(String, String)>;

/// [`Configuration`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    vmm: Texts,
    /// Name, texts, and the number of what is left out.
    applications: Vec<(String, Texts, u32)>,
    dependencies: Vec<Texts>,
}

/// What is left out of the applications of the last configuration, by uuid, and its number.
#[derive(Debug, Default)]
pub(super) struct Concealed {
    known: BTreeMap<String, (Texts, u32)>,
    last: u32,
}

impl Configured {
    pub(super) fn of(configuration: &Configuration, concealed: &mut Concealed) -> Self {
        let Configuration { vmm, applications, dependencies, unknown: _ } = configuration;
        concealed.known.retain(|uuid, _| applications.iter().any(|app| app.uuid == *uuid));
        Self {
            vmm: texts(&vmm.values, |_| true),
            applications: applications
                .iter()
                .map(|app| (app.name.clone(), texts(&app.values, is_shown), concealed.number(app)))
                .collect(),
            dependencies: dependencies.iter().map(|dependency| texts(&dependency.values, |_| true)).collect(),
        }
    }

    /// One that means the same to the engine; `None` if what was recorded cannot be.
    pub(super) fn configuration(&self) -> Option<Configuration> {
        let applications = self.applications.iter().map(|(name, texts, number)| {
            let mut values = values(attribute::APPLICATION, texts)?;
            for script in SCRIPTS {
                values.read(script, &format!("/{number}")).ok()?;
            }
            Application::new(name, values).ok()
        });
        let dependencies = self.dependencies.iter();
        let dependencies =
            dependencies.map(|texts| Dependency::new(values(attribute::DEPENDENCY, texts)?).ok());
        Some(Configuration {
            vmm: Vmm::new(values(attribute::VMM, &self.vmm)?),
            applications: applications.collect::<Option<_>>()?,
            dependencies: dependencies.collect::<Option<_>>()?,
            ..Configuration::default()
        })
    }
}

impl Concealed {
    fn number(&mut self, application: &Application) -> u32 {
        let mut hidden = texts(&application.values, |attribute| !is_shown(attribute));
        let parameters = application.values.parameters();
        hidden.extend(parameters.map(|(name, text)| (name.to_owned(), text.to_owned())));
        if let Some((before, number)) = self.known.get(&application.uuid)
            && *before == hidden
        {
            return *number;
        }
        self.last = self.last.wrapping_add(1);
        self.known.insert(application.uuid.clone(), (hidden, self.last));
        self.last
    }
}

fn is_shown(attribute: &Attribute) -> bool {
    attribute.kind != Kind::Script && !LEFT_OUT.contains(&attribute.name)
}

fn texts(values: &Values, wanted: impl Fn(&Attribute) -> bool) -> Texts {
    let all = values.iter().filter(|(attribute, _)| wanted(attribute) && values.is_given(attribute.name));
    all.map(|(attribute, text)| (attribute.name.to_owned(), text.to_owned())).collect()
}

fn values(table: &'static [Attribute], texts: &Texts) -> Option<Values> {
    let mut values = Values::new(table);
    for (name, text) in texts {
        values.read(name, text).ok()?;
    }
    Some(values)
}
