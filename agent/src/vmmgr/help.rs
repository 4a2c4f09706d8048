//! What `vmmgr help` prints.

use super::grammar::ACTIONS;
use crate::config::attribute::{APPLICATION, Attribute, VMM};
use crate::config::value::Kind;

/// Actions, attributes with ranges and defaults, exit codes.
pub(super) fn text(prefix: &str) -> String {
    let program = prefix.to_lowercase();
    let mut text = format!(
        "{program} [FLAGS] ACTION [CLASS] [NAME] [ATTRIBUTE=VALUE ...]\n\n\
         Flags\n  \
         -s               make the daemon load the change at once (otherwise: {program} sync)\n  \
         -a LIST          show only these attributes, parted by commas\n  \
         -o text|json     form of what is shown\n  \
         -h               this help\n  \
         --settings PATH  settings file (else VMPULSE_AGENT_SETTINGS, else /etc/vmpulse/agent.toml)\n  \
         --id N           the key that is meant (or its id as NAME)\n\n\
         Actions (aliases), classes\n"
    );
    for (action, names) in ACTIONS {
        let aliases = names.get(1..).unwrap_or_default().join(", ");
        let classes: Vec<&str> = action.classes().iter().map(|class| class.name()).collect();
        let aliases = if aliases.is_empty() { aliases } else { format!(" ({aliases})") };
        let line = format!("  {}{aliases}", action.name());
        text.push_str(format!("{line:<48} {}", classes.join(", ")).trim_end());
        text.push('\n');
    }
    text.push_str("  Not there yet: start, stop, suspend app, resume app, and the class dependency.\n");
    text.push_str(&format!(
        "\n{program} quiet TIME REASON   heartbeats may stop for that long (500ms, 60s, 5m; at most 600s in any hour)\n\
         {program} quiet end           they are back\n  \
         Exit 0: every host monitor has granted all of it. Else 1, and what was granted is shown.\n\
         {program} suspend, resume     monitoring of this virtual machine, until it is resumed\n\
         {program} health [NAME]       exit 0 if all monitored applications, or the one named, are healthy\n"
    ));
    text.push_str("\nAttributes of vmm\n");
    VMM.iter().for_each(|attribute| text.push_str(&line(attribute)));
    text.push_str("\nAttributes of app (NAME: 1 to 64 of letters, digits and _.-)\n");
    APPLICATION.iter().for_each(|attribute| text.push_str(&line(attribute)));
    text.push_str(
        "\nKeys (ID: 1 to 255; the key that was added last is the one in use)\n  \
         import key ID [FILE]       take in a key made elsewhere, from FILE or standard input: 64 hexadecimal digits\n  \
         create key [ID]            make a new one\n  \
         export key ID              print it, to be carried to the host monitors\n  \
         delete key ID              forget it\n  \
         query key                  ids, and the paths that use them; never the keys\n  \
         A third key takes the place of the oldest. The daemon uses the change at once, and no heartbeat is missed.\n",
    );
    text.push_str(
        "\nAn empty value puts the default back.\n\
         Exit: 0 done, 1 refused or failed, 2 wrong usage.\n",
    );
    text
}

fn line(attribute: &Attribute) -> String {
    let range = match attribute.kind {
        Kind::ReadOnly | Kind::Uuid => "read-only".to_owned(),
        Kind::OneOf(words) => words.join("|"),
        Kind::Number { min, max } => format!("{min}-{max}"),
        Kind::Seconds { min, max } => format!("{min}-{max} s"),
        Kind::Script => "path [arguments]".to_owned(),
        Kind::User => "user".to_owned(),
        Kind::Text => "text".to_owned(),
    };
    let default = if attribute.default.is_empty() { "-" } else { attribute.default };
    format!("  {:<26} {range:<17} {default:<8} {}\n", attribute.name, attribute.help)
}
