//! Ruby: the runner that the files call for, under Bundler if there is a `Gemfile`.
//!
//! Gems are fetched into `.gems`, a folder beside the code that the proof binds read-only.

use super::tree::Tree;
use super::{Part, argv, quoted};

/// The variable by which Bundler fetches gems into `.gems`.
const GEMS: &str = "BUNDLE_PATH=.gems";
/// A Ruby program that runs every test of minitest and test-unit.
const EVERY_TEST: &str = "Dir['./test/**/{test_*,*_test}.rb'].each { |file| require file }";

pub(super) fn part(tree: &Tree) -> Option<Part> {
    let gemfile = tree.has("Gemfile");
    let rakefile = tree.first(&["Rakefile", "rakefile"]);
    let with = |ending: &str, folder: &str| {
        tree.files()
            .map(|(path, _)| path)
            .find(|path| path.starts_with(folder) && path.ends_with(ending))
    };
    let tested =
        |name: &str| tree.text(name).contains("TestTask") || tree.text(name).contains("test");
    let run = if with("_spec.rb", "spec/").is_some() {
        argv(&["rspec"])
    } else if let Some(rakefile) = rakefile.filter(|name| tested(name)) {
        argv(&["rake", "-f", rakefile, "test"])
    } else if with(".rb", "test/").is_some() {
        argv(&["ruby", "-Ilib", "-Itest", "-e", EVERY_TEST])
    } else {
        return None;
    };
    if !gemfile {
        let program = run.first().map_or("ruby", |word| match word.as_str() {
            "rspec" => "rspec",
            "rake" => "rake",
            _ => "ruby",
        });
        let by = rakefile.or_else(|| with(".rb", "spec/")).or_else(|| with(".rb", "test/"));
        let by = by.unwrap_or_default().to_owned();
        return Some(Part { by, verify: run, programs: vec![program], ..Part::default() });
    }
    let words: Vec<String> = run.iter().map(|word| quoted(word)).collect();
    let verify = argv(&["sh", "-c", &format!("{GEMS} bundle exec {}", words.join(" "))]);
    let frozen = if tree.has("Gemfile.lock") { "BUNDLE_FROZEN=true " } else { "" };
    let fetch = argv(&["sh", "-c", &format!("{GEMS} {frozen}bundle install --quiet")]);
    Some(Part {
        by: "Gemfile".to_owned(),
        verify,
        before_ci: Some(fetch.clone()),
        fetch: Some(fetch),
        programs: vec!["bundle", "ruby"],
        ..Part::default()
    })
}
