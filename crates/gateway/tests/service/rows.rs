//! Checks the table of what callers rely on (`rows.md`) against the tests: every row names one, and
//! every test that it names exists.

use std::collections::HashSet;
use std::path::Path;

const TABLE: &str = include_str!("rows.md");
/// Where the tests are that the table may name, relative to this crate.
const PLACES: [&str; 4] = ["src", "tests", "../http/src", "../afk/tests/gateway.rs"];

/// Returns what is wrong with a table, given the names of all tests.
fn mistakes(table: &str, tests: &HashSet<String>) -> Vec<String> {
    let (mut found, mut last) = (Vec::new(), (String::new(), 0));
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")).skip(2);
    for row in rows {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [name, _, named] = cells[..] else {
            found.push(format!("{row:?} does not have three cells"));
            continue;
        };
        let (part, number) = name.split_at(1);
        let expected = if part == last.0 { last.1 + 1 } else { 1 };
        if number.parse() != Ok(expected) {
            found.push(format!("{name} should be {part}{expected}"));
        }
        last = (part.to_owned(), expected);
        let named: Vec<&str> = named.split(", ").map(|test| test.trim_matches('`')).collect();
        let unknown = named.into_iter().filter(|test| !tests.contains(*test));
        found.extend(unknown.map(|test| format!("{name} names {test:?}, which is not a test")));
    }
    if last.1 == 0 {
        found.push("there are no rows".to_owned());
    }
    found
}

/// The names of all test functions in these places.
fn tests() -> HashSet<String> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut paths) = (HashSet::new(), PLACES.map(|place| home.join(place)).to_vec());
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let name = line.trim_start_matches("async ").strip_prefix("fn ");
                match name.and_then(|name| name.split_once('(')) {
                    Some((name, _)) if is_test => drop(found.insert(name.to_owned())),
                    Some(_) | None => {}
                }
                is_test = line.starts_with("#[test]")
                    || line.starts_with("#[tokio::test")
                    || (is_test && line.starts_with("#["));
            }
        }
    }
    found
}

#[test]
fn every_row_has_a_test_that_exists() {
    let tests = tests();
    assert!(tests.contains("every_row_has_a_test_that_exists") && !tests.contains("mistakes"));
    assert_eq!(mistakes(TABLE, &tests), [""; 0]);
}

#[test]
fn a_table_that_is_wrong_is_told() {
    let tests = HashSet::from(["real".to_owned()]);
    let head = "| row | what | tests |\n| --- | --- | --- |\n";
    let told = |rows: &str| mistakes(&format!("{head}{rows}"), &tests).join("; ");
    assert_eq!(told("| G1 | x | `real` |\n| G2 | x | `real`, `real` |\n| F1 | x | `real` |"), "");
    assert_eq!(told(""), "there are no rows");
    assert_eq!(told("| G1 | x | `real`, `gone` |"), "G1 names \"gone\", which is not a test");
    assert_eq!(told("| G1 | x |  |"), "G1 names \"\", which is not a test");
    assert_eq!(told("| G2 | x | `real` |"), "G2 should be G1");
    assert!(told("| G1 | `real` |").contains("three cells"));
}
