//! Keys of guests, as their administrator hands them out: made of the seed, and of nothing else.

use std::collections::HashMap;

use vmpulse_protocol::auth::{Authentication, Key, KeyId, Mode};
use vmpulse_protocol::id::VmUuid;

use crate::event::Held;
use crate::names::Vm;
use crate::random::{entropy, stream};

/// What a host monitor reads when it starts: of every VM its key, without which none has a path.
pub(crate) fn of_monitor(seed: u64, vms: usize) -> HashMap<VmUuid, Authentication> {
    let of = |vm: Vm| Authentication::new(Mode::Required, key(seed, &vm.to_string()));
    (0..vms).map(Vm).map(|vm| (vm.uuid(), of(vm))).collect()
}

/// What an agent has in its key file; its mode is the one that is shipped.
pub(crate) fn of_agent(seed: u64, held: Held) -> Authentication {
    match held {
        Held::None => Authentication::new(Mode::Optional, []),
        Held::Wrong => Authentication::new(Mode::Optional, key(seed, "nobody")),
        Held::Of(vm) => Authentication::new(Mode::Optional, key(seed, &vm.to_string())),
    }
}

/// All have one id, so that a wrong one is not told from the right one by that.
fn key(seed: u64, of: &str) -> Option<(KeyId, Key)> {
    let bytes = entropy(&mut stream(seed, &format!("key of {of}")));
    KeyId::new(1).map(|id| (id, Key::from_bytes(bytes)))
}
