//! Generates the table of the console's files, so that the binary contains whatever is in `assets`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    writeln!(io::stdout(), "cargo::rerun-if-changed=assets")?;
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let mut files = Vec::new();
    list(&root.join("assets"), "", &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for name in files {
        // Relative to the manifest, so that a build folder may be used from another checkout.
        let path = format!("/assets/{name}");
        let include = format!("include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))");
        let _ = writeln!(table, "    ({name:?}, {include}),");
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(out.join("assets.rs"), table)
}

/// Lists the files for the browser. Markdown files are notes for developers and are left out.
fn list(folder: &Path, below: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if name.starts_with('.') || path.extension().is_some_and(|ending| ending == "md") {
            continue;
        }
        let name = format!("{below}{name}");
        if entry.file_type()?.is_dir() {
            list(&path, &format!("{name}/"), files)?;
        } else {
            files.push(name);
        }
    }
    Ok(())
}
