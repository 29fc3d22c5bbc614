//! What the place that a command prints to can show.
//!
//! Asked once, at the edge; everything below is told.

use super::chart::Style;
use std::io::IsTerminal;

/// Where nobody says how wide it is.
const COLUMNS_UNKNOWN: usize = 80;
/// High enough to see a shape, low enough to see several series at once.
const CHART_ROWS: usize = 8;

/// How to draw on stdout, and whether it is a terminal at all.
pub fn of_stdout() -> (bool, Style) {
    let stdout = std::io::stdout();
    let is_terminal = stdout.is_terminal();
    let columns = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
    (is_terminal, style(is_terminal, columns, |name| std::env::var(name).ok()))
}

fn style(is_terminal: bool, columns: Option<usize>, env: impl Fn(&str) -> Option<String>) -> Style {
    let env = |name| env(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(env).unwrap_or_default();
    let charset = locale.to_ascii_lowercase().replace('-', "");
    let is_plain = env("NO_COLOR").is_some() || env("TERM").is_some_and(|term| term == "dumb");
    Style {
        columns: columns.filter(|n| *n > 0).unwrap_or(COLUMNS_UNKNOWN),
        rows: CHART_ROWS,
        is_unicode: charset.contains("utf8"),
        is_coloured: is_terminal && !is_plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(is_terminal: bool, env: &[(&str, &str)]) -> Style {
        style(is_terminal, None, |name| {
            env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn glyphs_are_what_the_locale_has() {
        let rows: [(&[(&str, &str)], bool); 6] = [
            (&[], false),
            (&[("LANG", "ja_JP.UTF-8")], true),
            (&[("LANG", "C.utf8")], true),
            (&[("LANG", "ja_JP.eucJP")], false),
            (&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")], false),
            (&[("LC_ALL", ""), ("LC_CTYPE", "en_GB.UTF-8"), ("LANG", "C")], true),
        ];
        for (env, want) in rows {
            assert_eq!(of(true, env).is_unicode, want, "{env:?}");
        }
    }

    #[test]
    fn colour_is_for_terminals_whose_owner_does_not_mind() {
        assert!(of(true, &[("NO_COLOR", "")]).is_coloured);
        assert!(!of(true, &[("NO_COLOR", "1")]).is_coloured);
        assert!(!of(true, &[("TERM", "dumb")]).is_coloured);
        assert!(!of(false, &[]).is_coloured);
    }

    #[test]
    fn a_width_that_nobody_says_is_eighty() {
        assert_eq!(of(true, &[]).columns, 80);
        assert_eq!(style(true, Some(0), |_| None).columns, 80);
        assert_eq!(style(true, Some(132), |_| None).columns, 132);
    }
}
