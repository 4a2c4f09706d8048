//! `modify system` and `modify vm`.
//!
//! What is to be changed is worked out for every VM that is named before the first is changed: all of them, or none.

use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_store::{DetectionSpeed, Store, SystemSettings, VmSettings, VmView};

use super::block::{json, local};
use super::parse::{Command, Invocation, Output, UsageError};
use super::query::attributes;
use super::words::Class;
use super::{Answer, CliError};
use crate::events::{printable, upper};
use crate::fde::policy::Detection;
use crate::fde::vm::seconds;

const HOST_TIME: &str = "host_failure_detection_time";
const SPEED: &str = "vm_failure_detection_speed";
const TIME: &str = "vm_failure_detection_time";
const INTERVAL: &str = "heartbeat_interval";

/// Seconds that host_failure_detection_time may have.
const HOST_TIME_S: std::ops::RangeInclusive<u32> = 90..=600;
/// Milliseconds that heartbeat_interval may have.
const INTERVAL_MS: std::ops::RangeInclusive<u32> = 100..=60_000;
/// Milliseconds that vm_failure_detection_time may have: an hour is five times the longest the formula gives.
const TIME_MS: std::ops::RangeInclusive<u32> = 300..=3_600_000;
/// A VM is not called failed before it missed as many heartbeats.
const INTERVALS: u32 = 3;

/// What can be changed in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The system's settings.
    System,
    /// Those of VMs.
    Vm,
}

impl Target {
    /// Of a class; `None` if it cannot be changed yet.
    #[must_use]
    pub fn of(class: Class) -> Option<Self> {
        [(Class::System, Self::System), (Class::Vm, Self::Vm)]
            .into_iter()
            .find_map(|(one, target)| (one == class).then_some(target))
    }
}

/// Carries it out.
///
/// # Errors
/// [`CliError`].
pub fn run(
    target: Target,
    invocation: &Invocation,
    command: &Command,
    store: &mut dyn Store,
    zone: &TimeZone,
) -> Result<Answer, CliError> {
    let lines = match target {
        Target::System => system(store, command)?,
        Target::Vm => vms(store, command)?,
    };
    let stamp = if invocation.stamps { format!("{} ", local(store.now()?, zone)) } else { String::new() };
    let data = match invocation.output {
        Output::Json => lines.json,
        Output::Text => lines.text.iter().map(|line| format!("{stamp}{}\n", printable(line))).collect(),
    };
    Ok(Answer { data, note: None })
}

/// What was done, for people and for programs.
struct Done {
    text: Vec<String>,
    json: String,
}

fn system(store: &mut dyn Store, command: &Command) -> Result<Done, CliError> {
    attributes(command, &[HOST_TIME, SPEED])?;
    if !command.names.is_empty() {
        return Err(UsageError::Names("modify system takes no name".to_owned()).into());
    }
    let settings = plan_system(store.system_settings()?, &given(command)?)?;
    store.system_settings_replace(&settings)?;
    let text = vec![format!("System: {} changed.", list(command))];
    Ok(Done { text, json: json(&settings) })
}

#[derive(Serialize)]
struct Changed {
    name: String,
    uuid: String,
    settings: VmSettings,
}

fn vms(store: &mut dyn Store, command: &Command) -> Result<Done, CliError> {
    attributes(command, &[SPEED, TIME, INTERVAL])?;
    let changes = changes(&given(command)?)?;
    let named = called(store.vms()?, &command.names)?;
    let system = store.system_settings()?;
    let planned = named
        .iter()
        .map(|vm| plan_vm(vm, &system, &changes))
        .collect::<Result<Vec<VmSettings>, CliError>>()?;
    replace(store, &named, &planned)?;
    let mut text: Vec<String> =
        named.iter().map(|vm| format!("VM {}: {} changed.", vm.name, list(command))).collect();
    text.push(format!("{} out of {} VMs have been changed.", named.len(), named.len()));
    let changed = |(vm, settings): (&VmView, &VmSettings)| Changed {
        name: vm.name.clone(),
        uuid: upper(vm.uuid),
        settings: *settings,
    };
    let changed: Vec<_> = named.iter().zip(&planned).map(changed).collect();
    Ok(Done { text, json: json(&changed) })
}

