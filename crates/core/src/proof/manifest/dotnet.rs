//! What of a project or a solution of .NET steers tests.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::Steers;

/// Elements of an `MSBuild` project that describe a package or hold others, and steer no tests
/// unless they have attributes.
const MSBUILD_PLAIN: &[&str] = &[
    "?xml",
    "Authors",
    "CentralPackageTransitivePinningEnabled",
    "Company",
    "Copyright",
    "Description",
    "ItemGroup",
    "ManagePackageVersionsCentrally",
    "PackageId",
    "PackageTags",
    "PrivateAssets",
    "PropertyGroup",
    "RepositoryUrl",
    "Version",
    "VersionPrefix",
];

/// Its items that may be added, but not taken away: without its adapter, a runner finds no tests.
const MSBUILD_LISTS: &[&str] = &[
    "Compile",
    "Content",
    "EmbeddedResource",
    "None",
    "PackageReference",
    "PackageVersion",
    "ProjectReference",
];

/// What a new project says besides, which steers only its own tests.
const MSBUILD_NEW: &[&str] = &[
    "AssemblyName",
    "ImplicitUsings",
    "IncludeAssets",
    "IsPackable",
    "IsTestProject",
    "LangVersion",
    "Nullable",
    "OutputType",
    "Project",
    "RootNamespace",
    "TargetFramework",
    "TargetFrameworks",
    "Using",
];

/// Returns what of an `MSBuild` project steers tests: any element that is not known to be harmless.
/// Comments are not told from elements, so a change of one counts, too.
pub(super) fn msbuild(text: &str) -> Option<Steers> {
    let (mut keys, mut entries, mut group) = (Vec::new(), BTreeSet::new(), "");
    for part in text.split('<').skip(1) {
        let (tag, _) = part.split_once('>')?;
        let tag = tag.trim_end_matches('/').trim_end();
        let name = element(tag);
        if name == "ItemGroup" {
            group = tag;
        }
        let attributes: Vec<&str> = tag.split_whitespace().skip(1).collect();
        let key = |attribute: &str| attribute.split('=').next().unwrap_or_default().to_owned();
        let is_item = attributes.iter().all(|attribute| {
            ["Include", "Link", "PrivateAssets", "Version"].contains(&key(attribute).as_str())
        });
        if MSBUILD_LISTS.contains(&name) && is_item {
            // Neither the version nor the order matters, but the condition of the group does.
            let kept = attributes.into_iter().filter(|attribute| key(attribute) != "Version");
            let words: Vec<&str> = [group, name].into_iter().chain(kept).collect();
            entries.insert(words.join(" "));
        } else if !(MSBUILD_PLAIN.contains(&name) && (attributes.is_empty() || name == "?xml")) {
            let words: Vec<&str> = part.split_whitespace().collect();
            keys.push(Json::from(words.join(" ")));
        }
    }
    Some(Steers { keys: Json::Array(keys), entries, ..Steers::default() })
}

/// As `msbuild`, for a project that the base does not have.
pub(super) fn new_msbuild(text: &str) -> Option<Steers> {
    let mut steers = msbuild(text)?;
    if let Some(keys) = steers.keys.as_array_mut() {
        keys.retain(|key| {
            let part = key.as_str().unwrap_or_default();
            part.contains("Condition") || !MSBUILD_NEW.contains(&element(part))
        });
    }
    Some(steers)
}

/// As `msbuild`, for a list of the versions of all projects that the base does not have. Whatever
/// else it says, it says to projects that were there.
pub(super) fn new_versions(text: &str) -> Option<Steers> {
    let mut steers = msbuild(text)?;
    if let Some(keys) = steers.keys.as_array_mut() {
        keys.retain(|key| !["Project>", "/Project>"].contains(&key.as_str().unwrap_or_default()));
    }
    Some(steers)
}

/// Returns the name of the element that a tag begins or ends.
fn element(tag: &str) -> &str {
    let tag = tag.trim_start_matches('/');
    tag.split(|c: char| c.is_whitespace() || "/>".contains(c)).next().unwrap_or_default()
}

/// Returns the lines of a solution, which may list more projects, but not fewer.
pub(super) fn solution(text: &str) -> Steers {
    let lines = text.lines().map(|line| line.trim().to_owned());
    Steers { entries: lines.filter(|line| !line.is_empty()).collect(), ..Steers::default() }
}

