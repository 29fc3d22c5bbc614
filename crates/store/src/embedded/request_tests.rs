//! URL parameters, credentials and forms; the row's name is the rule.

use hyper::Request;

use super::*;

fn call(request: hyper::http::request::Builder) -> Result<Call, Failure> {
    Call::parse(&request.body(()).expect("request").into_parts().0)
}

fn post(uri: &str) -> Result<Call, Failure> {
    call(Request::post(uri))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

#[test]
fn url_parameters_are_query_settings_or_params() {
    let got = post("/?database=d&query=SELECT+1&max_threads=2&param_a=x%09y&default_format=TSV")
        .expect("parsed");
    assert_eq!(got.database.as_deref(), Some("d"));
    assert_eq!(got.query.as_deref(), Some("SELECT 1"));
    assert_eq!(got.default_format.as_deref(), Some("TSV"));
    assert_eq!(got.settings, pairs(&[("max_threads", "2")]));
    assert_eq!(got.params, pairs(&[("a", "x\ty")]));
}

#[test]
fn what_the_endpoint_cannot_do_is_refused_by_name() {
    let rows: &[(&str, &str, u32)] = &[
        ("block compression of answers", "/?compress=1", 48),
        ("block compression of bodies", "/?decompress=1", 48),
        ("sessions", "/?session_id=a", 48),
        ("roles", "/?role=a", 48),
        ("a Native that we do not speak", "/?client_protocol_version=54460", 48),
        ("a setting that is no plain name", "/?a%3D1%2C%20b=2", 115),
        ("a level of readonly that does not exist", "/?readonly=3", 36),
    ];
    for (name, uri, code) in rows {
        assert_eq!(post(uri).expect_err(name).code, *code, "{name}");
    }
    for uri in ["/?compress=0", "/?client_protocol_version=0", "/?quota_key=x"] {
        assert!(post(uri).expect("harmless").settings.is_empty(), "{uri}");
    }
}

#[test]
fn a_get_never_writes() {
    let rows: &[(&str, hyper::http::request::Builder, u8)] = &[
        ("GET reads", Request::get("/?query=x"), 2),
        ("and cannot ask for more", Request::get("/?query=x&readonly=0"), 2),
        ("but for less", Request::get("/?query=x&readonly=1"), 1),
        ("POST writes", Request::post("/"), 0),
    ];
    for (name, request, readonly) in rows {
        let uri = request.uri_ref().expect("uri").clone();
        let again = Request::builder().method(request.method_ref().expect("method")).uri(uri);
        assert_eq!(call(again).expect("parsed").readonly, *readonly, "{name}");
    }
}

#[test]
fn only_the_configured_user_comes_in() {
    let headers = |user: &str, key: &str| {
        Request::post("/").header("X-ClickHouse-User", user).header("X-ClickHouse-Key", key)
    };
    let basic = "Basic aGc6czNjcmV0"; // hg:s3cret
    let rows: Vec<(&str, hyper::http::request::Builder, bool)> = vec![
        ("headers", headers("hg", "s3cret"), true),
        ("URL", Request::post("/?user=hg&password=s3cret"), true),
        ("basic", Request::post("/").header("Authorization", basic), true),
        ("a wrong password", headers("hg", "s3creT"), false),
        ("the beginning of the password", headers("hg", "s3cre"), false),
        ("another user", headers("root", "s3cret"), false),
        ("nobody", Request::post("/"), false),
    ];
    for (name, request, allowed) in rows {
        let call = call(request).expect("parsed");
        let outcome = call.authenticate(Some("hg"), Some("s3cret"));
        assert_eq!(outcome.is_ok(), allowed, "{name}");
        if let Err(failure) = outcome {
            assert_eq!(failure.code, 516, "{name}");
        }
        assert!(call.authenticate(None, None).is_ok(), "{name}: nobody configured");
    }
    let bearer = call(Request::post("/").header("Authorization", "Bearer x"));
    assert_eq!(bearer.expect_err("bearer").code, 516);
}

#[test]
fn a_form_carries_the_query_and_its_params() {
    let body =
        b"--B\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {a:String}\r\n\
        --B\r\nContent-Disposition: form-data; name=\"param_a\"\r\n\r\nline\r\n-- two\r\n--B--\r\n";
    let mut call = Call::default();
    call.take_form("B", body).expect("form");
    assert_eq!(call.query.as_deref(), Some("SELECT {a:String}"));
    assert_eq!(call.params, pairs(&[("a", "line\r\n-- two")]));

    let cut = &body[..body.len() - 6];
    assert_eq!(Call::default().take_form("B", cut).expect_err("cut short").code, 36);
    let file = b"--B\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\n1\r\n--B--";
    assert_eq!(Call::default().take_form("B", file).expect_err("external table").code, 48);
}

#[test]
fn the_boundary_is_read_from_the_content_type() {
    let rows: &[(&str, Option<&str>)] = &[
        ("multipart/form-data; boundary=abc", Some("abc")),
        ("Multipart/Form-Data; charset=x; boundary=\"a b\"", Some("a b")),
        ("multipart/mixed; boundary=abc", None),
        ("text/plain", None),
    ];
    for (content_type, want) in rows {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().expect("value"));
        assert_eq!(form_boundary(&headers).as_deref(), *want, "{content_type}");
    }
}

proptest::proptest! {
    #[test]
    fn no_body_breaks_the_form_parser(body in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = form_fields("B", &body);
        let mut framed = b"--B\r\n".to_vec();
        framed.extend_from_slice(&body);
        let _ = form_fields("B", &framed);
    }
}
