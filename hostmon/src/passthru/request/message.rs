//! The application-report exchange, as people and scripts take part in it.

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::{
    AttentionTag, Message, MessagePage, MessageTag, MessageView, MessagesWanted, TransactionTag,
};

/// A step of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageRequest {
    /// VIO_HS_PUT_MSG.
    Put {
        /// Whose report is asked for.
        vm: VmUuid,
        /// Its doorbell is acknowledged as reported under this tag.
        acknowledge: Option<AttentionTag>,
    },
    /// VIO_HS_QUERY_MSG.
    List(MessagesWanted),
    /// VIO_HS_GET_MSG.
    Get(MessageTag),
    /// VIO_HS_ACK_MSG.
    Acknowledge(MessageTag),
    /// VIO_HS_SYNC_MSG: of this host monitor, or of all.
    Sync(Option<HostMonitorId>),
    /// VIO_HS_REMOVE_ALL_MSG: of these VMs, or of all.
    Remove(Option<Vec<VmUuid>>),
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageAnswer {
    /// The new exchange.
    Put(MessageView),
    /// Open exchanges.
    List(MessagePage),
    /// An exchange with its report.
    Got(Message),
    /// The report is taken.
    Acknowledged {
        /// Whether it was newer than what was there, and the applications are what it says.
        applied: bool,
        /// Why it cannot be read, if it cannot.
        unreadable: Option<String>,
    },
    /// Requests to host monitors.
    Synced(Vec<TransactionTag>),
    /// So many exchanges are ended.
    Removed(u64),
}
