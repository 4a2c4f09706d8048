//! What `cargo verify` does with the fuzz targets, on stable Rust and without instrumentation: every program reads its
//! seeds, and every check is tried with a bounded number of changed ones, always the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Changes of a seed at once.
const CHANGES: usize = 4;

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(!paths.is_empty(), "{} has no seeds", folder.display());
    paths.sort();
    paths
}

/// The fuzzer's own program links, and reads every seed.
fn reads_its_seeds(target: &str, program: &str) {
    let paths = seeds(target);
    let output = Command::new(program).args(&paths).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("Running: ").count(), paths.len(), "{said}");
}

/// Bytes overwritten, cut out, put in and repeated; parts of other seeds behind.
fn changed(random: &mut fastrand::Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.choice(seeds).unwrap().clone();
    for _ in 0..random.usize(1..=CHANGES) {
        let at = random.usize(..=bytes.len());
        let length = random.usize(..=(bytes.len() - at).min(16));
        match random.u8(..6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + length)),
            2 => bytes.insert(at, random.u8(..)),
            3 => drop(bytes.splice(at..at, bytes[at..at + length].to_vec())),
            4 => bytes.extend_from_slice(random.choice(seeds).unwrap()),
            _ => bytes[at..at + length].iter_mut().for_each(|byte| *byte = random.u8(..)),
        }
    }
    bytes
}

fn holds_for_changed_seeds(target: &str, run: fn(&[u8]), times: usize) {
    let seeds: Vec<Vec<u8>> = seeds(target).iter().map(|path| fs::read(path).unwrap()).collect();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..times {
        run(&changed(&mut random, &seeds));
    }
}

macro_rules! targets {
    ($($name:ident: $times:literal),+ $(,)?) => { $(
        mod $name {
            #[test]
            fn reads_its_seeds() {
                super::reads_its_seeds(stringify!($name), env!(concat!("CARGO_BIN_EXE_", stringify!($name))));
            }

            #[test]
            fn holds_for_changed_seeds() {
                super::holds_for_changed_seeds(stringify!($name), vmpulse_fuzz::$name::run, $times);
            }
        }
    )+ };
}

// As often as takes a second or two without optimisation.
targets!(packet: 50_000, session: 3000, monitor: 500, reassembly: 3000, xml: 5000, command_line: 50_000);
