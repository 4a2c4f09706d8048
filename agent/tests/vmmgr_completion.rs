//! Completion in the real shells; one that is not installed is skipped, and said so.
#![allow(clippy::unwrap_used)] // A test that cannot be set up has failed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A guest with two applications, and the command under both its names.
struct Guest {
    directory: TempDir,
}

impl Guest {
    fn new() -> Self {
        let guest = Self { directory: tempfile::tempdir().unwrap() };
        let settings = format!(
            "config = \"{0}/HA.xml\"\nrun_dir = \"{0}\"\nkey_file = \"{0}/agent.key\"\n",
            guest.directory.path().display()
        );
        fs::write(guest.path("agent.toml"), settings).unwrap();
        let app = |name: &str, uuid: u8| {
            format!(
                "<Application name=\"{name}\" uuid=\"156726734913392800{uuid}\" monitor_script=\"/m\" \
                 start_script=\"/s\" stop_script=\"/t\" desc=\"about {name}\"/>"
            )
        };
        let file = format!("<Monitoring>{}{}</Monitoring>", app("shop", 1), app("shipping", 2));
        fs::write(guest.path("HA.xml"), file).unwrap();
        for name in ["vmmgr", "ksysvmmgr"] {
            symlink(env!("CARGO_BIN_EXE_vmmgr"), guest.path(name)).unwrap();
        }
        guest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a script of a shell in the guest's directory; its output as words, sorted. `None` if there is no such shell.
    fn run(&self, shell: &str, script: &str) -> Option<Vec<String>> {
        let mut command = Command::new(shell);
        command.arg("-c").arg(script).current_dir(self.directory.path()).stdin(Stdio::null());
        let path = format!("{}:/usr/bin:/bin", self.directory.path().display());
        command.env("PATH", path).env("HOME", self.directory.path());
        command.env("VMPULSE_AGENT_SETTINGS", self.path("agent.toml"));
        let Ok(output) = command.output() else {
            eprintln!("SKIPPED: {shell} is not installed; install it to test completion with it");
            return None;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{shell}: {said}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut words: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
        words.sort();
        Some(words)
    }
}

/// Lines as typed up to the cursor, and what is offered, sorted.
const CASES: [(&str, &[&str]); 8] = [
    ("vmmgr sta", &["start", "status"]),
    ("ksysvmmgr stop ", &["app", "vmm"]),
    ("vmmgr -s delete app ", &["shipping", "shop"]),
    ("vmmgr q app sho", &["shop"]),
    ("vmmgr -o ", &["json", "text"]),
    ("vmmgr modify app shop max_res", &["max_restart="]),
    ("vmmgr completion ", &["bash", "fish", "zsh"]),
    ("vmmgr frobnicate ", &[]),
];

/// The same with a value, of which bash gives back only what is behind the `=`.
const VALUES: [(&str, &[&str]); 2] = [
    ("vmmgr modify app shop critical=", &["critical=no", "critical=yes"]),
    ("vmmgr add dependency dependency_list=shop,s", &["dependency_list=shop,shipping"]),
];

#[test]
fn bash() {
    let guest = Guest::new();
    fs::write(guest.path("monitor.sh"), "").unwrap();
    let complete = |line: &str| {
        let script = format!(
            "source <(vmmgr completion bash); COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMPREPLY=()\n\
             complete -p ksysvmmgr vmmgr | grep -vq -- '-F _vmmgr' && exit 3\n\
             _vmmgr \"${{COMP_LINE%% *}}\" 2>/dev/null; for word in \"${{COMPREPLY[@]}}\"; do echo \"$word\"; done"
        );
        guest.run("bash", &script)
    };
    for (line, expected) in CASES.iter().chain(&VALUES) {
        let Some(found) = complete(line) else { return };
        let expected: Vec<&str> = expected
            .iter()
            .map(|word| if line.contains('=') { word.rsplit('=').next().unwrap() } else { word })
            .collect();
        assert_eq!(found, expected, "{line}");
    }
    let file = guest.path("monitor.sh").display().to_string();
    let begun = file.trim_end_matches("itor.sh");
    assert_eq!(complete(&format!("vmmgr add app x monitor_script={begun}")).unwrap(), [file.as_str()]);
    assert_eq!(complete(&format!("vmmgr import key 1 {begun}")).unwrap(), [file.as_str()]);
}

#[test]
fn fish() {
    let guest = Guest::new();
    for (line, expected) in CASES.iter().chain(&VALUES) {
        let script = format!("vmmgr completion fish | source; complete -C '{line}'");
        let Some(found) = guest.run("fish", &script) else { return };
        let words: Vec<&str> = found.iter().map(|line| line.split('\t').next().unwrap()).collect();
        assert_eq!(words, *expected, "{line}");
    }
    let found = guest.run("fish", "vmmgr completion fish | source; complete -C 'vmmgr q app sho'");
    assert_eq!(found.unwrap(), ["shop\tabout shop"]);
}

/// zsh has no way to ask for completions but its line editor; here compadd, which tells the editor, prints what it is given.
#[test]
fn zsh() {
    let guest = Guest::new();
    for (line, expected) in CASES.iter().chain(&VALUES) {
        // compadd tells what it is given, instead of adding it.
        let script = format!(
            "autoload -Uz compinit; compinit -D -u; source <(vmmgr completion zsh)\n\
             [[ $_comps[vmmgr] == _vmmgr && $_comps[ksysvmmgr] == _vmmgr ]] || exit 3\n\
             compadd() {{ print -rl -- ${{(P)@[-1]}} }}\n\
             words=(${{(s: :):-'{line}'}}); [[ '{line}' == *' ' ]] && words+=('')\n\
             CURRENT=${{#words}}; PREFIX=$words[CURRENT]; _vmmgr; true"
        );
        let Some(found) = guest.run("zsh", &script) else { return };
        assert_eq!(found, *expected, "{line}");
    }
}
