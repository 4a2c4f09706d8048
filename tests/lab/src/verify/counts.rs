//! How many tests a run's output says passed, failed and were skipped.

use crate::scenarios::Tally;

/// The summary of `cargo nextest` if there is one, else the sum of those of `cargo test`, one a test program.
/// Under nextest the latter are what a failed test has printed, not results.
pub(super) fn of(log: &str) -> Tally {
    let lines = || log.lines().map(str::trim);
    if let Some(line) = lines().rfind(|line| line.starts_with("Summary [")) {
        return Tally {
            passed: number_before(line, "passed"),
            failed: number_before(line, "failed") + number_before(line, "timed out"),
            skipped: number_before(line, "skipped"),
        };
    }
    let mut total = Tally::default();
    for summary in lines().filter_map(|line| line.strip_prefix("test result: ")) {
        total += Tally {
            passed: number_before(summary, "passed"),
            failed: number_before(summary, "failed"),
            skipped: number_before(summary, "ignored"),
        };
    }
    total
}

/// The number in front of a word: 12 in "12 passed;".
fn number_before(text: &str, word: &str) -> usize {
    let Some((before, _)) = text.split_once(word) else { return 0 };
    before.split_whitespace().next_back().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_programs_of_cargo_test() {
        let log = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
                   test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured";
        assert_eq!(of(log), Tally { passed: 5, failed: 4, skipped: 1 });
    }

    #[test]
    fn reads_the_summary_of_nextest() {
        let log = "    test result: FAILED. 0 passed; 1 failed; 0 ignored\n\
                   Summary [   1.2s] 12 tests run: 10 passed (1 slow), 2 failed, 3 skipped";
        assert_eq!(of(log), Tally { passed: 10, failed: 2, skipped: 3 });
    }

    #[test]
    fn a_run_that_never_began_counts_nothing() {
        assert_eq!(of("error: could not compile"), Tally::default());
    }
}
