//! An event as a block of the events log.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use vmpulse_store::{EventRecord, Severity, StoreTime};

use super::printable;

/// One block. The id tells a repeated block from a second event.
#[must_use]
pub fn block(record: &EventRecord, zone: &TimeZone) -> String {
    let event = &record.event;
    let name = printable(&event.name);
    format!(
        "-----EVENT START-----\n\
         {name} event has occurred. Details are as follows:\n\
         Event:             {name}\n\
         Type:              {}\n\
         Time:              {}\n\
         Entity Affected:   {}\n\
         Resource Affected: {}\n\
         Description:       {}\n\
         Event ID:          {}\n\
         -----EVENT END-----\n",
        type_words(event.severity),
        time(record.at, zone),
        printable(&event.entity),
        printable(&event.resource),
        printable(&event.description),
        record.id
    )
}

const fn type_words(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "Critical Error Event",
        Severity::Warning => "Warning Event",
        Severity::Maintenance => "Maintenance Event",
        Severity::Informational => "Informational Event",
    }
}

fn time(at: StoreTime, zone: &TimeZone) -> String {
    let stamp = Timestamp::from_microsecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
    stamp.to_zoned(zone.clone()).strftime("%a %b %d %H:%M:%S %Z %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{VmName, vm_failure};

    #[test]
    fn a_block_has_the_documented_form() {
        let vm = VmName { vm: "04e86341-e7c0-45dd-b903-cf9a1ceb7e2c".parse().unwrap(), name: "ziti032" };
        let record = EventRecord {
            id: 17,
            // 2020-02-10 10:51:26 UTC
            at: StoreTime(1_581_331_886_000_000),
            event: vm_failure(vm, 191_400, 190_000, false),
        };
        let zone = TimeZone::posix("CST6").unwrap();
        assert_eq!(
            block(&record, &zone),
            "-----EVENT START-----\n\
             VM_FAILURE_DETECTED event has occurred. Details are as follows:\n\
             Event:             VM_FAILURE_DETECTED\n\
             Type:              Critical Error Event\n\
             Time:              Mon Feb 10 04:51:26 CST 2020\n\
             Entity Affected:   VM\n\
             Resource Affected: VM : ziti032 UUID 04E86341-E7C0-45DD-B903-CF9A1CEB7E2C\n\
             Description:       0000-187 VM: ziti032 failure detected. Silent on all its paths for 191 seconds, \
             VMFDT 190.\n\
             Event ID:          17\n\
             -----EVENT END-----\n"
        );
    }
}
