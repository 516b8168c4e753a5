//! Reads a `JUnit` report: which tests ran, and how each ended.
//!
//! The report was written by code that an agent wrote, so its size is limited, entities are
//! refused, and a report that cannot be read counts as none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Maximum size of a report, in bytes.
pub const MAX_REPORT_BYTES: usize = 8 << 20;

/// How one test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestOutcome {
    /// The test was not run.
    Skipped,
    /// The test passed.
    Passed,
    /// The test failed, or ended in an error.
    Failed,
}

/// The outcomes of a report by test name, `classname::name` where there is a class name. A name
/// that occurs twice has its worst outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JunitReport(pub BTreeMap<String, TestOutcome>);

/// A report that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JunitError {
    /// The text is longer than [`MAX_REPORT_BYTES`].
    #[error("the report is larger than {MAX_REPORT_BYTES} bytes")]
    TooLarge,
    /// The text is not valid XML, or has a document type declaration.
    #[error("the report is not valid XML: {0}")]
    Xml(String),
    /// The XML has no `testcase`: it is something else, or an empty report.
    #[error("the report contains no test case")]
    NoTests,
}

impl JunitReport {
    /// Parses the text of a report.
    pub fn parse(text: &str) -> Result<Self, JunitError> {
        if text.len() > MAX_REPORT_BYTES {
            return Err(JunitError::TooLarge);
        }
        let document =
            roxmltree::Document::parse(text).map_err(|e| JunitError::Xml(e.to_string()))?;
        let mut tests: BTreeMap<String, TestOutcome> = BTreeMap::new();
        for case in document.descendants().filter(|n| n.has_tag_name("testcase")) {
            let attribute = |name| case.attribute(name).unwrap_or_default();
            let (class, name) = (attribute("classname"), attribute("name"));
            let name = if class.is_empty() { name.to_owned() } else { format!("{class}::{name}") };
            let has = |tag| case.children().any(|n| n.has_tag_name(tag));
            let outcome = if has("failure") || has("error") {
                TestOutcome::Failed
            } else if has("skipped") {
                TestOutcome::Skipped
            } else {
                TestOutcome::Passed
            };
            let worst = tests.entry(name).or_insert(outcome);
            *worst = outcome.max(*worst);
        }
        if tests.is_empty() { Err(JunitError::NoTests) } else { Ok(Self(tests)) }
    }

    /// Returns how a test ended; `None` if it is not in the report.
    pub fn outcome(&self, test: &str) -> Option<TestOutcome> {
        self.0.get(test).copied()
    }

    /// Returns the names of the tests with this outcome, in order.
    pub fn with(&self, outcome: TestOutcome) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(_, o)| **o == outcome).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cases_wherever_they_stand() {
        let report = JunitReport::parse(
            r#"<?xml version="1.0"?><testsuites><testsuite name="s">
              <testcase classname="m.T" name="ok" time="0.1"/>
              <testcase classname="m.T" name="bad"><failure message="x">at &lt;y&gt;</failure></testcase>
              <testcase name="broken"><error/></testcase>
              <testcase name="off"><skipped/></testcase>
              <testcase name="twice"/><testcase name="twice"><failure/></testcase>
              <testcase name="twice"/>
            </testsuite></testsuites>"#,
        )
        .unwrap();
        let with = |outcome| report.with(outcome).collect::<Vec<_>>();
        assert_eq!(with(TestOutcome::Passed), ["m.T::ok"]);
        assert_eq!(with(TestOutcome::Failed), ["broken", "m.T::bad", "twice"]);
        assert_eq!(with(TestOutcome::Skipped), ["off"]);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(matches!(JunitReport::parse("nonsense"), Err(JunitError::Xml(_))));
        assert_eq!(JunitReport::parse("<testsuite/>"), Err(JunitError::NoTests));
        let laughs = r#"<!DOCTYPE a [<!ENTITY l "l">]><a><testcase name="&l;"/></a>"#;
        assert!(matches!(JunitReport::parse(laughs), Err(JunitError::Xml(_))));
        let large = " ".repeat(MAX_REPORT_BYTES + 1);
        assert_eq!(JunitReport::parse(&large), Err(JunitError::TooLarge));
        assert!(matches!(JunitReport::parse(&large[1..]), Err(JunitError::Xml(_))));
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let deep = format!("{}{}", "<a>".repeat(200_000), "</a>".repeat(200_000));
        assert!(JunitReport::parse(&deep).is_err());
    }
}
