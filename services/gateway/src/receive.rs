//! From a request to a whole, decompressed body, within the limits that it meets before anything
//! of it is believed.
//!
//! Invariant: what can be refused by the head is refused before the body is read; no more than
//! the configured uploads and bytes are held at once, decompressed bytes among them. What it is
//! not: it knows no upload and no route.

use crate::{accept::Sender, capacity::Place, pipeline::Gateway, problem::Problem};
use axum::{
    BoxError,
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use heliograph_domain::Violation;
use heliograph_formats::{
    Format,
    compression::{Encoding, Undone, decompress},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;

/// Reads and decompresses the body of a known sender's request, in a place of its own. The bytes
/// are counted until the place is dropped.
///
/// # Errors
/// The sender's fault, its own share taken among them, or [`Problem::Unavailable`] when all
/// places are.
pub async fn receive(
    gateway: &Gateway,
    sender: &Sender,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Place, Bytes), Problem> {
    let encoding = encoding(headers)?;
    let most = match encoding {
        Encoding::Identity => gateway.body_bytes_max.min(gateway.decompressed_bytes_max),
        Encoding::Gzip | Encoding::Zstd => gateway.body_bytes_max,
    };
    let mut place = gateway.admit(sender, declared_bytes(headers, most)?)?;
    let body = read_body(body, most, gateway.body_read_timeout).await?;
    // Some clients say gzip of an empty body, too.
    if encoding == Encoding::Identity || body.is_empty() {
        place.shrink_to(body.len());
        return Ok((place, body));
    }
    let most = gateway.decompressed_bytes_max;
    gateway.grow(&mut place, sender, body.len() + most)?;
    let body = decompress(encoding, body, most).map_err(|undone| match undone {
        Undone::TooLarge(violation) => Problem::TooLarge(violation),
        Undone::Broken(violation) => Problem::malformed(violation),
    })?;
    place.shrink_to(body.len());
    Ok((place, body))
}

/// The token of an `Authorization: Bearer` header.
///
/// # Errors
/// [`Problem::NoToken`].
pub fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header
        .and_then(|value| value.split_once(' '))
        .map(|(scheme, token)| (scheme, token.trim()))
        .filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
        .map(|(_, token)| token)
        .ok_or(Problem::NoToken)
}

/// The format that `Content-Type` names.
///
/// # Errors
/// [`Problem::UnsupportedMedia`].
pub fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    const WANT: &str =
        "application/json or application/protobuf; with curl -H 'content-type: application/json'";
    const KNOWN: [(&str, Format); 3] = [
        ("application/json", Format::Json),
        ("application/protobuf", Format::Protobuf),
        ("application/x-protobuf", Format::Protobuf),
    ];
    let wrong = |got| Problem::UnsupportedMedia(Violation::new("content-type", got, WANT));
    let kind = headers.get(header::CONTENT_TYPE).ok_or_else(|| wrong("nothing".to_owned()))?;
    let essence = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    KNOWN
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(essence))
        .map(|(_, format)| format)
        .ok_or_else(|| wrong(format!("{kind:?}")))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let mut all = headers.get_all(header::CONTENT_ENCODING).iter();
    let parsed = match (all.next(), all.next()) {
        (None, _) => return Ok(Encoding::Identity),
        (Some(one), None) => Encoding::parse(&String::from_utf8_lossy(one.as_bytes())),
        // Headers of one name are one list.
        (Some(one), Some(two)) => Encoding::parse(&format!(
            "{}, {}",
            String::from_utf8_lossy(one.as_bytes()),
            String::from_utf8_lossy(two.as_bytes())
        )),
    };
    parsed.map_err(Problem::UnsupportedMedia)
}

/// The length of the body, or the most it can have where none is declared.
fn declared_bytes(headers: &HeaderMap, max: usize) -> Result<usize, Problem> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(max) };
    match length.to_str().ok().and_then(|l| l.parse::<u64>().ok()) {
        // A length that is no number never gets here; hyper refuses it.
        Some(length) if length <= max as u64 => Ok(length as usize),
        length => Err(too_large(length, max)),
    }
}

/// A body that is longer than any that is taken.
pub fn too_large(length: Option<u64>, max: usize) -> Problem {
    let got = length.map_or_else(|| format!("more than {max} bytes"), |l| format!("{l} bytes"));
    let want = format!("at most {max} bytes; send the readings in several uploads");
    Problem::TooLarge(Violation::new("body", got, want))
}

