//! `add`, `query`, `modify` and `delete` of dependencies.

use serde_json::{Value, json};

use super::grammar::{Class, Format};
use super::{Context, Fault, Outcome, change, query, show};
use crate::config::attribute::{DEPENDENCY, SetError};
use crate::config::patch::{self, Target};
use crate::config::{Configuration, Dependency, Values};
use crate::nearest;

/// `add dependency ATTRIBUTE=VALUE ...`
pub(super) fn add(context: &Context<'_>) -> Result<Outcome, Fault> {
    if let Some(name) = &context.line.name {
        return Err(Fault::Surplus(name.clone()));
    }
    let (file, configuration) = change::open(context)?;
    let uuid = change::unique_uuid(context.environment.realtime, file.text());
    let mut values = Values::new(DEPENDENCY);
    values.set_uuid(&uuid).map_err(|invalid| Fault::Attribute(SetError::Invalid(invalid)))?;
    let mut pairs = vec![("depuuid".to_owned(), uuid.clone())];
    pairs.extend(change::set_all(context, &mut values)?);
    let dependency = checked(&configuration, values)?;
    let text = patch::add_dependency(file.text(), &change::borrowed(&pairs));
    change::save(context, file, text)?;
    change::applied(context, &configuration, format!("Dependency {uuid} added: {}.", in_words(&dependency)))
}

/// `modify dependency DEPUUID ATTRIBUTE=VALUE ...`
pub(super) fn modify(context: &Context<'_>) -> Result<Outcome, Fault> {
    let uuid = uuid(context)?;
    let (file, configuration) = change::open(context)?;
    let mut values = find(&configuration, uuid)?.values.clone();
    let pairs = change::set_all(context, &mut values)?;
    if pairs.is_empty() {
        return Err(Fault::NoAttributes);
    }
    let dependency = checked(&configuration, values)?;
    let text = patch::set_attributes(file.text(), Target::Dependency(uuid), &change::borrowed(&pairs));
    change::save(context, file, text)?;
    change::applied(
        context,
        &configuration,
        format!("Dependency {uuid} modified: {}.", in_words(&dependency)),
    )
}

/// `delete dependency DEPUUID`
pub(super) fn delete(context: &Context<'_>) -> Result<Outcome, Fault> {
    let uuid = uuid(context)?;
    let (file, configuration) = change::open(context)?;
    find(&configuration, uuid)?;
    let text = patch::delete_dependency(file.text(), uuid);
    change::save(context, file, text)?;
    change::applied(context, &configuration, format!("Dependency {uuid} deleted."))
}

/// `query dependency [DEPUUID]`
pub(super) fn query(context: &Context<'_>) -> Result<Outcome, Fault> {
    query::check_only(context)?;
    let configuration = query::load(context)?;
    let wanted: Vec<&Dependency> = match context.line.name.as_deref() {
        Some(uuid) => vec![find(&configuration, uuid)?],
        None => configuration.dependencies.iter().collect(),
    };
    let text = match context.line.format {
        Format::Text => wanted.iter().map(|found| block(context, found)).collect::<Vec<_>>().join("\n"),
        Format::Json => {
            let objects: Vec<Value> = wanted.iter().map(|found| object(context, found)).collect();
            show::json(&json!({ "dependencies": objects }))
        }
    };
    Ok(query::with_unknown(text, &configuration))
}

/// In one line: `start_sequence of db, shop`.
pub(super) fn in_words(dependency: &Dependency) -> String {
    format!("{} of {}", dependency.kind.name(), dependency.list.join(", "))
}

fn block(context: &Context<'_>, dependency: &Dependency) -> String {
    // The number is in the title.
    let lines = query::lines(context, &dependency.values, &[]);
    let lines = lines.split_inclusive('\n').filter(|line| !line.starts_with(" depuuid="));
    format!("Dependency depuuid={}\n{}", dependency.uuid, lines.collect::<String>())
}

fn object(context: &Context<'_>, dependency: &Dependency) -> Value {
    let mut members = query::members(context, &dependency.values, &[]);
    members.insert("depuuid".to_owned(), json!(dependency.uuid));
    if let Some(list) = members.get_mut("dependency_list") {
        *list = json!(dependency.list);
    }
    Value::Object(members)
}

/// A dependency that fits the applications and the other dependencies.
fn checked(configuration: &Configuration, values: Values) -> Result<Dependency, Fault> {
    let dependency = Dependency::new(values).map_err(Fault::Dependency)?;
    configuration.check_dependency(&dependency).map_err(Fault::Dependency)?;
    Ok(dependency)
}

fn uuid<'a>(context: &'a Context<'_>) -> Result<&'a str, Fault> {
    context.line.name.as_deref().ok_or(Fault::Name(context.line.action, Class::Dependency))
}

fn find<'a>(configuration: &'a Configuration, uuid: &str) -> Result<&'a Dependency, Fault> {
    configuration.dependency(uuid).ok_or_else(|| {
        let uuids = configuration.dependencies.iter().map(|dependency| dependency.uuid.as_str());
        Fault::NoDependency { uuid: uuid.to_owned(), near: nearest::of(uuid, uuids).map(str::to_owned) }
    })
}
