//! `heliograph completions SHELL`: what makes the Tab key know the commands.
//!
//! The scripts come from the same definition that parses the command line, so they cannot name
//! what it does not take. They know names and fixed values; they never ask a service.

use clap::{Args, Command};
use clap_complete::{Shell, generate};
use std::{io::Write, process::ExitCode};

/// Print a script that lets your shell complete heliograph's commands and options
#[derive(Debug, Args)]
#[command(after_help = "Examples, each for the shells opened afterwards:
  heliograph completions bash > ~/.local/share/bash-completion/completions/heliograph
  heliograph completions zsh > ~/.zfunc/_heliograph      # with fpath+=~/.zfunc before compinit
  heliograph completions fish > ~/.config/fish/completions/heliograph.fish
  heliograph completions elvish >> ~/.config/elvish/rc.elv
  heliograph completions powershell >> $PROFILE

For this bash alone:
  source <(heliograph completions bash)")]
pub struct CompletionsArgs {
    /// The shell that is to complete
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for `command`.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &CompletionsArgs, command: &mut Command) -> anyhow::Result<ExitCode> {
    std::io::stdout().lock().write_all(&script(args.shell, command))?;
    Ok(ExitCode::SUCCESS)
}

/// In memory first: `generate` panics when its writer fails, as a closed pipe does.
fn script(shell: Shell, command: &mut Command) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, command, "heliograph", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use std::process::{Command as Process, Stdio};

    fn of(shell: Shell) -> String {
        String::from_utf8(script(shell, &mut crate::cli::command())).unwrap()
    }

    /// What a shell answers to `program` with the script on its stdin; `None` where it is missing.
    fn ask(shell: &str, args: &[&str], script: &str) -> Option<std::process::Output> {
        let piped = Process::new(shell)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match piped {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("{shell}: {error}"),
        };
        let mut stdin = child.stdin.take().unwrap();
        let script = script.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        Some(output)
    }

    #[test]
    fn every_shell_has_a_script_that_names_every_command() {
        let command = crate::cli::command();
        for shell in Shell::value_variants() {
            let script = of(*shell);
            for name in command.get_subcommands().map(Command::get_name) {
                assert!(script.contains(name), "{shell}: no {name}");
            }
        }
    }

    #[test]
    fn a_shell_that_is_here_accepts_its_script() {
        for (shell, args) in [(Shell::Bash, ["-n"]), (Shell::Zsh, ["-n"]), (Shell::Fish, ["-n"])] {
            let output = ask(&shell.to_string(), &args, &of(shell));
            assert!(output.is_some() || shell != Shell::Bash, "bash is not here");
            let Some(output) = output else { continue };
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && text.is_empty(), "{shell}: {text}");
        }
    }

    #[test]
    fn bash_completes_commands_options_and_values() {
        let rows = [
            ("heliograph rea", "readings"),
            ("heliograph site ad", "add"),
            ("heliograph readings --metr", "--metric"),
            ("heliograph completions power", "powershell"),
        ];
        for (typed, want) in rows {
            let words: Vec<&str> = typed.split(' ').collect();
            let [.., previous, last] = words[..] else { panic!("{typed}") };
            let ask_for = format!(
                "COMP_WORDS=({typed}); COMP_CWORD={}; _heliograph heliograph {last} {previous}\n\
                 printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
                words.len() - 1,
            );
            let script = format!("{}\n{ask_for}", of(Shell::Bash));
            let output = ask("bash", &["--norc", "-s"], &script).unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(text.trim(), want, "{typed}: {errors}");
        }
    }
}