/// Reads the body within its limits.
///
/// # Errors
/// The sender's fault in each case: too long, too slow, broken off.
async fn read_body(body: Body, max: usize, timeout: Duration) -> Result<Bytes, Problem> {
    match tokio::time::timeout(timeout, gather(Limited::new(body, max))).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(None, max)),
        Ok(Err(error)) => {
            Err(Problem::malformed(Violation::new("body", error, "the body in full")))
        }
        Err(_) => Err(Problem::SlowBody),
    }
}

/// In one piece: kept apart, frames of a byte each would cost many times what is counted.
async fn gather(mut body: Limited<Body>) -> Result<Bytes, BoxError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            whole.extend_from_slice(data);
        }
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{http::HeaderValue, response::IntoResponse};

    const MAX: usize = 100;

    fn headers(change: impl FnOnce(&mut HeaderMap)) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer t"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("content-length", HeaderValue::from_static("10"));
        change(&mut headers);
        headers
    }

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        headers(|h| drop(h.insert(name, HeaderValue::from_static(value))))
    }

    fn without(name: &'static str) -> HeaderMap {
        headers(|h| drop(h.remove(name)))
    }

    /// What a head comes to: encoding, format and length.
    fn read(headers: &HeaderMap) -> Result<(Encoding, Format, usize), Problem> {
        bearer(headers)?;
        Ok((encoding(headers)?, format(headers)?, declared_bytes(headers, MAX)?))
    }

    #[test]
    fn a_head_is_taken_or_says_what_is_wrong() {
        use Encoding::{Gzip, Identity, Zstd};
        use Format::{Json, Protobuf};
        let two = headers(|h| {
            h.append("content-encoding", HeaderValue::from_static("gzip"));
            h.append("content-encoding", HeaderValue::from_static("zstd"));
        });
        let rows = [
            ("sound", headers(|_| ()), Ok((Identity, Json, 10))),
            (
                "a charset",
                with("content-type", "Application/JSON; charset=utf-8"),
                Ok((Identity, Json, 10)),
            ),
            ("the scheme's case", with("authorization", "bearer t"), Ok((Identity, Json, 10))),
            ("no length: the most", without("content-length"), Ok((Identity, Json, MAX))),
            ("said aloud", with("content-encoding", "identity"), Ok((Identity, Json, 10))),
            ("gzip", with("content-encoding", "gzip"), Ok((Gzip, Json, 10))),
            ("zstd", with("content-encoding", "zstd"), Ok((Zstd, Json, 10))),
            (
                "protobuf",
                with("content-type", "application/protobuf"),
                Ok((Identity, Protobuf, 10)),
            ),
            (
                "its older name",
                with("content-type", "application/x-protobuf"),
                Ok((Identity, Protobuf, 10)),
            ),
            ("no token", without("authorization"), Err(401)),
            ("another scheme", with("authorization", "Basic dDp0"), Err(401)),
            ("an empty token", with("authorization", "Bearer  "), Err(401)),
            ("no format", without("content-type"), Err(415)),
            ("a form", with("content-type", "application/x-www-form-urlencoded"), Err(415)),
            ("an unknown compression", with("content-encoding", "br"), Err(415)),
            ("twice compressed", with("content-encoding", "gzip, zstd"), Err(415)),
            ("twice compressed, in two headers", two, Err(415)),
            ("too long", with("content-length", "101"), Err(413)),
            ("far too long", with("content-length", "99999999999999999999999"), Err(413)),
        ];
        for (name, headers, want) in rows {
            let got = read(&headers).map_err(|p| p.into_response().status().as_u16());
            assert_eq!(got, want, "{name}");
        }
        assert_eq!(bearer(&headers(|_| ())), Ok("t"));
    }

    #[tokio::test]
    async fn a_body_longer_than_declared_is_refused() {
        let got = read_body(Body::from("12345"), 4, Duration::from_secs(60)).await;
        assert!(matches!(got, Err(Problem::TooLarge(_))), "{got:?}");
        let got = read_body(Body::from("1234"), 4, Duration::from_secs(60)).await;
        assert_eq!(got, Ok(Bytes::from_static(b"1234")));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let got = read_body(never, 4, Duration::from_millis(1)).await;
        assert_eq!(got, Err(Problem::SlowBody));
    }
}
