//! A namespace for each test, and a pair of connected adapters in it.

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::time::Duration;

use vmpulse_link::{Link, LinkConfig, LinkError, MacAddr, PacketSocket, ReceiveBuffer};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "VMPULSE_TEST_INSIDE";
/// Reached only if something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a test that runs inside a network namespace, optionally behind a wrapper command.
macro_rules! namespace_test {
    ($([$($wrapper:literal),+])? $(#[$attribute:meta])* async fn $name:ident() $body:block) => {
        #[test]
        $(#[$attribute])*
        fn $name() {
            let wrapper: &[&str] = &[$($($wrapper),+)?];
            let path = concat!(module_path!(), "::", stringify!($name));
            $crate::harness::run(path, wrapper, async move || $body);
        }
    };
}
pub(crate) use namespace_test;

/// Runs `body` if we are inside, else the same test again inside. `path` starts with the name of the test program.
pub(crate) fn run(path: &str, wrapper: &[&str], body: impl AsyncFnOnce()) {
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(body());
    }
    let unshare = match unshare_flags() {
        Ok(flags) => flags,
        Err(reason) => {
            eprintln!("SKIPPED {name}: the kernel refuses network namespaces here: {reason}");
            return;
        }
    };
    let program = std::env::current_exe().unwrap();
    let arguments = [program.as_os_str(), OsStr::new(name), OsStr::new("--exact"), OsStr::new("--nocapture")];
    let output = Command::new("unshare")
        .arg(unshare)
        .args(wrapper)
        .args(arguments)
        .env(INSIDE, "1")
        .output()
        .unwrap_or_else(|error| panic!("cannot run unshare (package util-linux): {error}"));
    let text = both(&output);
    assert!(output.status.success() && text.contains("1 passed"), "inside the namespace:\n{text}");
}

/// As root without a user namespace, else with one.
fn unshare_flags() -> Result<&'static str, String> {
    let mut reasons = String::new();
    for flags in ["-nm", "-Urnm"] {
        match Command::new("unshare").args([flags, "true"]).output() {
            Ok(output) if output.status.success() => return Ok(flags),
            Ok(output) => reasons.push_str(&both(&output)),
            Err(error) => panic!("cannot run unshare (package util-linux): {error}"),
        }
    }
    Err(reasons)
}

fn both(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Runs one `ip` command.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run ip (package iproute2): {error}"));
    assert!(output.status.success(), "ip {arguments}: {}", both(&output));
}

/// Two connected adapters, `va` and `vb`, with a link on each.
pub(crate) struct Wire {
    pub(crate) a: PacketSocket,
    pub(crate) b: PacketSocket,
}

impl Wire {
    pub(crate) async fn new() -> Self {
        ip("link add va type veth peer name vb");
        ip("link set va up");
        ip("link set vb up");
        let wire = Self { a: open(&config("va")), b: open(&config("vb")) };
        Self::settle(&wire.a, &wire.b).await;
        Self::settle(&wire.b, &wire.a).await;
        wire
    }

    /// Waits until frames pass: a new adapter swallows the first ones. Leaves nothing in the receiver's queue.
    pub(crate) async fn settle(from: &PacketSocket, to: &PacketSocket) {
        eventually("a new wire carries frames", || {
            let _ = from.send(to.mac(), None, b"settle");
            matches!(try_next(to), Ok(Some(_)))
        })
        .await;
        from.send(to.mac(), None, b"settled").unwrap();
        while !next(to).await.payload.starts_with(b"settled") {}
    }
}

pub(crate) fn config(interface: &str) -> LinkConfig {
    LinkConfig::new(interface)
}

pub(crate) fn open(config: &LinkConfig) -> PacketSocket {
    PacketSocket::open(config).unwrap()
}

/// A received frame that outlives the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) source: MacAddr,
    pub(crate) destination: MacAddr,
    pub(crate) vlan: Option<u16>,
    pub(crate) stamp: Option<Duration>,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn take(link: &dyn Link) -> Result<Option<Frame>, LinkError> {
    let mut buffer = ReceiveBuffer::new();
    Ok(link.receive(&mut buffer)?.map(|frame| Frame {
        source: frame.source,
        destination: frame.destination,
        vlan: frame.vlan,
        stamp: frame.stamp,
        payload: frame.payload.to_vec(),
    }))
}

pub(crate) fn try_next(socket: &PacketSocket) -> Result<Option<Frame>, LinkError> {
    take(socket)
}

/// The next frame, waited for.
pub(crate) async fn next(socket: &PacketSocket) -> Frame {
    wait(socket).await.unwrap_or_else(|error| panic!("an error instead of a frame: {error}"))
}

/// The next error, waited for.
pub(crate) async fn next_error(socket: &PacketSocket) -> LinkError {
    match wait(socket).await {
        Ok(frame) => panic!("a frame instead of an error: {frame:?}"),
        Err(error) => error,
    }
}

async fn wait(socket: &PacketSocket) -> Result<Frame, LinkError> {
    let wait = async {
        loop {
            socket.readable().await?;
            if let Some(frame) = try_next(socket)? {
                return Ok(frame);
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("nothing on {}", socket.interface()))
}

/// Tries until it is so.
pub(crate) async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let trying = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
