//! The programs the lab uses and the packages they come from.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::Lab;
use crate::process::{Place, run};

/// What the lab was asked to do; not everything needs everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Worlds with daemons and real guests.
    Worlds,
    /// As above, and what scenarios look at them with.
    Scenarios,
    /// As above, and formatting, lints and tests too.
    Verify,
}

/// A program or file, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tool {
    /// What is looked for.
    pub(crate) name: &'static str,
    /// The Debian and Ubuntu package, or `rustup:COMPONENT`.
    pub(crate) package: &'static str,
    /// What it is for.
    pub(crate) why: &'static str,
}

const PROGRAMS: [Tool; 10] = [
    Tool { name: "ip", package: "iproute2", why: "network namespaces, trunks and adapters" },
    Tool { name: "nft", package: "nftables", why: "policing of trunks in the kernel" },
    Tool { name: "unshare", package: "util-linux", why: "namespaces that end by themselves" },
    Tool { name: "nsenter", package: "util-linux", why: "commands inside a guest" },
    Tool { name: "setpriv", package: "util-linux", why: "processes that end with the lab" },
    Tool { name: "mount", package: "mount", why: "private folders of a guest" },
    Tool { name: "cc", package: "gcc", why: "links the programs" },
    Tool { name: "apt-cache", package: "apt", why: "finds the guest's kernel" },
    Tool { name: "dpkg-deb", package: "dpkg", why: "unpacks the guest's kernel" },
    EMULATOR,
];

#[cfg(target_arch = "x86_64")]
const EMULATOR: Tool =
    Tool { name: "qemu-system-x86_64", package: "qemu-system-x86", why: "runs the real guest" };
#[cfg(target_arch = "aarch64")]
const EMULATOR: Tool =
    Tool { name: "qemu-system-aarch64", package: "qemu-system-arm", why: "runs the real guest" };
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the lab knows guests of x86_64 and aarch64 only");

const STATIC_LIBC: Tool =
    Tool { name: "libc.a", package: "libc6-dev", why: "the agent is linked statically" };
const RUSTFMT: Tool = Tool { name: "cargo fmt", package: "rustup:rustfmt", why: "checks the formatting" };
const CLIPPY: Tool = Tool { name: "cargo clippy", package: "rustup:clippy", why: "lints" };
const ZSTD: Tool = Tool { name: "zstd", package: "zstd", why: "unpacks Ubuntu's kernel modules" };

const CPLUSPLUS: Tool = Tool { name: "c++", package: "g++", why: "links the fuzz targets" };

const DATABASE: Tool =
    Tool { name: "initdb", package: "postgresql", why: "a PostgreSQL server of the tests' own" };

const ANALYSER: Tool = Tool { name: "tshark", package: "tshark", why: "reads captures with our dissector" };

/// What looks at what others are given: a status endpoint, snippets.
const ASKERS: [Tool; 4] = [
    Tool {
        name: "virt-xml-validate",
        package: "libvirt-clients",
        why: "libvirt's schema, against which snippets are held",
    },
    Tool { name: "xmllint", package: "libxml2-utils", why: "libvirt's schema" },
    Tool { name: "curl", package: "curl", why: "asks the status endpoint" },
    Tool { name: "openssl", package: "openssl", why: "certificates of the status endpoint" },
];

/// Applications that scenarios supervise in a guest, by a file of theirs. None of them brings a service but PostgreSQL,
/// for which the distribution makes a cluster of its own; scenarios touch neither that nor its port.
const SUPERVISED: [Tool; 4] = [
    Tool {
        name: "/usr/lib/ocf/resource.d/heartbeat/Dummy",
        package: "resource-agents",
        why: "applications of type OCF",
    },
    Tool {
        name: "/usr/lib/nagios/plugins/check_tcp",
        package: "monitoring-plugins-basic",
        why: "applications of type NAGIOS",
    },
    Tool {
        name: "/usr/bin/systemd-nspawn",
        package: "systemd-container",
        why: "a systemd of its own for applications of type SYSTEMD",
    },
    Tool { name: "/usr/sbin/apache2", package: "apache2-bin", why: "a web server that is supervised" },
];

const POSTGRESQL: Tool = Tool {
    name: "initdb",
    package: "postgresql",
    why: "a database that is supervised, killed and brought back",
};

/// Where the distribution keeps one version of PostgreSQL each, below it `VERSION/bin`.
const POSTGRESQL_VERSIONS: &str = "/usr/lib/postgresql";

/// The folder of PostgreSQL's programs, of one version if there are several.
pub(crate) fn postgresql_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(POSTGRESQL_VERSIONS).into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    folders.filter(|folder| folder.join(POSTGRESQL.name).is_file()).max()
}

/// Everything that is needed and not there, each package once.
pub(crate) fn missing(purpose: Purpose) -> Lab<Vec<Tool>> {
    let mut tools: Vec<Tool> = PROGRAMS.iter().filter(|tool| !on_path(tool.name)).cloned().collect();
    if !has_static_libc()? {
        tools.push(STATIC_LIBC);
    }
    if is_ubuntu() && !on_path("zstd") {
        tools.push(ZSTD);
    }
    if purpose != Purpose::Worlds {
        tools.extend(ASKERS.into_iter().filter(|tool| !on_path(tool.name)));
        tools.extend([ANALYSER].into_iter().filter(|tool| !on_path(tool.name)));
        tools.extend([DATABASE].into_iter().filter(|_| !vmpulse_test_postgres::is_installed()));
    }
    if purpose != Purpose::Worlds {
        tools.extend(SUPERVISED.into_iter().filter(|tool| !Path::new(tool.name).is_file()));
        tools.extend([POSTGRESQL].into_iter().filter(|_| postgresql_programs().is_none()));
    }
    if purpose == Purpose::Verify {
        tools.extend([CPLUSPLUS].into_iter().filter(|tool| !on_path(tool.name)));
        tools.extend([RUSTFMT, CLIPPY].into_iter().filter(|tool| !cargo_has(tool.name)));
    }
    tools.dedup_by_key(|tool| tool.package);
    Ok(tools)
}

/// Whether a program is found on the search path, or where the system keeps its own.
pub(crate) fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}

/// The name of the emulator for guests of this machine's kind.
pub(crate) fn emulator() -> &'static str {
    EMULATOR.name
}

/// Whether this is an Ubuntu, whose kernel packages are named and packed differently.
pub(crate) fn is_ubuntu() -> bool {
    std::fs::read_to_string("/etc/os-release")
        .is_ok_and(|text| text.lines().any(|line| line == "ID=ubuntu" || line == "ID=\"ubuntu\""))
}

fn has_static_libc() -> Lab<bool> {
    if !on_path("cc") {
        return Ok(false);
    }
    let mut command = Place::Here.command("cc");
    command.arg("-print-file-name=libc.a");
    // The compiler repeats the bare name when it knows no such file.
    Ok(Path::new(run(command)?.stdout.trim()).is_absolute())
}

fn cargo_has(subcommand: &str) -> bool {
    let mut words = subcommand.split(' ');
    let mut command = Place::Here.command(words.next().unwrap_or("cargo"));
    command.args(words).arg("--version");
    run(command).is_ok_and(|said| said.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_every_system_has_and_misses_what_none_has() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program-anywhere"));
    }
}
