//! Exit codes, the same for every program.

use std::process::ExitCode;

/// How a program ended. 0 to 2 are common usage, the rest are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done as asked.
    Done = 0,
    /// Understood, but it could not be done, or the answer is no.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// What it needs is not there: the daemon is not running.
    Unavailable = 69,
    /// The operating system refused something that should work.
    OsError = 71,
    /// It may work later.
    TempFail = 75,
    /// The caller is not allowed to do this.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl Exit {
    /// The number the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_sysexits() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Unavailable,
            Exit::OsError,
            Exit::TempFail,
            Exit::NoPermission,
            Exit::Config,
        ];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 69, 71, 75, 77, 78]);
    }
}
