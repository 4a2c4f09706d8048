//! Kernels that die and hang, as far as files stand for them; a real one does it in the lab.

use vmpulse_inject::process::Life;
use vmpulse_inject::wait;

use super::{GROUP, Machine, said};

impl Machine {
    /// A virtual machine with files in the place of its kernel's.
    fn with_kernel() -> Machine {
        let machine = Machine::marked(&[]);
        machine.write("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor sse\n");
        machine.write("proc/sysrq-trigger", "");
        machine.write("proc/sys/kernel/panic", "30\n");
        machine.write("proc/sys/kernel/sched_rt_runtime_us", "950000\n");
        machine
    }

    fn file(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap().trim().to_owned()
    }
}

#[test]
fn a_crash_is_ordered_after_the_answer_and_the_kernel_is_told_to_stay_dead() {
    let machine = Machine::with_kernel();
    assert_eq!(machine.on("vm-crash", &["--seconds", "1"]), "made");
    assert_eq!(
        (machine.file("proc/sys/kernel/panic").as_str(), machine.file("proc/sysrq-trigger").as_str()),
        ("0", "")
    );
    wait::until("the order to crash", wait::SOON, || Ok(machine.file("proc/sysrq-trigger") == "c")).unwrap();
    // This kernel survives it: what was set is put back.
    assert_eq!(machine.off("vm-crash"), "undone");
    assert_eq!(machine.file("proc/sys/kernel/panic"), "30");
}

#[test]
fn a_crash_that_has_not_come_can_be_called_off() {
    let machine = Machine::with_kernel();
    assert_eq!(machine.on("vm-crash", &["--seconds", "600"]), "made");
    assert_eq!(machine.on("vm-crash", &["--seconds", "600"]), "already-on");
    // What was asked for is not what is on.
    let said = machine.fails(&["vm-crash", "on", "--group", GROUP], 77);
    assert!(said.contains("other options"), "{said}");
    assert_eq!(machine.off("vm-crash"), "undone");
    assert_eq!(
        (machine.file("proc/sys/kernel/panic").as_str(), machine.file("proc/sysrq-trigger").as_str()),
        ("30", "")
    );
}

#[test]
fn what_a_kernel_cannot_do_is_unsupported_and_nothing_is_begun() {
    let machine = Machine::with_kernel();
    let said = machine.fails(&["vm-hang", "on", "--group", GROUP, "--way", "kdb"], 69);
    assert!(said.contains("no debugger"), "{said}");
    std::fs::remove_file(machine.path("proc/sysrq-trigger")).unwrap();
    assert!(machine.fails(&["vm-crash", "on", "--group", GROUP], 69).contains("sysrq"));
    assert!(!machine.state_file("vm-crash").exists() && !machine.state_file("vm-hang").exists());
}

#[test]
fn where_nothing_may_run_in_real_time_nothing_spins() {
    let machine = Machine::with_kernel();
    let words = ["vm-hang", "on", "--group", GROUP, "--way", "spin", "--seconds", "1"];
    let inject = machine.command(&words);
    let mut command = std::process::Command::new("setpriv");
    // Root without the capability is as a control group without the budget.
    if nix::unistd::Uid::effective().is_root() {
        command.args(["--bounding-set", "-sys_nice", "--inh-caps", "-sys_nice"]);
    }
    let output = command.arg(inject.get_program()).args(inject.get_args()).output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(said(&output).contains("real time") && !machine.state_file("vm-hang").exists());
    assert_eq!(machine.file("proc/sys/kernel/sched_rt_runtime_us"), "950000");
}

#[test]
fn a_crash_kernel_and_a_machine_that_is_no_vm_are_reasons_not_to() {
    let machine = Machine::with_kernel();
    machine.write("sys/kernel/kexec_crash_loaded", "1\n");
    assert!(machine.fails(&["vm-crash", "on", "--group", GROUP], 1).contains("kdump"));
    machine.write("proc/cpuinfo", "flags\t\t: fpu sse\n");
    for class in ["vm-crash", "vm-hang"] {
        assert!(machine.fails(&[class, "on", "--group", GROUP], 77).contains("--yes-really"));
    }
    assert_eq!(machine.file("proc/sys/kernel/panic"), "30");
}

#[test]
fn a_debugger_stops_the_kernel_where_there_is_one() {
    let machine = Machine::with_kernel();
    machine.write("sys/module/kgdboc/parameters/kgdboc", "\n");
    assert!(machine.fails(&["vm-hang", "on", "--group", GROUP, "--way", "kdb"], 69).contains("console"));
    machine.write("sys/module/kgdboc/parameters/kgdboc", "ttyS0\n");
    assert_eq!(machine.on("vm-hang", &["--way", "kdb"]), "made");
    wait::until("the order to stop", wait::SOON, || Ok(machine.file("proc/sysrq-trigger") == "g")).unwrap();
    assert_eq!(machine.off("vm-hang"), "undone");
}

#[test]
fn a_host_is_switched_off_only_where_the_mark_says_so() {
    let mut machine = Machine::with_kernel();
    let monitor = machine.daemon("vmpulse-hostmond", "hostmon-trunkA.lock");
    let said = machine.fails(&["host", "on", "--group", GROUP, "--power-off"], 77);
    assert!(said.contains("--target host:power-off"), "{said}");
    assert_eq!((monitor.life(), machine.file("proc/sysrq-trigger").as_str()), (Life::Running, ""));
    machine.does(&["mark", GROUP, "--yes", "--target", "host:power-off"]);
    assert_eq!(machine.on("host", &["--power-off"]), "made");
    wait::until("the order to switch off", wait::SOON, || Ok(machine.file("proc/sysrq-trigger") == "o"))
        .unwrap();
    // This machine survives it.
    assert_eq!(machine.off("host"), "undone");
    assert_eq!(monitor.life(), Life::Running);
}

#[test]
fn every_process_of_a_guest_is_stopped_and_only_those_run_on() {
    let machine = Machine::with_kernel();
    let words = ["vm-hang", "on", "--group", GROUP, "--way", "stop", "--seconds", "2"];
    let inject = machine.command(&words);
    let told = machine.path("run/vmpulse-inject/vm-hang.stopped");
    // A process namespace is all that the injector sees of this machine. The shell is its first process, which cannot be stopped, and
    // starts nothing while the others stand still.
    let script = r#"
        told=$1; shift
        state() { read -r _ _ state _ < /proc/$1/stat; [ $state = T ] && echo stands || echo runs; }
        until_stopped() { while read -r _ _ state _ < /proc/$1/stat; [ $state != T ]; do :; done; }
        sleep 600 & ours=$!; sleep 600 & other=$!; kill -STOP $other; until_stopped $other
        "$@" || exit 1
        until_stopped $ours; echo stopped
        while [ -e "$told" ]; do :; done
        echo $(state $ours) $(state $other)
    "#;
    let mut command = std::process::Command::new("timeout");
    command.args([
        "60",
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command.args(["sh", "-c", script, "sh"]).arg(told).arg(inject.get_program()).args(inject.get_args());
    let said = said(&command.output().unwrap());
    assert!(said.ends_with("stopped\nruns stands\n"), "{said}");
}
