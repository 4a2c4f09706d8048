//! As much of HTTP/1.1 as a health check needs: the request line. Pure.

use super::Health;

/// Most bytes of a request that are read. Checks of balancers have 200.
pub const MAX_REQUEST_BYTES: usize = 2048;

/// What stands before the name of an application; without a name it is all of them.
const PATH: &str = "/health";

/// A status line's code and reason.
type Code = (u16, &'static str);

const OK: Code = (200, "OK");
const BAD_REQUEST: Code = (400, "Bad Request");
const NOT_FOUND: Code = (404, "Not Found");
const NOT_ALLOWED: Code = (405, "Method Not Allowed");
const TOO_LARGE: Code = (431, "Request Header Fields Too Large");
const UNAVAILABLE: Code = (503, "Service Unavailable");

/// Whether the whole head of a request is there, and nothing more need be read.
#[must_use]
pub fn is_complete(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|end| end == b"\r\n\r\n") || bytes.windows(2).any(|end| end == b"\n\n")
}

/// The whole answer to what was read. The connection is to be closed behind it.
#[must_use]
pub fn answer(bytes: &[u8], health: &Health) -> Vec<u8> {
    let (code, head_only, health) = match judge(bytes, health) {
        Ok((head_only, health)) if health.healthy => (OK, head_only, Some(health)),
        Ok((head_only, health)) => (UNAVAILABLE, head_only, Some(health)),
        Err(code) => (code, false, None),
    };
    let body = match health {
        // Names and states have no JSON that could fail.
        Some(health) => serde_json::to_string(&health).unwrap_or_default() + "\n",
        None => format!("{{\"error\":\"{}\"}}\n", code.1),
    };
    let mut text = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n{}\r\n",
        code.0,
        code.1,
        body.len(),
        if code == NOT_ALLOWED { "Allow: GET, HEAD\r\n" } else { "" },
    );
    if !head_only {
        text.push_str(&body);
    }
    text.into_bytes()
}

/// Whether only the head is wanted, and the health asked for.
fn judge(bytes: &[u8], health: &Health) -> Result<(bool, Health), Code> {
    if !is_complete(bytes) {
        return Err(if bytes.len() >= MAX_REQUEST_BYTES { TOO_LARGE } else { BAD_REQUEST });
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| BAD_REQUEST)?.trim_end_matches('\r');
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD_REQUEST);
    };
    if !version.starts_with("HTTP/1.") {
        return Err(BAD_REQUEST);
    }
    let head_only = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(NOT_ALLOWED),
    };
    let path = target.split('?').next().unwrap_or_default();
    find(path, health).map(|health| (head_only, health)).ok_or(NOT_FOUND)
}

fn find(path: &str, health: &Health) -> Option<Health> {
    match path.strip_prefix(PATH)? {
        "" | "/" => Some(health.clone()),
        name => health.only(name.strip_prefix('/')?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ApplicationHealth;
    use super::*;
    use proptest::prelude::*;

    fn health() -> Health {
        let application = |name: &str, healthy| ApplicationHealth {
            name: name.to_owned(),
            status: "NORMAL".to_owned(),
            colour: "GREEN".to_owned(),
            healthy,
            monitored: true,
        };
        Health { healthy: false, applications: vec![application("a", true), application("b", false)] }
    }

    fn code(request: &str) -> u16 {
        let answer = String::from_utf8(answer(request.as_bytes(), &health())).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn every_request_has_its_code() {
        for (request, expected) in [
            ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 503),
            ("GET /health/ HTTP/1.0\r\n\r\n", 503),
            ("GET /health/a HTTP/1.1\r\n\r\n", 200),
            ("GET /health/a?x=1 HTTP/1.1\r\n\r\n", 200),
            ("GET /health/a HTTP/1.1\n\n", 200),
            ("GET /health/b HTTP/1.1\r\n\r\n", 503),
            ("GET /health/c HTTP/1.1\r\n\r\n", 404),
            ("GET /healthy HTTP/1.1\r\n\r\n", 404),
            ("GET / HTTP/1.1\r\n\r\n", 404),
            ("GET /health/../etc/passwd HTTP/1.1\r\n\r\n", 404),
            ("POST /health HTTP/1.1\r\n\r\n", 405),
            ("get /health HTTP/1.1\r\n\r\n", 405),
            ("GET /health HTTP/2\r\n\r\n", 400),
            ("GET /health\r\n\r\n", 400),
            ("GET  /health HTTP/1.1\r\n\r\n", 400),
            ("GET /health HTTP/1.1\r\n", 400),
            ("", 400),
            ("\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}\n\n", 400),
        ] {
            assert_eq!(code(request), expected, "{request:?}");
        }
        assert_eq!(code(&"x".repeat(MAX_REQUEST_BYTES)), 431);
    }

    #[test]
    fn the_body_is_json_of_its_length_and_none_for_head() {
        let whole = String::from_utf8(answer(b"GET /health/a HTTP/1.1\r\n\r\n", &health())).unwrap();
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        let read: Health = serde_json::from_str(body).unwrap();
        assert_eq!(read, health().only("a").unwrap());
        let head_only = String::from_utf8(answer(b"HEAD /health/a HTTP/1.1\r\n\r\n", &health())).unwrap();
        assert_eq!(head_only, format!("{head}\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..MAX_REQUEST_BYTES)) {
            let text = String::from_utf8(answer(&bytes, &health())).unwrap();
            prop_assert!(text.starts_with("HTTP/1.1 "));
        }
    }
}
