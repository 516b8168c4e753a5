//! `cargo xtask record`: the demo as a terminal shows it, as an asciicast and as an SVG for pages.
//!
//! The program is run with colour, and its lines are taken as they come; nothing is edited. Run by
//! hand when the output of the demo has changed.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use crate::run::{cargo, say, show};

/// Width of the terminal, in columns.
const COLUMNS: usize = 100;
/// Width and height of a character in the picture.
const WIDE: usize = 8;
const HIGH: usize = 18;
/// The command line that the recording begins with.
const TYPED: &str = "$ afk demo";

/// What is recorded.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The afk program to record [default: one that is built first]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Records the demo into `docs/`.
pub(crate) fn record(root: &Path, options: &Options) -> anyhow::Result<()> {
    let lines = if let Some(program) = &options.program {
        demo(program)?
    } else {
        show(root, &[&cargo(), "build", "--locked", "--release"], &[])?;
        demo(&root.join("target/release/afk"))?
    };
    let write = |name: &str, text: String| {
        let file = root.join("docs").join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        say(&format!("wrote {}", file.display()));
        anyhow::Ok(())
    };
    write("demo.cast", cast(&lines))?;
    write("demo.svg", svg(&lines))
}

/// Runs the demo; returns its lines, each with the seconds after which it was printed.
fn demo(program: &Path) -> anyhow::Result<Vec<(f64, String)>> {
    let mut child = Command::new(program)
        .args(["--color", "always", "demo"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let begun = Instant::now();
    let (to, from) = mpsc::channel();
    let pipe = |stream: Box<dyn std::io::Read + Send>| {
        let to = to.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = to.send((begun.elapsed().as_secs_f64(), line));
            }
        });
    };
    pipe(Box::new(child.stdout.take().context("no output")?));
    pipe(Box::new(child.stderr.take().context("no output")?));
    drop(to);
    let mut lines = vec![(0.0, TYPED.to_owned())];
    lines.extend(from);
    let status = child.wait()?;
    if !status.success() {
        bail!("the demo failed: {status}");
    }
    Ok(lines)
}

/// The recording, in version 2 of asciicast.
fn cast(lines: &[(f64, String)]) -> String {
    let head = json!({
        "version": 2,
        "width": COLUMNS,
        "height": lines.len().clamp(24, 60),
        "title": "afk demo",
    });
    let mut out = format!("{head}\n");
    for (at, line) in lines {
        // Writing to a string cannot fail; the same below.
        let _ = writeln!(
            out,
            "{}",
            json!([(at * 1000.0).round() / 1000.0, "o", format!("{line}\r\n")])
        );
    }
    out
}

/// All lines as a picture, in SVG.
fn svg(lines: &[(f64, String)]) -> String {
    let rows: Vec<_> = lines.iter().flat_map(|(_, line)| rows(line)).collect();
    let (width, height) = ((COLUMNS + 4) * WIDE, (rows.len() + 2) * HIGH);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"13\">\n<title>afk demo</title>\n<rect width=\"100%\" \
         height=\"100%\" rx=\"6\" fill=\"#16181d\"/>\n"
    );
    for (n, row) in rows.iter().enumerate() {
        let y = (n + 2) * HIGH - HIGH / 3;
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{y}\" fill=\"#d6d9e0\" xml:space=\"preserve\">",
            2 * WIDE
        );
        for (style, text) in row {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            if style.is_empty() {
                out.push_str(&text);
            } else {
                let _ = write!(out, "<tspan {style}>{text}</tspan>");
            }
        }
        out.push_str("</text>\n");
    }
    out.push_str("</svg>\n");
    out
}

/// The rows that a line takes, broken where a terminal would break it.
fn rows(line: &str) -> Vec<Vec<(&'static str, String)>> {
    let mut rows = vec![Vec::new()];
    let mut column = 0;
    for (style, text) in spans(line) {
        let chars: Vec<char> = text.chars().collect();
        let mut rest = chars.as_slice();
        while !rest.is_empty() {
            if column == COLUMNS {
                rows.push(Vec::new());
                column = 0;
            }
            let (part, more) = rest.split_at(rest.len().min(COLUMNS - column));
            if let Some(row) = rows.last_mut() {
                row.push((style, part.iter().collect()));
            }
            column += part.len();
            rest = more;
        }
    }
    rows
}

/// The parts of a line, each with its style as attributes.
fn spans(line: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut style = "";
    for (n, part) in line.split('\u{1b}').enumerate() {
        let text = match part.strip_prefix('[').and_then(|rest| rest.split_once('m')) {
            Some((codes, text)) if n > 0 => {
                style = match codes {
                    "1" => "font-weight=\"bold\"",
                    "2" => "fill=\"#7d8590\"",
                    "31" => "fill=\"#ff7b72\"",
                    "32" => "fill=\"#7ee787\"",
                    "33" => "fill=\"#e3b341\"",
                    "36" => "fill=\"#79c0ff\"",
                    _ => "",
                };
                text
            }
            _ => part,
        };
        if !text.is_empty() {
            found.push((style, text.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_styles_and_text_stays() {
        let parts = spans("a \u{1b}[32m✓\u{1b}[39m <b>");
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[1], ("fill=\"#7ee787\"", "✓".to_owned()));
        let picture = svg(&[(0.0, "a \u{1b}[32m✓\u{1b}[39m <b>".to_owned())]);
        assert!(picture.contains("&lt;b>") && !picture.contains('\u{1b}'), "{picture}");
        let long = format!("\u{1b}[32m{}", "x".repeat(2 * COLUMNS + 1));
        let lengths: Vec<usize> =
            rows(&long).iter().map(|row| row.iter().map(|(_, text)| text.len()).sum()).collect();
        assert_eq!(lengths, [COLUMNS, COLUMNS, 1]);
        assert_eq!(rows("").len(), 1);
        let cast = cast(&[(0.5, "x".to_owned())]);
        assert!(cast.ends_with("[0.5,\"o\",\"x\\r\\n\"]\n"), "{cast}");
    }
}
