//! What test programs say about themselves: the lines `test result: ok. 3 passed; 0 failed; ...` of libtest.

use std::fmt;
use std::ops::AddAssign;

/// How many tests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
    pub(super) measured: u64,
    pub(super) filtered_out: u64,
}

impl Counts {
    /// The sum over every result line of an output: one for a program, one per library for doc tests.
    pub(super) fn of_output(output: &str) -> Self {
        let mut sum = Self::default();
        for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            sum += Self::of_result(line);
        }
        sum
    }

    fn of_result(line: &str) -> Self {
        let mut counts = Self::default();
        let parts = line.split_once(". ").map_or(line, |(_, counts)| counts).split("; ");
        for (number, what) in parts.filter_map(|part| part.split_once(' ')) {
            let Ok(number) = number.parse() else { continue };
            match what {
                "passed" => counts.passed = number,
                "failed" => counts.failed = number,
                "ignored" => counts.ignored = number,
                "measured" => counts.measured = number,
                "filtered out" => counts.filtered_out = number,
                _ => {}
            }
        }
        counts
    }

    /// Whether any test was run or would have been.
    pub(super) fn any(&self) -> bool {
        self.passed + self.failed + self.ignored + self.measured > 0
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.measured += other.measured;
        self.filtered_out += other.filtered_out;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            ignored,
            measured,
            filtered_out,
        } = self;
        write!(
            f,
            "{passed} passed; {failed} failed; {ignored} ignored; {measured} measured; {filtered_out} filtered out"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_of_libtest_are_summed() {
        let output = "running 3 tests\ntest a ... ok\n\n\
                      test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s\n\
                      test result: FAILED. 5 passed; 6 failed; 0 ignored; 7 measured; 0 filtered out; finished in 3.00s\n";
        let expected = Counts {
            passed: 7,
            failed: 6,
            ignored: 1,
            measured: 7,
            filtered_out: 4,
        };
        assert_eq!(Counts::of_output(output), expected);
        let again = format!("test result: ok. {expected}; finished in 1.00s");
        assert_eq!(Counts::of_output(&again), expected);
    }

    #[test]
    fn an_output_without_a_result_line_has_no_tests() {
        assert!(!Counts::of_output("thread 'main' panicked; aborting\n").any());
    }
}
