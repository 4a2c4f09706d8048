//! Whose an endpoint or a disk is. The kit sees an address or a device; which events its failure brings only the operator knows.

use clap::Arg;
use serde::{Deserialize, Serialize};

use crate::class::Expected;
use crate::classes::events;
use crate::error::{Inject, InjectError};
use crate::options::{Options, value};

/// The option, of classes and of `watch`.
pub const OPTION: &str = "whose";
/// Every word of it.
pub const WORDS: [&str; 5] = ["store", "store-of-monitors", "store-of-controller", "guest", "other"];

/// What a broken store brings, and who has to be without it: all of them are told when it is back.
pub const STORE: &[Expected] = &[events::MODE_LOCAL, events::MODE_GLOBAL, events::STORE_BACK];
const STORE_OF_MONITORS: &[Expected] = &[events::MODE_LOCAL, events::MODE_GLOBAL];
const STORE_OF_CONTROLLER: &[Expected] = &[events::STORE_BACK];

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// The health store's, for host monitors and the controller.
    Store,
    /// The health store's, for the host monitors of this machine; the controller reaches it.
    StoreOfMonitors,
    /// The health store's, for the controller; host monitors reach it.
    StoreOfController,
    /// Of applications in a guest: they are judged by their own monitors.
    Guest,
    /// Of a hypervisor, of storage: the product asks nothing of it.
    Other,
}

impl Whose {
    /// By its word.
    #[must_use]
    pub fn of(word: &str) -> Option<Whose> {
        serde_json::from_value(word.into()).ok()
    }

    /// As the option says.
    #[must_use]
    pub fn told(options: &Options) -> Option<Whose> {
        options.text(OPTION).as_deref().and_then(Whose::of)
    }

    /// What comes of it.
    #[must_use]
    pub const fn expected(self) -> &'static [Expected] {
        match self {
            Whose::Store => STORE,
            Whose::StoreOfMonitors => STORE_OF_MONITORS,
            Whose::StoreOfController => STORE_OF_CONTROLLER,
            Whose::Guest | Whose::Other => &[],
        }
    }
}

/// What comes of it, if somebody said whose it is.
///
/// # Errors
/// `Usage` if nobody did.
pub fn expected(whose: Option<Whose>) -> Inject<&'static [Expected]> {
    whose.map(Whose::expected).ok_or_else(|| {
        InjectError::Usage(
            "which events come depends on whose it is: --expect needs --whose, which is given to `on` (or `watch`). Nothing was touched."
                .to_owned(),
        )
    })
}

/// The option with the words that a class knows.
#[must_use]
pub fn argument(words: &'static [&'static str]) -> Arg {
    let help = "for --expect: whose it is. store: the health store's, for host monitors and the controller; \
        store-of-monitors, store-of-controller: for these alone; guest, other: nothing of the product's asks it";
    value(OPTION, "WHOSE", help).value_parser(clap::builder::PossibleValuesParser::new(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_somebody_and_only_a_store_brings_events() {
        for word in WORDS {
            let whose = Whose::of(word).unwrap();
            assert_eq!(!whose.expected().is_empty(), word.starts_with("store"), "{word}");
        }
        assert_eq!(Whose::of("nobody"), None);
        assert!(matches!(expected(None), Err(InjectError::Usage(_))));
        assert_eq!(expected(Some(Whose::StoreOfController)).unwrap()[0].event, "STORE_UNREACHABLE");
    }
}
