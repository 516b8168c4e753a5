//! Java, Kotlin and the like: Maven and Gradle, by the wrapper of the repository if it has one.
//!
//! Both find out what they need while they run: no lock file names the plugin that runs the tests,
//! and their commands for going offline do not fetch it. So `verify` itself has the network.
//! Downloads are kept below `$HOME` of the box: the home in the password file does not exist there.

use super::tree::Tree;
use super::{Part, argv};

/// Build files of Gradle.
const GRADLE: [&str; 4] =
    ["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"];

pub(super) fn part(tree: &Tree) -> Option<Part> {
    maven(tree).or_else(|| gradle(tree))
}

fn maven(tree: &Tree) -> Option<Part> {
    let by = tree.first(&["pom.xml"])?.to_owned();
    let wrapped = tree.has("mvnw");
    let program = if wrapped { "./mvnw" } else { "mvn" };
    let line = |goal: &str| {
        argv(&["sh", "-c", &format!("{program} -q -B -Dmaven.repo.local=\"$HOME/.m2\" {goal}")])
    };
    let programs = if wrapped { vec!["java"] } else { vec!["mvn", "java"] };
    let (verify, build) = (line("test"), Some(line("test-compile")));
    Some(Part { by, verify, build, network: true, programs, ..Part::default() })
}

fn gradle(tree: &Tree) -> Option<Part> {
    let by = tree.first(&GRADLE)?.to_owned();
    let wrapped = tree.has("gradlew");
    let program = if wrapped { "./gradlew" } else { "gradle" };
    let line = |task: &str| {
        let home = "GRADLE_USER_HOME=\"$HOME/.gradle\"";
        argv(&["sh", "-c", &format!("{home} {program} -q --no-daemon {task}")])
    };
    let programs = if wrapped { vec!["java"] } else { vec!["gradle", "java"] };
    let (verify, build) = (line("test"), Some(line("testClasses")));
    Some(Part { by, verify, build, network: true, programs, ..Part::default() })
}
