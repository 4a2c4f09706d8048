//! What a wire costs: frames a second and the time of one frame, through a wire without faults and over the same trunk without one.
//!
//! `cargo bench -p vmpulse-inject --bench wire`. Frames of 60 bytes over a veth pair in a network namespace of its own; needs what
//! `vmpulse-inject wire` needs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vmpulse_link::{FrameBuffer, FramePort};

const INSIDE: &str = "VMPULSE_BENCH_INSIDE";
/// Sent as fast as one thread can.
const FLOOD: usize = 300_000;
/// Sent one after the other.
const SINGLE: usize = 5_000;
/// Nothing comes any more.
const QUIET: Duration = Duration::from_millis(500);

fn main() {
    if std::env::var_os(INSIDE).is_none() {
        let mut again = Command::new("unshare");
        again.args(["-nmpf", "--kill-child", "--mount-proc"]).arg(std::env::current_exe().unwrap());
        assert!(
            again.env(INSIDE, "1").status().unwrap().success(),
            "it did not work in a namespace; are you root?"
        );
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    run("ip", "link add tk type veth peer name tk-hm");
    run("ip", "link set tk up");
    run("ip", "link set tk-hm up");
    let (from, to) = (FramePort::sender("tk", None).unwrap(), FramePort::open("tk-hm").unwrap());
    while single(&from, &to).is_none() {}
    let bare = measure("bare", &from, &to);
    let kit = |words: &str| {
        let place = format!("--state {0}/state --marker {0}/mark", folder.path().display());
        run(env!("CARGO_BIN_EXE_vmpulse-inject"), &format!("{place} {words}"))
    };
    kit("mark bench --target trunk:tk --yes");
    kit("wire on --group bench --trunk tk");
    let wired = measure("wire", &from, &to);
    print!("{}", kit("wire status"));
    kit("wire off");
    let back = measure("bare again", &from, &to);
    println!(
        "of the bare trunk's frames a second: {:.2}; a frame takes {:?} longer",
        wired.0 / bare.0.min(back.0),
        wired.1.saturating_sub(bare.1.min(back.1))
    );
}

/// Frames a second, and the median time of one.
fn measure(name: &str, from: &FramePort, to: &FramePort) -> (f64, Duration) {
    let mut times: Vec<Duration> = (0..SINGLE).filter_map(|_| single(from, to)).collect();
    times.sort_unstable();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let (rate, share) = flood(from, to);
    println!(
        "{name}: {:.0} frames/s ({:.0} % of those sent), one frame {median:?}, 99th of 100 {p99:?}",
        rate,
        share * 100.0
    );
    (rate, median)
}

fn single(from: &FramePort, to: &FramePort) -> Option<Duration> {
    let mut buffer = FrameBuffer::new();
    let start = Instant::now();
    from.send(&frame()).ok()?;
    while to.receive(&mut buffer).unwrap().is_none() {
        if start.elapsed() > QUIET {
            return None;
        }
    }
    Some(start.elapsed())
}

fn flood(from: &FramePort, to: &FramePort) -> (f64, f64) {
    let sending = AtomicBool::new(true);
    let (start, mut last, mut count) = (Instant::now(), Instant::now(), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..FLOOD).for_each(|_| drop(from.send(&frame())));
            sending.store(false, Ordering::Relaxed);
        });
        let mut buffer = FrameBuffer::new();
        while sending.load(Ordering::Relaxed) || last.elapsed() < QUIET {
            while to.receive(&mut buffer).unwrap().is_some() {
                count += 1;
                last = Instant::now();
            }
        }
    });
    (f64::from(count) / (last - start).as_secs_f64(), f64::from(count) / FLOOD as f64)
}

fn frame() -> Vec<u8> {
    [&[0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 0x88, 0xB5][..], &[0; 46]].concat()
}

fn run(program: &str, words: &str) -> String {
    let output = Command::new(program).args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
