//! The store's requests in XML: what `hmmgr passthru` reads and writes.
//!
//! Three pure steps and one that calls the store: [`parse`] text to [`Request`], [`execute`] it, [`render`] the
//! [`Response`]. `docs/reference/requests.md` describes the XML.

mod execute;
mod parse;
mod render;
mod request;

pub use execute::execute;
pub use parse::{MAX_REQUEST_BYTES, parse};
pub use render::render;
pub use request::{
    Code, MessageAnswer, MessageRequest, QueryAnswer, QueryRequest, Refusal, Request, Response, Scope,
};

use vmpulse_protocol::id::HostMonitorId;
use vmpulse_store::{Store, StoreError};

/// Answers one request: the XML to write, and whether it is an answer rather than an error. `local` are the host
/// monitors of this machine, for LOCAL_DATA. The store is opened only for a request that is understood.
pub fn answer<S: AsMut<dyn Store>>(
    input: &[u8],
    local: &[HostMonitorId],
    open: impl FnOnce() -> Result<S, StoreError>,
) -> (String, bool) {
    let response = parse(input)
        .and_then(|request| Ok((request, open()?)))
        .and_then(|(request, mut store)| execute(store.as_mut(), &request, local));
    match response {
        Ok(response) => (render(&response), true),
        Err(refusal) => (render(&Response::Error(refusal)), false),
    }
}
