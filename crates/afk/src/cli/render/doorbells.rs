//! The results of ringing doorbells as a test.

use afk_app::operations::DoorbellTested;

use crate::cli::style::{Mark, Paint};
use crate::cli::words::line;

/// A line for each doorbell, with how to fix those that did not ring.
pub(crate) fn doorbells(tested: &[DoorbellTested], paint: Paint) -> String {
    if tested.is_empty() {
        return "no doorbell is configured: nobody is told how runs end; add one to `notify`, such \
                as { kind = \"terminal\" }"
            .to_owned();
    }
    let width = tested.iter().map(|one| one.name.as_str().len()).max().unwrap_or(0);
    let mut out = Vec::new();
    for one in tested {
        let name = format!("{:<width$}", one.name.as_str());
        match &one.error {
            None => {
                out.push(format!("{} {name} rang in {:.1} s", paint.mark(Mark::Yes), one.seconds));
            }
            Some(error) => {
                out.push(format!("{} {name} {}", paint.mark(Mark::No), line(error, 600)));
            }
        }
        if let Some(remedy) = &one.remedy {
            out.push(format!(
                "  {:width$} {}",
                "",
                paint.faint(format!("→ {}", line(remedy, 400)))
            ));
        }
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tested(name: &str, error: Option<&str>) -> DoorbellTested {
        DoorbellTested {
            name: name.parse().unwrap(),
            kind: "webhook".parse().unwrap(),
            seconds: 0.24,
            error: error.map(str::to_owned),
            remedy: error.map(|_| "correct its entry in `notify`".to_owned()),
        }
    }

    #[test]
    fn one_that_rang_and_one_that_did_not() {
        let all = [tested("ops", None), tested("builds", Some("answered 500\u{1b}[2J"))];
        let shown = doorbells(&all, Paint::PLAIN);
        let expected = "✓ ops    rang in 0.2 s\n✗ builds answered 500\n         \
                        → correct its entry in `notify`";
        assert_eq!(shown, expected);
        assert!(doorbells(&[], Paint::PLAIN).contains("no doorbell is configured"));
    }
}
