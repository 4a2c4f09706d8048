//! Requests and answers against the schemas of the reference.

use std::path::Path;
use std::process::Command;

use crate::machine::Answer;

const NAMESPACE: &str = "http://ausgsa.austin.ibm.com/projects/v/vios/schema/vioHADR2.00";

/// What is no request by these schemas is refused by these codes.
const NO_REQUEST: [&str; 3] = ["MALFORMED", "TOO_LARGE", "UNKNOWN_ACTION"];

pub(crate) fn check(answers: &[Answer]) {
    if Command::new("xmllint").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: xmllint is not installed (apt install libxml2-utils)");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut files = 0;
    for answer in answers {
        let is_request = !NO_REQUEST.iter().any(|code| answer.text.contains(&format!("\"{code}\"")));
        let request = answer.request.replace("{hsTag}", "1").replace("{tag}", "1");
        for text in is_request.then_some(request).iter().chain([&answer.text]) {
            let plain = text.replace(&format!(" xmlns=\"{NAMESPACE}\""), "");
            let named = plain.replacen("<VIO", &format!("<VIO xmlns=\"{NAMESPACE}\""), 1);
            std::fs::write(folder.path().join(format!("plain-{files}.xml")), plain).unwrap();
            std::fs::write(folder.path().join(format!("named-{files}.xml")), named).unwrap();
            files += 1;
        }
    }
    assert!(files > answers.len(), "requests are checked, too");
    validate(folder.path(), "plain-", "requests.xsd");
    validate(folder.path(), "named-", "requests-namespace.xsd");
}

fn validate(folder: &Path, prefix: &str, schema: &str) {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    let mut xmllint = Command::new("xmllint");
    xmllint.args(["--noout", "--nonet", "--schema"]).arg(reference.join(schema)).args(files);
    let output = xmllint.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let wrong: Vec<_> = said.lines().filter(|line| !line.ends_with(" validates")).collect();
    assert!(output.status.success(), "{schema}: {}", wrong.join("\n"));
}
