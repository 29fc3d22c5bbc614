//! What commands say: answers on stdout, words about them on stderr, questions on the terminal.

use std::{
    fmt::Display,
    io::{BufRead, IsTerminal, Write, stderr, stdin, stdout},
};

/// An answer.
///
/// # Errors
/// When stdout is gone.
pub fn line(answer: impl Display) -> anyhow::Result<()> {
    Ok(writeln!(stdout().lock(), "{answer}")?)
}

/// An answer as JSON or for people.
///
/// # Errors
/// When stdout is gone.
pub fn either(json: bool, object: &serde_json::Value, text: &str) -> anyhow::Result<()> {
    match json {
        true => line(object),
        false => line(text),
    }
}

/// A word beside the answer; that it cannot be said is no failure.
pub fn hint(words: impl Display) {
    let _ = writeln!(stderr().lock(), "{words}");
}

/// Whether somebody wants this: `--yes`, or a `y` on the terminal.
///
/// # Errors
/// Without `--yes` where nobody can be asked.
pub fn is_agreed(yes: bool, question: &str) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    anyhow::ensure!(stdin().is_terminal(), "nobody can be asked here: --yes does it");
    write!(stderr().lock(), "{question} [y/N] ")?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
