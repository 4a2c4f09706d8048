//! `query app`.

use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_store::{ApplicationReport, ApplicationView, Store, StoreTime};

use super::super::CliError;
use super::super::block::{Block, View, local, rfc3339, seconds};
use super::named;
use crate::events::upper;

/// An application as shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    vm: String,
    vm_uuid: String,
    #[serde(serialize_with = "rfc3339")]
    reported_at: StoreTime,
    #[serde(flatten)]
    report: ApplicationReport,
}

/// The applications called by `names` (of whichever VM), or all.
pub(super) fn views(store: &mut dyn Store, names: &[String]) -> Result<Vec<Shown>, CliError> {
    let is_called = |app: &ApplicationView, name: &str| app.report.name == name || app.report.uuid == name;
    let applications = named(store.applications()?, names, "application", "query app", is_called)?;
    let shown = |app: ApplicationView| Shown {
        vm: app.vm_name,
        vm_uuid: upper(app.vm),
        reported_at: app.reported_at,
        report: app.report,
    };
    Ok(applications.into_iter().map(shown).collect())
}

impl View for Shown {
    fn block(&self, verbose: bool, zone: &TimeZone) -> Block {
        let report = &self.report;
        let block = Block::default()
            .line("Name", &report.name)
            .line("Status", report.colour)
            .line("AppID", &report.uuid)
            .line("VM", &self.vm)
            .line("Critical", if report.critical { "yes" } else { "no" })
            .line("MaxRestart", report.max_restart)
            .line("Monitoring", u8::from(report.monitored));
        if !verbose {
            return block;
        }
        block
            .line("VM_UUID", &self.vm_uuid)
            .line("State", &report.status)
            .line("Restarted", report.restarted)
            .line("Last_result", &report.last_result)
            .line("Version", if report.version.is_empty() { "none" } else { &report.version })
            .line("Reported", local(self.reported_at, zone))
            .line("Last_change", format!("{} before the report", seconds(report.last_change_age_s)))
    }
}