#[cfg(test)]
mod tests {
    use super::super::is_runner;
    use crate::change::testing::{Side, diff, file};

    #[test]
    fn a_project_of_dotnet_is_a_runner_unless_it_only_gains_dependencies() {
        let check = |name: &str, old: Side<'_>, new: Side<'_>, expected: bool| {
            let (diff, blobs) = diff(&[(name, old, new)]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{name}: {old:?} {new:?}");
        };
        let items = "  <ItemGroup>\n    <PackageReference Include=\"xunit\" Version=\"2.9.0\" />\n  \
                     </ItemGroup>\n";
        let project = format!(
            "\u{feff}<Project Sdk=\"Microsoft.NET.Sdk\">\n  <PropertyGroup>\n    \
             <TargetFramework>net8.0</TargetFramework>\n    <Version>1.0</Version>\n  \
             </PropertyGroup>\n{items}</Project>\n"
        );
        let path = "Calc.Tests/Calc.Tests.csproj";
        let changed = |from: &str, to: &str, expected: bool| {
            assert!(project.contains(from), "{from}");
            check(path, file(&project), file(&project.replace(from, to)), expected);
        };
        let more = |item: &str| format!("<ItemGroup>\n    {item}\n");
        for item in [
            "<PackageReference Include=\"Moq\" Version=\"4.0\" />",
            "<PackageReference Include=\"Moq\"><PrivateAssets>all</PrivateAssets>\
             </PackageReference>",
            "<ProjectReference Include=\"..\\Calc\\Calc.csproj\" />",
            "<Compile Include=\"Triple.cs\" />",
        ] {
            changed("<ItemGroup>\n", &more(item), false);
        }
        for item in [
            "<Compile Remove=\"**/*Tests.cs\" />",
            "<PackageReference Include=\"a\" /><Compile Remove=\"**/*Tests.cs\" />",
            "<PackageReference Update=\"xunit\" ExcludeAssets=\"all\" />",
            "<PackageReference Remove=\"xunit\" />",
            "<!-- why -->",
        ] {
            changed("<ItemGroup>\n", &more(item), true);
        }
        changed("2.9.0", "2.9.1", false);
        changed("<Version>1.0", "<Version>1.1", false);
        changed("net8.0", "net9.0", true);
        changed("<ItemGroup>", "<ItemGroup Condition=\"false\">", true);
        changed("xunit", "nunit", true);
        changed(items, "", true);
        changed("</Project>", "<Target Name=\"VSTest\" /></Project>", true);
        changed("</Project>", "<", true);
        // A project of its own, whose tests were not run before.
        check(path, None, file(&project), false);
        let steered = project.replace("</Project>", "<Import Project=\"a.targets\" /></Project>");
        check(path, None, file(&steered), true);
        check(path, file(&project), None, true);

        let versions = "<Project>\n  <PropertyGroup>\n    \
             <ManagePackageVersionsCentrally>true</ManagePackageVersionsCentrally>\n  \
             </PropertyGroup>\n  <ItemGroup>\n    \
             <PackageVersion Include=\"xunit\" Version=\"2.9.0\" />\n  </ItemGroup>\n</Project>\n";
        let path = "Directory.Packages.props";
        check(path, None, file(versions), false);
        for (from, to, expected) in [
            ("2.9.0", "2.9.1", false),
            ("  <Pack", "  <PackageVersion Include=\"Moq\" Version=\"4.0\" />\n    <Pack", false),
            ("xunit", "nunit", true),
            (
                "  <Pack",
                "  <GlobalPackageReference Include=\"a\" Version=\"1\" />\n    <Pack",
                true,
            ),
            ("<Property", "<Import Project=\"a.props\" />\n  <Property", true),
            ("</Property", "<IsTestProject>false</IsTestProject></Property", true),
        ] {
            let new = versions.replace(from, to);
            check(path, file(versions), file(&new), expected);
            if from != "xunit" {
                check(path, None, file(&new), expected);
            }
        }

        let solution = "Global\nProject(\"A\") = \"a\"\nEndProject\n";
        let grown = solution.replace("EndProject\n", "EndProject\nProject(\"B\") = \"b\"\n");
        check("Calc.sln", file(solution), file(&grown), false);
        check("Calc.sln", file(&grown), file(solution), true);
        check("Calc.sln", None, file(solution), true);
    }
}
