//! VMs: a shell under an emulator's name, and a guest made of namespaces.

use std::path::Path;
use std::process::{Command, Stdio};

use vmpulse_inject::process::{Life, Process};
use vmpulse_inject::wait;

use super::{GROUP, Machine, copy_as};

impl Machine {
    fn vm(&mut self, name: &str, uuid: &str) -> Process {
        let file = copy_as(Path::new("/bin/sh"), self.path("bin/qemu-system-test"));
        let mut command = Command::new(file);
        // Waits for a line that never comes.
        command.args(["-c", "read line", "-name", &format!("guest={name},debug-threads=on"), "-uuid", uuid]);
        let child = command.stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        self.children.push(child);
        process
    }
}

#[test]
fn a_vm_of_the_group_stands_still_and_goes_on() {
    let mut machine = Machine::marked(&["domain:inject-test-1"]);
    let vm = machine.vm("inject-test-1", "7e57ab1e-0001-4000-8000-0000000000f1");
    let other = machine.vm("inject-test-2", "7e57ab1e-0001-4000-8000-0000000000f2");
    let said = machine.fails(&["vm-freeze", "on", "--group", GROUP, "--domain", "inject-test-2"], 77);
    assert!(said.contains("--target domain:inject-test-2"), "{said}");
    assert_eq!(machine.on("vm-freeze", &["--domain", "inject-test-1"]), "made");
    assert_eq!((vm.life(), other.life()), (Life::Stopped, Life::Running));
    assert_eq!(machine.off("vm-freeze"), "undone");
    assert_eq!(vm.life(), Life::Running);
}

#[test]
fn what_somebody_else_has_stopped_is_left_to_him() {
    let mut machine = Machine::marked(&["domain:inject-test-3"]);
    let vm = machine.vm("inject-test-3", "7e57ab1e-0001-4000-8000-0000000000f3");
    vm.stop().unwrap();
    machine.fails(&["vm-freeze", "on", "--group", GROUP, "--domain", "inject-test-3"], 1);
    assert_eq!(machine.off("vm-freeze"), "already-off");
    assert_eq!(vm.life(), Life::Stopped);
}

#[test]
fn a_host_stands_still_with_its_monitors_and_the_vms_of_the_mark() {
    let mut machine = Machine::marked(&["domain:inject-test-4"]);
    let vm = machine.vm("inject-test-4", "7e57ab1e-0001-4000-8000-0000000000f4");
    let monitor = machine.daemon("vmpulse-hostmond", "hostmon-trunkA.lock");
    assert_eq!(machine.on("host", &[]), "made");
    assert_eq!((vm.life(), monitor.life()), (Life::Stopped, Life::Stopped));
    // Half of it was undone by hand: neither on nor off.
    vm.resume().unwrap();
    assert_eq!(machine.status("host"), "partly");
    machine.fails(&["host", "on", "--group", GROUP], 1);
    assert_eq!(machine.off("host"), "undone");
    assert_eq!((vm.life(), monitor.life()), (Life::Running, Life::Running));
}

#[test]
fn a_guest_made_of_namespaces_stands_still_whole() {
    let mut machine = Machine::marked(&[]);
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        "sleep 600 & wait",
    ]);
    let keeper = command.spawn().unwrap();
    let keeper_pid = i32::try_from(keeper.id()).unwrap();
    machine.children.push(keeper);
    let mut init = None;
    wait::until("the guest runs", wait::SOON, || {
        let all = vmpulse_inject::process::all();
        init = all.iter().copied().find(|one| one.parent() == Some(keeper_pid));
        Ok(init.is_some_and(|init| all.iter().any(|one| one.parent() == Some(init.pid))))
    })
    .unwrap();
    let init = init.unwrap();
    let file = machine.path("run/guest.pid").display().to_string();
    machine.write("run/guest.pid", &init.pid.to_string());
    machine.fails(&["vm-freeze", "on", "--group", GROUP, "--guest-pid-file", &file], 77);
    machine.does(&["mark", GROUP, "--yes", "--target", &format!("guest-pid-file:{file}")]);
    assert_eq!(machine.on("vm-freeze", &["--guest-pid-file", &file]), "made");
    assert_eq!(init.life(), Life::Stopped);
    assert_eq!(machine.off("vm-freeze"), "undone");
    assert_eq!(init.life(), Life::Running);
    // Another process of the guest is not its first, and a file that is older than the guest tells of another one.
    let second =
        vmpulse_inject::process::all().into_iter().find(|one| one.parent() == Some(init.pid)).unwrap();
    machine.write("run/guest.pid", &second.pid.to_string());
    let said = machine.fails(&["vm-freeze", "on", "--group", GROUP, "--guest-pid-file", &file], 77);
    assert!(said.contains("not the first"), "{said}");
    machine.write("run/guest.pid", &init.pid.to_string());
    let written = std::fs::File::options().write(true).open(&file).unwrap();
    written.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1)).unwrap();
    let said = machine.fails(&["vm-freeze", "on", "--group", GROUP, "--guest-pid-file", &file], 77);
    assert!(said.contains("began after"), "{said}");
    assert_eq!(init.life(), Life::Running);
    // This machine itself is no guest.
    machine.write("run/guest.pid", &std::process::id().to_string());
    machine.fails(&["vm-freeze", "on", "--group", GROUP, "--guest-pid-file", &file], 77);
}

#[test]
fn a_vm_that_was_destroyed_while_it_stood_still_is_over() {
    let mut machine = Machine::marked(&["domain:inject-test-5", "domain:inject-test-6"]);
    let vm = machine.vm("inject-test-5", "7e57ab1e-0001-4000-8000-0000000000f5");
    let other = machine.vm("inject-test-6", "7e57ab1e-0001-4000-8000-0000000000f6");
    let monitor = machine.daemon("vmpulse-hostmond", "hostmon-trunkA.lock");
    assert_eq!(machine.on("host", &[]), "made");
    vm.kill().unwrap();
    // The others still stand.
    assert_eq!(machine.status("host"), "partly");
    assert_eq!(machine.off("host"), "undone");
    assert_eq!((other.life(), monitor.life()), (Life::Running, Life::Running));
    assert_eq!(machine.on("vm-freeze", &["--domain", "inject-test-6"]), "made");
    other.kill().unwrap();
    assert_eq!(machine.status("vm-freeze"), "passed");
    assert_eq!(machine.off("vm-freeze"), "undone");
    assert!(!machine.state_file("vm-freeze").exists());
}
