//! Where InfluxDB's clients put a token.
//!
//! The header `Authorization` as `Token T`, `Bearer T`, `Token user:T` or `Basic` with the token as
//! password, or the query parameter `p`. The user is ignored: the token alone says who sends.
//! What it is not: it knows no token.

use super::parameter;
use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::borrow::Cow;

/// The token, from the header rather than from the query.
pub fn token<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<Cow<'a, str>> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(of_header).or_else(|| parameter(query, "p"));
    token.filter(|token| !token.is_empty())
}

fn of_header(value: &str) -> Option<Cow<'_, str>> {
    let (scheme, rest) = value.split_once(' ')?;
    let (rest, is) = (rest.trim(), |name: &str| scheme.eq_ignore_ascii_case(name));
    if is("basic") {
        let login = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        return login.split_once(':').map(|(_, password)| password.to_owned().into());
    }
    let token = match is("token") {
        // No token of ours has a colon.
        true => rest.split_once(':').map_or(rest, |(_, password)| password),
        false => is("bearer").then_some(rest)?,
    };
    Some(token.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_token_is_found_where_clients_put_it() {
        // Base64 of "user:T", "user:", "T" and ":T".
        let rows = [
            ("version 2", Some("Token T"), None, Some("T")),
            ("its case", Some("token  T "), None, Some("T")),
            ("version 3", Some("Bearer T"), None, Some("T")),
            ("version 1 with a user", Some("Token user:T"), None, Some("T")),
            ("version 1", Some("Basic dXNlcjpU"), None, Some("T")),
            ("without a user", Some("Basic OlQ="), None, Some("T")),
            ("in the query", None, Some("u=user&p=T"), Some("T")),
            ("in the query alone", None, Some("p=T"), Some("T")),
            ("the header goes first", Some("Token T"), Some("p=X"), Some("T")),
            ("another scheme, and the query", Some("Digest X"), Some("p=T"), Some("T")),
            ("nothing", None, None, None),
            ("a user alone", None, Some("u=user"), None),
            ("an empty password in the query", None, Some("u=user&p="), None),
            ("an empty token", Some("Token "), None, None),
            ("an empty password", Some("Basic dXNlcjo="), None, None),
            ("no password", Some("Basic VA=="), None, None),
            ("no base64", Some("Basic user:T"), None, None),
            ("another scheme", Some("Digest T"), None, None),
            ("no scheme", Some("T"), None, None),
        ];
        for (name, header, query, want) in rows {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert("authorization", HeaderValue::from_static(header));
            }
            assert_eq!(token(&headers, query).as_deref(), want, "{name}");
        }
    }
}
