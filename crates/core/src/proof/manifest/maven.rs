//! What of a `pom.xml` steers tests.

use std::collections::BTreeSet;

use roxmltree::Node;
use serde_json::Value as Json;

use super::Steers;

/// Elements of a project that describe it.
const PLAIN: &[&str] = &["description", "name", "url", "version"];

/// All that a dependency says which is only taken from a registry.
const DEPENDENCY: &[&str] = &["artifactId", "groupId", "scope", "version"];

/// Returns what of a project steers tests: all but what describes it, and its dependencies, its
/// modules and the properties that are versions, of which there may be more. Dependencies of plugins
/// and those in profiles must stay as they are.
pub(super) fn pom(text: &str) -> Option<Steers> {
    let document = roxmltree::Document::parse(text).ok()?;
    let (mut keys, mut entries) = (Vec::new(), BTreeSet::new());
    for part in elements(document.root_element()) {
        match name(part) {
            plain if PLAIN.contains(&plain) => {}
            "dependencies" => add_dependencies(part, "", &mut keys, &mut entries),
            "dependencyManagement" => {
                for list in elements(part) {
                    add_dependencies(list, "managed ", &mut keys, &mut entries);
                }
            }
            "modules" | "properties" => {
                for one in elements(part) {
                    match (name(one), leaf(one)) {
                        ("module", Some(module)) => {
                            entries.insert(format!("module {module}"));
                        }
                        (version, Some(_)) if version.ends_with(".version") => {
                            entries.insert(format!("property {version}"));
                        }
                        _ => keys.push(whole(one)),
                    }
                }
            }
            _ => keys.push(whole(part)),
        }
    }
    Some(Steers { keys: Json::Array(keys), entries, ..Steers::default() })
}

/// Adds a list of dependencies: one that only has a name, a version and a scope as an entry, and
/// any other as a key.
fn add_dependencies(
    list: Node<'_, '_>,
    kind: &str,
    keys: &mut Vec<Json>,
    entries: &mut BTreeSet<String>,
) {
    for dependency in elements(list) {
        let parts: Option<Vec<(&str, &str)>> =
            elements(dependency).map(|part| Some((name(part), leaf(part)?))).collect();
        let is_plain = |parts: &Vec<(&str, &str)>| {
            let names: BTreeSet<&str> = parts.iter().map(|(name, _)| *name).collect();
            names.len() == parts.len() && names.iter().all(|name| DEPENDENCY.contains(name))
        };
        match parts.filter(is_plain) {
            Some(mut parts) if name(dependency) == "dependency" => {
                parts.retain(|(name, _)| *name != "version");
                parts.sort_unstable();
                entries.insert(format!("{kind}{parts:?}"));
            }
            _ => keys.push(whole(dependency)),
        }
    }
}

fn elements<'a, 'input: 'a>(node: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(Node::is_element)
}

fn name<'input>(node: Node<'_, 'input>) -> &'input str {
    node.tag_name().name()
}

/// Returns the text of an element that has nothing else in it, nor attributes.
fn leaf<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    let is_leaf = node.children().count() == 1 && node.attributes().next().is_none();
    node.text().filter(|_| is_leaf).map(str::trim)
}

/// Returns all that an element says. How many elements each one in it has tells how they are nested.
fn whole(node: Node<'_, '_>) -> Json {
    let mut parts = Vec::new();
    for one in node.descendants() {
        if one.is_element() {
            let attributes =
                one.attributes().map(|one| format!("{}={:?}", one.name(), one.value()));
            let attributes: Vec<String> = attributes.collect();
            let (name, count) = (name(one), elements(one).count());
            parts.push(format!("<{name} {} {count}>", attributes.join(" ")));
        } else if let Some(text) = one.text().filter(|_| one.is_text()) {
            parts.extend(text.split_whitespace().map(|word| format!("'{word}'")));
        }
    }
    Json::from(parts)
}

#[cfg(test)]
mod tests {
    use super::super::is_runner;
    use crate::change::testing::{diff, file};

    #[test]
    fn a_project_of_maven_is_a_runner_unless_it_only_gains_dependencies() {
        let dependency = |name: &str, more: &str| {
            format!(
                "<dependency>\n<groupId>org.{name}</groupId><artifactId>{name}</artifactId>\
                 <version>1.0</version>{more}</dependency>\n"
            )
        };
        let test = "<scope>test</scope>";
        let old = format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n<version>1</version>\n\
             <modules><module>a</module></modules>\n\
             <properties><junit.version>5</junit.version><other>1</other></properties>\n\
             <dependencies>\n{}</dependencies>\n<build><plugins><plugin>\
             <artifactId>maven-surefire-plugin</artifactId></plugin></plugins></build>\n</project>\n",
            dependency("junit", test)
        );
        let more = |more: &str| format!("<dependencies>\n{}", dependency("money", more));
        let system = "<scope>system</scope><systemPath>a.jar</systemPath>";
        let plugin = dependency("money", "");
        let plugin = format!("<dependencies>{plugin}</dependencies></plugin>");
        for (from, to, expected) in [
            ("<dependencies>\n", more("").as_str(), false),
            ("<dependencies>\n", more(test).as_str(), false),
            ("<dependencies>\n", "<!-- Ours. --><dependencies>\n", false),
            ("1.0", "1.1", false),
            ("<version>1<", "<version>2<", false),
            ("<module>", "<module>b</module><module>", false),
            ("<junit.v", "<money.version>1</money.version><junit.v", false),
            (">5<", ">6<", false),
            ("<dependencies>\n", more(system).as_str(), true),
            ("<dependencies>\n", more("<exclusions/>").as_str(), true),
            (test, "", true),
            ("<groupId>org.junit<", "<groupId>org.other<", true),
            ("<groupId>org.junit<", "<groupId>org.junit<!-- -->x<", true),
            ("<module>a</module>", "", true),
            ("<other>1<", "<other>2<", true),
            ("<other>", "<skipTests>true</skipTests><other>", true),
            ("</plugin>", "<configuration><skip>true</skip></configuration></plugin>", true),
            ("</plugin>", plugin.as_str(), true),
            ("<build>", "<profiles/><build>", true),
            ("</project>", "", true),
        ] {
            assert!(old.contains(from), "{from}");
            let new = old.replacen(from, to, 1);
            let (diff, blobs) = diff(&[("pom.xml", file(&old), file(&new))]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{from} {to}");
        }
    }
}
