//! What a host monitor's status endpoint answers when it is asked about one VM. Pure; for both ends.
//!
//! The controller asks this before it acts: the store tells what was, this tells what is.

use serde::{Deserialize, Serialize};

/// What stands before the UUID in the target of a question about one VM.
pub const VM_TARGET: &str = "/vm/";

/// Most bytes of an answer about one VM: they have some 600, and a reason of at most 512 in a guest's words.
pub const VM_ANSWER_BYTES: usize = 16 << 10;

/// Whether a host monitor hears a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Hears {
    /// It beats.
    Heard,
    /// It was heard before and is silent for more than 1.9 intervals, and the monitor hears its trunk.
    Silent,
    /// Neither can be said, and that is never silence: see [`VmAnswer::state`].
    Unknown,
}

/// How a host monitor is, at the moment of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Its UUID.
    pub host_monitor: String,
    /// Its trunk adapter.
    pub trunk: String,
    /// This start of it, as its Hello says.
    pub incarnation: String,
    /// GLOBAL, LOCAL or DOWN.
    pub mode: String,
    /// Whether it hears its trunk: neither isolated nor blind.
    pub trunk_heard: bool,
    /// Its own adapter is down or away, or nothing at all passes the trunk: it accuses nobody.
    pub isolated: bool,
    /// It was late, or lost frames, for too long to say who is silent.
    pub blind: bool,
    /// It was taken out of the store: it monitors nobody, and what it says is ignored.
    #[serde(default)]
    pub removed: bool,
}

/// The answer to `GET /vm/UUID`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmAnswer {
    /// The monitor that answers.
    #[serde(flatten)]
    pub monitor: Condition,
    /// The VM that was asked about.
    pub vm: String,
    /// What it comes to.
    pub hears: Hears,
    /// In the words of `hmmgr status`; `NOT_KNOWN`: it has no path here and is none of this monitor's VMs.
    pub state: String,
    /// Age of the last heartbeat, in milliseconds, as of the answer; none before the first, and where none is wanted.
    pub last_heartbeat_age_ms: Option<u64>,
    /// Interval of its heartbeats, in milliseconds; none while none is wanted.
    pub interval_ms: Option<u64>,
    /// Its guardian beats, because its agent hangs or died.
    pub guardian: bool,
    /// How much longer its announced silence lasts, in milliseconds, if it announced one.
    pub quiet_left_ms: Option<u64>,
    /// Why it is suspended, if the store says so.
    pub suspended: Option<String>,
}

/// The answer to `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// It hears its trunk and works with the store, which has it.
    pub healthy: bool,
    /// How it is.
    #[serde(flatten)]
    pub monitor: Condition,
}

impl Health {
    /// What a condition comes to.
    #[must_use]
    pub fn of(monitor: Condition) -> Self {
        let healthy = monitor.trunk_heard && monitor.mode == "GLOBAL" && !monitor.removed;
        Self { healthy, monitor }
    }
}

/// An answer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The monitor said something else.
    #[error("the host monitor answered {code}: {text}")]
    Refused {
        /// The code of HTTP.
        code: u16,
        /// The start of what it said.
        text: String,
    },
    /// It is no such answer.
    #[error("the host monitor's answer is not understood")]
    NotUnderstood(#[from] serde_json::Error),
    /// It is about another VM.
    #[error("the host monitor answered about VM {about}")]
    AnotherVm {
        /// Which.
        about: String,
    },
}

/// The target of a question about a VM.
#[must_use]
pub fn vm_target(vm: &str) -> String {
    format!("{VM_TARGET}{vm}")
}

impl VmAnswer {
    /// Reads the answer to a question about `vm`: its code and its body.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn read(vm: &str, code: u16, body: &[u8]) -> Result<Self, AnswerError> {
        if code != 200 {
            let text = String::from_utf8_lossy(body).trim().chars().take(200).collect();
            return Err(AnswerError::Refused { code, text });
        }
        let answer: Self = serde_json::from_slice(body)?;
        if !answer.vm.eq_ignore_ascii_case(vm) {
            return Err(AnswerError::AnotherVm { about: answer.vm });
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";

    fn answer() -> VmAnswer {
        VmAnswer {
            monitor: Condition {
                host_monitor: "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83".to_owned(),
                trunk: "trunkA-hm".to_owned(),
                incarnation: "x".to_owned(),
                mode: "GLOBAL".to_owned(),
                trunk_heard: true,
                isolated: false,
                blind: false,
                removed: false,
            },
            vm: VM.to_owned(),
            hears: Hears::Silent,
            state: "MISSING".to_owned(),
            last_heartbeat_age_ms: Some(19_500),
            interval_ms: Some(10_000),
            guardian: false,
            quiet_left_ms: None,
            suspended: None,
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written_and_is_flat() {
        let text = serde_json::to_string(&answer()).unwrap();
        assert!(text.contains(r#""hears":"SILENT""#) && text.starts_with(r#"{"host_monitor""#), "{text}");
        assert_eq!(VmAnswer::read(&VM.to_uppercase(), 200, text.as_bytes()).unwrap(), answer());
        // A newer monitor may say more.
        let more = text.replacen('{', r#"{"new":1,"#, 1);
        assert_eq!(VmAnswer::read(VM, 200, more.as_bytes()).unwrap(), answer());
        // And an older one less.
        let less = text.replacen(r#","removed":false"#, "", 1);
        assert_ne!(less, text);
        assert_eq!(VmAnswer::read(VM, 200, less.as_bytes()).unwrap(), answer());
    }

    #[test]
    fn who_was_taken_out_is_not_healthy() {
        let well = answer().monitor;
        assert!(Health::of(well.clone()).healthy);
        for sick in [
            Condition { removed: true, ..well.clone() },
            Condition { trunk_heard: false, ..well.clone() },
            Condition { mode: "LOCAL".to_owned(), ..well },
        ] {
            assert!(!Health::of(sick.clone()).healthy, "{sick:?}");
        }
    }

    #[test]
    fn whatever_is_no_answer_about_this_vm_is_refused() {
        let text = serde_json::to_string(&answer()).unwrap();
        let other = "00000000-0000-4000-8000-000000000001";
        assert!(matches!(VmAnswer::read(other, 200, text.as_bytes()), Err(AnswerError::AnotherVm { .. })));
        assert!(matches!(VmAnswer::read(VM, 200, b"{}"), Err(AnswerError::NotUnderstood(_))));
        let refused = VmAnswer::read(VM, 503, b"{\"error\":\"busy\"}\n").unwrap_err();
        assert_eq!(refused.to_string(), "the host monitor answered 503: {\"error\":\"busy\"}");
    }
}
