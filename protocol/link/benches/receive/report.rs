//! The figures, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

/// One measurement. Times of the receiver's thread are those of the measured seconds; frames are counted from start to
/// end, warming up and draining included.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) method: String,
    /// Frames per second asked of the sender.
    pub(crate) rate: String,
    pub(crate) seconds: f64,
    pub(crate) received_per_second: f64,
    pub(crate) cpu_us_per_frame: f64,
    pub(crate) user_us_per_frame: f64,
    pub(crate) system_us_per_frame: f64,
    /// Of one core.
    pub(crate) cpu_percent: f64,
    /// The receiver's core, whatever ran there.
    pub(crate) core_busy_percent: f64,
    /// The part of it that handled interrupts.
    pub(crate) core_interrupts_percent: f64,
    pub(crate) wakeups_per_second: f64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Counted by the kernel for the receiver.
    pub(crate) dropped: u64,
    /// Neither received nor counted.
    pub(crate) lost_elsewhere: u64,
    pub(crate) freezes: u64,
    /// Sender and the kernel's part of delivering.
    pub(crate) sender_us_per_frame: f64,
}

/// The one in the middle by CPU time.
pub(crate) fn median(mut rows: Vec<Row>) -> Option<Row> {
    rows.sort_by(|one, other| one.cpu_us_per_frame.total_cmp(&other.cpu_us_per_frame));
    let middle = rows.len() / 2;
    rows.into_iter().nth(middle)
}

#[derive(Serialize)]
struct Report<'a> {
    kernel: String,
    load_average: String,
    /// The kernel's part of receiving was done on the receiver's core.
    one_core: bool,
    rows: &'a [Row],
}

pub(crate) fn print(output: Output, one_core: bool, rows: &[Row]) -> io::Result<()> {
    let read = |path| std::fs::read_to_string(path).map(|text: String| text.trim().to_owned());
    let (kernel, load_average) = (read("/proc/sys/kernel/osrelease")?, read("/proc/loadavg")?);
    let mut out = io::stdout().lock();
    match output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, &Report { kernel, load_average, one_core, rows })?;
            writeln!(out)
        }
        Output::Table => {
            let place = if one_core { "receiver's" } else { "sender's" };
            writeln!(
                out,
                "Linux {kernel}, load average at the end {load_average}; the kernel delivers on the {place} core"
            )?;
            table(&mut out, rows)
        }
    }
}

fn table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    writeln!(
        out,
        "{:>7} {:<18} {:>9} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8} {:>6} {:>7} {:>8}",
        "rate",
        "method",
        "frames/s",
        "CPU us/f",
        "user",
        "system",
        "CPU %",
        "core %",
        "irq %",
        "wakes/s",
        "dropped",
        "lost",
        "freezes",
        "sender us",
    )?;
    let mut rate = None;
    for row in rows {
        if rate.is_some_and(|rate| rate != &row.rate) {
            writeln!(out)?;
        }
        rate = Some(&row.rate);
        writeln!(
            out,
            "{:>7} {:<18} {:>9.0} {:>8.3} {:>7.3} {:>7.3} {:>7.2} {:>7.1} {:>7.1} {:>8.0} {:>8} {:>6} {:>7} {:>8.2}",
            row.rate,
            row.method,
            row.received_per_second,
            row.cpu_us_per_frame,
            row.user_us_per_frame,
            row.system_us_per_frame,
            row.cpu_percent,
            row.core_busy_percent,
            row.core_interrupts_percent,
            row.wakeups_per_second,
            row.dropped,
            row.lost_elsewhere,
            row.freezes,
            row.sender_us_per_frame,
        )?;
    }
    Ok(())
}
