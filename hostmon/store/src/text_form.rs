//! Identities in serialised form: as text, as people know them.

/// For `#[serde(with = "uuid")]`.
pub(crate) mod uuid {
    use serde::{Deserialize, Deserializer, Serializer};
    use vmpulse_protocol::id::VmUuid;

    pub(crate) fn serialize<S: Serializer>(vm: &VmUuid, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(vm)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<VmUuid, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
