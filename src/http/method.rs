//! What methods promise (RFC 9110, section 9.2). Case matters: `get` is another method than `GET`.

/// Whether a method only reads (section 9.2.1).
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

/// Whether asking twice does as much as asking once (section 9.2.2), so that a request may be sent
/// again when it is not known what became of it.
pub fn is_idempotent(method: &str) -> bool {
    is_safe(method) || matches!(method, "PUT" | "DELETE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_promise_what_the_rfc_says() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert!(is_safe(method) && is_idempotent(method), "{method}");
        }
        for method in ["PUT", "DELETE"] {
            assert!(!is_safe(method) && is_idempotent(method), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "get", "Put", "", "GET "] {
            assert!(!is_safe(method) && !is_idempotent(method), "{method}");
        }
    }
}
