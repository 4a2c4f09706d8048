//! The crate against the test vectors in `testdata`, which another implementation made from `docs/protocol.md`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may panic, its helper functions too.

#[path = "vectors/authentication.rs"]
mod authentication;
#[path = "vectors/conversations.rs"]
mod conversations;
#[path = "vectors/ends.rs"]
mod ends;
#[path = "vectors/files.rs"]
mod files;
#[path = "vectors/packets.rs"]
mod packets;
#[path = "vectors/paths.rs"]
mod paths;
#[path = "vectors/payloads.rs"]
mod payloads;
