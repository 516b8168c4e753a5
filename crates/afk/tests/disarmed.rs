//! Under an empty configuration a tick creates the store and nothing else, and says what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod common;

use std::fs;

use common::{Plan, World, texts};

#[test]
fn a_tick_with_an_empty_configuration_leaves_the_store_alone_behind() {
    for args in [&["tick"][..], &["tick", "--poll"], &["tick", "--poll", "--watch"]] {
        let world = World::new(&Plan::default());
        let data = world.path("data");
        fs::write(world.path("afk.toml"), format!("data_dir = {data:?}\n")).unwrap();
        let output = world.afk(args);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{args:?}: {out}\n{err}");
        assert!(err.contains("disarmed") && err.contains("afk arm"), "{args:?}: {err}");
        assert!(err.contains("afk enroll"), "{args:?}: {err}");
        let names = |folder: &std::path::Path| -> Vec<String> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        assert!(names(&data).contains(&"afk.db".to_owned()));
        assert!(!names(&data).contains(&"evidence".to_owned()), "{args:?}: {:?}", names(&data));
        assert_eq!(names(&data.join("work")), Vec::<String>::new(), "{args:?}");
    }
}
