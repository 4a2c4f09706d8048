//! `hmmgr`: asks the host monitors of this machine, and the health store.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmpulse_hostmon::hmmgr::main().into()
}
