//! Actions and classes, their aliases and abbreviations. Pure.
//!
//! A word is taken if it is a name or alias, or the beginning of those of exactly one action (or class).

use super::parse::UsageError;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $kind:literal { $($(#[$vdoc:meta])* $variant:ident = $first:literal $(, $alias:literal)*;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every one, in the order of the help.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name and aliases, the name first.
            #[must_use]
            pub const fn names(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$first $(, $alias)*]),+ }
            }

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $first),+ }
            }

            /// From a word of the command line, in either case.
            ///
            /// # Errors
            /// An unknown word, or one that may mean several.
            pub fn resolve(word: &str) -> Result<Self, UsageError> {
                let table: Vec<_> = Self::ALL.iter().map(|one| (*one, one.names())).collect();
                resolve($kind, &word.to_lowercase(), &table)
            }
        }
    };
}

words! {
    /// What is to be done.
    Action, "action" {
        /// Not yet.
        Add = "add", "create", "make", "mk";
        /// Not yet.
        Cleanup = "cleanup";
        /// Not yet.
        Delete = "delete", "remove", "rm";
        /// Not yet.
        Discover = "discover", "discovery";
        /// What `-h` says.
        Help = "help";
        /// Not yet.
        Lpm = "lpm";
        /// Not yet.
        Manage = "manage";
        /// Changes settings.
        Modify = "modify";
        /// Not yet.
        Monitor = "monitor";
        /// Not yet.
        Move = "move";
        /// Not yet.
        Pair = "pair";
        /// Shows.
        Query = "query";
        /// Not yet.
        Recover = "recover";
        /// Not yet.
        Report = "report";
        /// Not yet.
        Restart = "restart";
        /// Not yet.
        Restore = "restore";
        /// Not yet.
        Resync = "resync";
        /// Not yet.
        Sync = "sync";
        /// Not yet.
        Trace = "trace";
        /// Not yet.
        Unmanage = "unmanage", "umg";
        /// Not yet.
        Verify = "verify";
    }
}

words! {
    /// What it is to be done to.
    Class, "class" {
        /// Applications in guests.
        App = "app", "application";
        /// Not yet.
        Anticollocation = "anticollocation";
        /// Not yet.
        Collocation = "collocation";
        /// Not yet.
        Endpoint = "endpoint", "hmc";
        /// What happened.
        Event = "event";
        /// Hosts.
        Host = "host";
        /// Not yet.
        HostGroup = "host_group", "hg";
        /// Not yet.
        Cluster = "ksyscluster", "cluster";
        /// Not yet.
        Notify = "notify";
        /// Not yet.
        Snapshot = "snapshot";
        /// Settings and the state of the whole.
        System = "system";
        /// Host monitors.
        Vios = "vios";
        /// Guests.
        Vm = "vm";
        /// Not yet.
        Workgroup = "workgroup";
    }
}

fn resolve<T: Copy + PartialEq>(
    kind: &'static str,
    word: &str,
    table: &[(T, &'static [&'static str])],
) -> Result<T, UsageError> {
    if let Some((exact, _)) = table.iter().find(|(_, names)| names.contains(&word)) {
        return Ok(*exact);
    }
    let begins = |names: &[&str]| names.iter().any(|name| name.starts_with(word));
    let fitting: Vec<_> = table.iter().filter(|(_, names)| begins(names)).collect();
    match fitting.as_slice() {
        [(only, _)] => Ok(*only),
        [] => Err(UsageError::UnknownWord { kind, word: word.to_owned(), known: list(table.iter()) }),
        several => {
            let known = list(several.iter().copied());
            Err(UsageError::AmbiguousWord { kind, word: word.to_owned(), known })
        }
    }
}

fn list<'a, T: 'a>(entries: impl Iterator<Item = &'a (T, &'static [&'static str])>) -> String {
    entries.filter_map(|(_, names)| names.first().copied()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abbreviations_and_aliases() {
        for (word, action) in [
            ("query", Action::Query),
            ("q", Action::Query),
            ("QUERY", Action::Query),
            ("mod", Action::Modify),
            ("modify", Action::Modify),
            ("ad", Action::Add),
            ("cr", Action::Add),
            ("create", Action::Add),
            ("make", Action::Add),
            ("mk", Action::Add),
            ("del", Action::Delete),
            ("remove", Action::Delete),
            ("rm", Action::Delete),
            ("dis", Action::Discover),
            ("discovery", Action::Discover),
            ("unman", Action::Unmanage),
            ("umg", Action::Unmanage),
            ("v", Action::Verify),
        ] {
            assert_eq!(Action::resolve(word), Ok(action), "{word}");
        }
        for (word, class) in [
            ("vm", Class::Vm),
            ("vios", Class::Vios),
            ("vi", Class::Vios),
            ("host", Class::Host),
            ("hg", Class::HostGroup),
            ("host_", Class::HostGroup),
            ("cl", Class::Cluster),
            ("ksyscl", Class::Cluster),
            ("hmc", Class::Endpoint),
            ("sys", Class::System),
            ("ev", Class::Event),
            ("app", Class::App),
        ] {
            assert_eq!(Class::resolve(word), Ok(class), "{word}");
        }
    }

    #[test]
    fn what_may_mean_several_is_refused_with_their_names() {
        let error = Action::resolve("mo").unwrap_err().to_string();
        assert_eq!(error, "action \"mo\" may be one of: modify, monitor, move");
        assert!(
            Class::resolve("v").is_err() && Class::resolve("ho").is_err() && Action::resolve("").is_err()
        );
        let error = Class::resolve("guest").unwrap_err().to_string();
        assert!(error.starts_with("there is no class \"guest\"; there are: app, "), "{error}");
    }

    #[test]
    fn every_name_means_what_it_says() {
        for action in Action::ALL {
            assert!(action.names().iter().all(|name| Action::resolve(name) == Ok(*action)));
        }
        for class in Class::ALL {
            assert!(class.names().iter().all(|name| Class::resolve(name) == Ok(*class)));
        }
    }
}
