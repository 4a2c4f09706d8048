//! Faults of the product that are known and not mended: `known/NAME.plan`, whose first line names the checker that finds it. When
//! one is not found any more, somebody has mended it: then its plan belongs into `regressions`.

use vmpulse_sim::plan::Plan;
use vmpulse_sim::run;

#[test]
fn known_faults_are_still_found() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("known");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let checker = text.strip_prefix("# ").and_then(|text| text.split(':').next()).unwrap();
        let outcome = run::run(&Plan::parse(&text).unwrap(), None).unwrap();
        let found = outcome.violations.iter().any(|violation| violation.checker == checker);
        assert!(found, "{} is not found any more: move it to regressions", path.display());
    }
}
