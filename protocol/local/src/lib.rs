//! What the daemons and their commands share on one machine.
//!
//! * [`exit`]: the exit codes of every program;
//! * [`logging`]: log lines on stderr, with a level that can change while running;
//! * [`lock`]: one daemon per name;
//! * [`clock`]: the clocks the drivers read, once per turn;
//! * [`command`]: the command socket between a daemon and its command.
//! * [`monitor_answer`]: what a host monitor answers when it is asked about one VM;
//! * [`settings`]: settings files, the same way for every program;
//! * [`errors`]: errors for people;
//! * [`keys`]: keys of VMs on disk;
//! * [`random`]: random numbers from the kernel;
//! * [`recorder`]: what a daemon's core was told, kept in a file that can be replayed.

pub mod clock;
pub mod command;
pub mod errors;
pub mod exit;
pub mod keys;
pub mod lock;
pub mod logging;
pub mod monitor_answer;
pub mod random;
pub mod recorder;
pub mod settings;
