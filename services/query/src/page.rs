//! Lists in pages, in the order of their ids.

use crate::error::violation;
use heliograph_domain::Violation;
use tonic::Status;

const SIZE_DEFAULT: u32 = 1_000;
const SIZE_MAX: u32 = 10_000;

/// How many the caller wants.
pub fn size(asked: u32) -> Result<usize, Status> {
    match asked {
        0 => Ok(SIZE_DEFAULT as usize),
        size if size <= SIZE_MAX => Ok(size as usize),
        size => Err(violation(Violation::new("page_size", size, format!("at most {SIZE_MAX}")))),
    }
}

/// A page's token is the last id of the page before.
pub fn check_token(token: &str, is_id: impl FnOnce(&str) -> bool) -> Result<(), Status> {
    if token.is_empty() || is_id(token) {
        return Ok(());
    }
    let want = "next_page_token of the page before";
    Err(violation(Violation::new("page_token", format_args!("{token:?}"), want)))
}

/// The first `size`, and the token of the page after them; empty on the last.
pub fn cut<T>(
    mut items: impl Iterator<Item = T>,
    size: usize,
    id: impl Fn(&T) -> &str,
) -> (Vec<T>, String) {
    let page: Vec<T> = items.by_ref().take(size).collect();
    let more = items.next().is_some();
    let next = page.last().filter(|_| more).map(|last| id(last).to_owned());
    (page, next.unwrap_or_default())
}