/// The attributes, of which there must be some.
fn given(command: &Command) -> Result<Vec<(&str, &str)>, UsageError> {
    if command.attributes.is_empty() {
        let class = command.class.map_or("", Class::name);
        return Err(UsageError::Names(format!("modify {class} needs attribute=value")));
    }
    Ok(command.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
}

fn list(command: &Command) -> String {
    command.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

/// The VMs that are named, each once. A name that several VMs have is refused.
fn called(all: Vec<VmView>, names: &[String]) -> Result<Vec<VmView>, CliError> {
    if names.is_empty() {
        return Err(UsageError::Names("modify vm needs the names or UUIDs of VMs".to_owned()).into());
    }
    let mut chosen: Vec<VmView> = Vec::new();
    for name in names {
        let by_uuid = name.parse().ok();
        let mut fitting: Vec<&VmView> = all.iter().filter(|vm| by_uuid == Some(vm.uuid)).collect();
        if fitting.is_empty() {
            fitting = all.iter().filter(|vm| vm.name == *name).collect();
        }
        match fitting.as_slice() {
            [] => return Err(CliError::NoSuch { class: "VM", name: name.clone(), query: "query vm" }),
            [vm] if chosen.iter().any(|one| one.uuid == vm.uuid) => {}
            [vm] => chosen.push((*vm).clone()),
            several => {
                let uuids = several.iter().map(|vm| upper(vm.uuid)).collect::<Vec<_>>().join(", ");
                return Err(CliError::Ambiguous { name: name.clone(), uuids });
            }
        }
    }
    Ok(chosen)
}

/// The system's settings with what was given. `none` means the default.
fn plan_system(mut settings: SystemSettings, given: &[(&str, &str)]) -> Result<SystemSettings, UsageError> {
    let default = SystemSettings::default();
    for (attribute, value) in given {
        if *attribute == HOST_TIME {
            settings.host_failure_detection_time_s = match optional(value) {
                None => default.host_failure_detection_time_s,
                Some(value) => in_range(HOST_TIME, value, HOST_TIME_S, "seconds")?,
            };
        } else {
            settings.vm_failure_detection_speed = speed(value)?.unwrap_or(default.vm_failure_detection_speed);
        }
    }
    Ok(settings)
}

/// What is to become of one setting of a VM; `None`: what the system has.
#[derive(Clone, Copy)]
enum Change {
    Speed(Option<DetectionSpeed>),
    TimeMs(Option<u32>),
    IntervalMs(Option<u32>),
}

/// Values that are wrong for every VM are so before any is looked for.
fn changes(given: &[(&str, &str)]) -> Result<Vec<Change>, UsageError> {
    let change = |(attribute, value): &(&str, &str)| match (*attribute, optional(value)) {
        (SPEED, _) => speed(value).map(Change::Speed),
        (TIME, None) => Ok(Change::TimeMs(None)),
        (TIME, Some(text)) => {
            let why = "it must be seconds from 0.3 to 3600, at most 3 decimals, or none";
            let time_ms = decimal_seconds_ms(text).filter(|time_ms| TIME_MS.contains(time_ms));
            time_ms
                .map(|time_ms| Change::TimeMs(Some(time_ms)))
                .ok_or_else(|| UsageError::value(TIME, text, why))
        }
        (_, None) => Ok(Change::IntervalMs(None)),
        (_, Some(text)) => in_range(INTERVAL, text, INTERVAL_MS, "milliseconds")
            .map(|interval| Change::IntervalMs(Some(interval))),
    };
    given.iter().map(change).collect()
}

/// A VM's settings with what was given.
fn plan_vm(vm: &VmView, system: &SystemSettings, changes: &[Change]) -> Result<VmSettings, CliError> {
    let mut settings = vm.settings;
    for change in changes {
        match *change {
            Change::Speed(speed) => settings.vm_failure_detection_speed = speed,
            Change::TimeMs(time_ms) => settings.vm_failure_detection_time_ms = time_ms,
            Change::IntervalMs(interval_ms) => settings.heartbeat_interval_ms = interval_ms,
        }
    }
    long_enough(&settings, system, &format!(" for VM {}", printable(&vm.name)))?;
    Ok(settings)
}

/// Whether `vm_failure_detection_time`, given now or before, fits the heartbeat interval.
fn long_enough(settings: &VmSettings, system: &SystemSettings, of: &str) -> Result<(), CliError> {
    let interval_ms = Detection::of(system, settings).heartbeat_interval_ms.value;
    let least_ms = interval_ms.saturating_mul(INTERVALS);
    match settings.vm_failure_detection_time_ms {
        Some(time_ms) if time_ms < least_ms => {
            let why = format!(
                "it must be at least {INTERVALS} heartbeat intervals, {} seconds with a heartbeat_interval of \
                 {interval_ms} ms",
                seconds(least_ms.into())
            );
            Err(CliError::Refused { attribute: TIME, value: seconds(time_ms.into()), of: of.to_owned(), why })
        }
        Some(_) | None => Ok(()),
    }
}

fn optional(value: &str) -> Option<&str> {
    if value.eq_ignore_ascii_case("none") { None } else { Some(value) }
}

fn speed(value: &str) -> Result<Option<DetectionSpeed>, UsageError> {
    let Some(text) = optional(value) else { return Ok(None) };
    let parsed = DetectionSpeed::parse(&text.to_lowercase());
    let wrong = || UsageError::value(SPEED, text, "it must be fast, normal, slow or none");
    parsed.map(Some).ok_or_else(wrong)
}

fn in_range(
    attribute: &'static str,
    text: &str,
    range: std::ops::RangeInclusive<u32>,
    unit: &str,
) -> Result<u32, UsageError> {
    let (least, most) = (range.start(), range.end());
    let wrong =
        || UsageError::value(attribute, text, format!("it must be {least} to {most} {unit}, or none"));
    text.parse().ok().filter(|value| range.contains(value)).ok_or_else(wrong)
}

/// `0.3` as 300; `None` if it is no such number.
fn decimal_seconds_ms(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 3 {
        return None;
    }
    let thousandths: u32 = format!("{decimals:0<3}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(thousandths)
}

/// Changes them one after the other; if one fails, those before it get back what they had.
fn replace(store: &mut dyn Store, vms: &[VmView], planned: &[VmSettings]) -> Result<(), CliError> {
    for (index, (vm, settings)) in vms.iter().zip(planned).enumerate() {
        let Err(source) = store.vm_settings_replace(vm.uuid, settings) else { continue };
        let before = vms.iter().take(index);
        let stuck: Vec<&str> = before
            .filter(|vm| store.vm_settings_replace(vm.uuid, &vm.settings).is_err())
            .map(|vm| vm.name.as_str())
            .collect();
        let state = if stuck.is_empty() {
            "no VM was changed".to_owned()
        } else {
            format!("these stay changed: {}", stuck.join(", "))
        };
        return Err(CliError::Incomplete { vm: vm.name.clone(), state, source: Box::new(source) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_with_decimals() {
        for (text, expected) in [
            ("0.3", Some(300)),
            ("1", Some(1000)),
            ("2.05", Some(2050)),
            ("190.125", Some(190_125)),
            ("0.0005", None),
            ("-1", None),
            ("1e3", None),
            (".5", None),
            ("5.", None),
            ("", None),
            ("99999999999", None),
        ] {
            assert_eq!(decimal_seconds_ms(text), expected, "{text}");
        }
    }
}
