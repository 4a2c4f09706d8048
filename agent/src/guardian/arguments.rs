//! What a guardian is started with. It reads no settings file: whoever starts it has read that.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::Duration;

use vmpulse_local::recorder::RecorderSettings;

/// The program's name.
pub const PROGRAM: &str = "vmpulse-guardian";

/// See the module. Pure.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arguments {
    /// Directory of the page and of the lock.
    pub run_dir: PathBuf,
    /// The hardware watchdog to feed, and after how long without being fed it acts.
    pub watchdog: Option<(PathBuf, Duration)>,
    /// The disk to read from, and how long it may take to answer.
    pub root_probe: Option<(PathBuf, Duration)>,
    /// What is recorded, if anything is.
    pub record: Option<Record>,
}

/// Where a guardian records what it sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// As its daemon's.
    pub settings: RecorderSettings,
    /// UUID of the virtual machine, which is in the record.
    pub vm: String,
}

impl Arguments {
    /// As the command line says it, without the program's name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut words = words.into_iter();
        let (mut run_dir, mut watchdog, mut root_probe, mut record) = (None, None, None, None);
        while let Some(option) = words.next() {
            let mut value =
                |what| words.next().ok_or_else(|| format!("{}: {what} is missing", option.display()));
            match option.to_str() {
                Some("--run-dir") => run_dir = Some(PathBuf::from(value("the directory")?)),
                Some("--watchdog") => {
                    watchdog = Some((PathBuf::from(value("the device")?), time(&value("the time")?)?));
                }
                Some("--root-probe") => {
                    root_probe = Some((PathBuf::from(value("the disk")?), time(&value("the time")?)?));
                }
                Some("--record") => {
                    let directory = PathBuf::from(value("the directory")?);
                    let max_mib = number(&value("the largest size")?)?;
                    let keep = number(&value("the number of records")?)?;
                    let vm = value("the virtual machine")?.to_string_lossy().into_owned();
                    record = Some(Record { settings: RecorderSettings { directory, max_mib, keep }, vm });
                }
                Some(_) | None => return Err(format!("{} is no option of it", option.display())),
            }
        }
        let run_dir = run_dir.ok_or("--run-dir is missing; it is started by vmpulse-agentd")?;
        Ok(Self { run_dir, watchdog, root_probe, record })
    }

    /// The same as words.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let mut words = vec!["--run-dir".into(), self.run_dir.clone().into_os_string()];
        for (option, value) in [("--watchdog", &self.watchdog), ("--root-probe", &self.root_probe)] {
            if let Some((path, time)) = value {
                words.extend([
                    option.into(),
                    path.clone().into_os_string(),
                    time.as_millis().to_string().into(),
                ]);
            }
        }
        if let Some(Record { settings: RecorderSettings { directory, max_mib, keep }, vm }) = &self.record {
            words.extend(["--record".into(), directory.clone().into_os_string()]);
            words.extend([max_mib.to_string().into(), keep.to_string().into(), vm.into()]);
        }
        words
    }

    /// A number that others do not have; never 0.
    #[must_use]
    pub fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish().max(1)
    }
}

fn number(word: &OsString) -> Result<u32, String> {
    let number = word.to_str().and_then(|word| word.parse().ok());
    number.ok_or_else(|| format!("{} is no number", word.display()))
}

fn time(word: &OsString) -> Result<Duration, String> {
    let ms = word.to_str().and_then(|word| word.parse().ok());
    let ms = ms.ok_or_else(|| format!("{} is no number of milliseconds", word.display()))?;
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_round_trip() {
        let plain =
            Arguments { run_dir: "/run/vmpulse".into(), watchdog: None, root_probe: None, record: None };
        let settings = RecorderSettings { directory: "/r".into(), ..RecorderSettings::default() };
        let full = Arguments {
            watchdog: Some(("/dev/watchdog".into(), Duration::from_secs(30))),
            root_probe: Some(("/dev/vda1".into(), Duration::from_secs(10))),
            record: Some(Record { settings, vm: String::new() }),
            ..plain.clone()
        };
        for arguments in [&plain, &full] {
            assert_eq!(Arguments::parse(arguments.words()).as_ref(), Ok(arguments));
        }
        assert_ne!(plain.number(), full.number());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (words, problem) in [
            (vec![], "--run-dir is missing"),
            (vec!["--run-dir"], "the directory is missing"),
            (vec!["--run-dir", "/r", "--watchdog", "/dev/w"], "the time is missing"),
            (vec!["--run-dir", "/r", "--watchdog", "/dev/w", "soon"], "soon is no number"),
            (vec!["--run-dir", "/r", "--record", "/x", "much"], "much is no number"),
            (vec!["--verbose"], "--verbose is no option"),
        ] {
            let error = Arguments::parse(words.iter().map(OsString::from)).unwrap_err();
            assert!(error.contains(problem), "{words:?}: {error}");
        }
    }
}
