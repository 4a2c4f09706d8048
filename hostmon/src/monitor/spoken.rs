//! How much guests say to the store.

use std::collections::HashMap;
use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

/// Messages of a VM for the store in a second. A guest needs a few a minute; one that talks without end would keep the
/// store writing, and each transaction waits for a disk. More is refused and comes again.
const MESSAGES_PER_SECOND: u8 = 16;
const SECOND: Duration = Duration::from_secs(1);

/// Messages of this second, by VM: only those that said something are here.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    since: Option<Instant>,
    messages: HashMap<VmUuid, u8>,
}

impl Spoken {
    /// Whether the VM may say something to the store now; counts it.
    pub(super) fn may_speak(&mut self, now: Instant, vm: VmUuid) -> bool {
        if self.since.is_none_or(|since| now.since(since) >= SECOND) {
            *self = Self { since: Some(now), messages: HashMap::new() };
        }
        let messages = self.messages.entry(vm).or_default();
        *messages = messages.saturating_add(1);
        *messages <= MESSAGES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_that_talks_without_end_is_held_back_and_no_other() {
        let [talker, other] = [1, 2].map(|byte| VmUuid::from_bytes([byte; 16]));
        let mut spoken = Spoken::default();
        let begin = Instant::from_millis(5000);
        let taken = (0..1000).filter(|_| spoken.may_speak(begin, talker)).count();
        assert_eq!(taken, usize::from(MESSAGES_PER_SECOND));
        assert!(spoken.may_speak(begin, other));
        assert!(spoken.may_speak(begin + SECOND, talker));
    }
}
