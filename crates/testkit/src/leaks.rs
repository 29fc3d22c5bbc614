//! Whether a token stands where it must not: as it is, in base64, or one that nobody knows of.

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const PREFIXES: [&str; 2] = ["hg_site_", "hg_api_"];
/// What follows a prefix, in base64.
const SECRET_CHARS: usize = 43;

/// Everything in `text` that has the form of a token.
pub fn tokens_in(text: &str) -> BTreeSet<String> {
    let is_secret = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut found = BTreeSet::new();
    for prefix in PREFIXES {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let secret: String = rest.chars().take_while(|c| is_secret(*c)).collect();
            if secret.len() >= SECRET_CHARS {
                found.insert(format!("{prefix}{}", &secret[..SECRET_CHARS]));
            }
        }
    }
    found
}

/// What a secret looks like: as it is, and inside of base64 at each of the three places where it
/// can begin there, as in `Basic BASE64(user:secret)`.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    for before in 0..3 {
        let padded = [&[0_u8; 2][..before], secret.as_bytes()].concat();
        let encoded = BASE64_STANDARD_NO_PAD.encode(&padded);
        // The outer characters hold bits of what stands beside it.
        forms.push(encoded[4 * usize::from(before > 0)..encoded.len() - 4].to_owned());
    }
    forms
}

/// The tokens that `text` tells: those of `secrets` in any form, and whatever has a token's form.
pub fn leaks(text: &str, secrets: &BTreeSet<String>) -> BTreeSet<String> {
    let told = |secret: &&String| forms(secret).iter().any(|form| text.contains(form));
    let mut leaked = tokens_in(text);
    leaked.extend(secrets.iter().filter(told).cloned());
    leaked
}

/// All files below `dir`, but for those of these names.
pub fn files_below(dir: &Path, but: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_named = but.iter().any(|name| entry.file_name() == *name);
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&path, but)),
            Ok(kind) if kind.is_file() && !is_named => files.push(path),
            _ => {}
        }
    }
    files
}

#[test]
fn a_token_is_found_in_every_form() {
    let secret = format!("hg_api_{}", "x1-_".repeat(11));
    let token = secret[..50].to_owned();
    let secrets = BTreeSet::from([token.clone(), "an-old-secret-of-another-form".to_owned()]);
    let rows = [
        ("as it is", format!("Bearer {token}\""), 1),
        ("of no form", "p=an-old-secret-of-another-form&".to_owned(), 1),
        ("Basic", format!("Basic {}", BASE64_STANDARD_NO_PAD.encode(format!("u:{token}"))), 1),
        ("Basic 2", format!("Basic {}", BASE64_STANDARD_NO_PAD.encode(format!("us:{token}x"))), 1),
        ("Basic 3", format!("Basic {}", BASE64_STANDARD_NO_PAD.encode(format!("use:{token}"))), 1),
        ("its kind alone", "hg_api_… hg_site_".to_owned(), 0),
    ];
    for (name, text, want) in rows {
        assert_eq!(leaks(&text, &secrets).len(), want, "{name}");
    }
    assert_eq!(leaks(&token, &BTreeSet::new()).len(), 1, "also one that was not handed out");
}
