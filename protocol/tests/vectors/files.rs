//! The files, and that they are what their generator writes.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use vmpulse_protocol::wire::Flags;

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// The vectors of `<name>.json`; never none, so that a test which finds nothing to do fails.
pub(crate) fn vectors(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    let Value::Array(vectors) = file["vectors"].take() else { panic!("{name}.json has no vectors") };
    assert!(!vectors.is_empty(), "{name}.json is empty");
    vectors
}

pub(crate) fn text<'a>(vector: &'a Value, key: &str) -> &'a str {
    vector[key].as_str().unwrap_or_else(|| panic!("no text {key:?} in {vector}"))
}

pub(crate) fn number(vector: &Value, key: &str) -> u64 {
    vector[key].as_u64().unwrap_or_else(|| panic!("no number {key:?} in {vector}"))
}

pub(crate) fn byte(vector: &Value, key: &str) -> u8 {
    u8::try_from(number(vector, key)).unwrap()
}

pub(crate) fn list<'a>(vector: &'a Value, key: &str) -> &'a [Value] {
    vector[key].as_array().unwrap_or_else(|| panic!("no list {key:?} in {vector}"))
}

pub(crate) fn bytes(vector: &Value, key: &str) -> Vec<u8> {
    from_hex(text(vector, key))
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

pub(crate) fn flag(name: &str) -> Flags {
    match name {
        "ACKR" => Flags::ACKR,
        "ACK" => Flags::ACK,
        "BEG" => Flags::BEG,
        "END" => Flags::END,
        "PRI" => Flags::PRI,
        "SYN" => Flags::SYN,
        "HEL" => Flags::HEL,
        "AUTH" => Flags::AUTH,
        other => panic!("no flag {other:?}"),
    }
}

/// Whether a vector is about authentication, which has tests of its own.
pub(crate) fn is_authentication(vector: &Value) -> bool {
    list(vector, "rules").iter().any(|rule| rule.as_str().unwrap().starts_with("X-"))
}

#[test]
fn the_files_are_what_the_generator_writes() {
    let mut check = Command::new("python3");
    check.arg(folder().join("generate.py")).arg("--check");
    match check.output() {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr)),
        Err(missing) => {
            eprintln!("SKIPPED: python3 cannot be run here ({missing}); the vectors are not compared")
        }
    }
}
