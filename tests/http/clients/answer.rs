//! Requests and answers, as all versions of HTTP have them.

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Without those of the framing, which each version makes itself.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, fields: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn head(target: &str) -> Self {
        Self::new("HEAD", target)
    }

    pub(crate) fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("POST", target) }
    }

    /// The same with one more field.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// With names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    /// The value of a field that stands once at the most.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(found, _)| found == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice: {:?}", self.fields);
        value
    }

    /// The value of a field that must be there.
    pub(crate) fn needed(&self, name: &str) -> &str {
        self.field(name).unwrap_or_else(|| panic!("there is no {name}: {:?}", self.fields))
    }

    /// The content as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("it is text")
    }

    /// Our cookie as a client shows it again, if the answer sets it.
    pub(crate) fn cookie(&self) -> Option<&str> {
        let cookies = self.fields.iter().filter(|(name, _)| name == "set-cookie");
        let mut ours = cookies.filter(|(_, value)| value.starts_with("__Host-understudy="));
        ours.next().and_then(|(_, value)| value.split(';').next())
    }

    /// Checks the status.
    #[track_caller]
    pub(crate) fn must_be(&self, status: u16) -> &Self {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]);
        assert_eq!(self.status, status, "{:?} {text}", self.fields);
        self
    }
}

/// The fields of `http`'s map.
pub(super) fn fields_of(map: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// The head of a request to the router as `http` has it.
pub(super) fn head_of(ask: &Ask) -> http::Request<()> {
    let uri = format!("https://{}{}", super::NAME, ask.target);
    let mut head = http::Request::builder().method(ask.method.as_str()).uri(uri);
    for (name, value) in &ask.fields {
        head = head.header(name, value);
    }
    if !ask.body.is_empty() {
        head = head.header("content-length", ask.body.len());
    }
    head.body(()).expect("it is a request")
}
