//! Clients that speak HTTP: several connections for one client, requests that are taken back, and
//! content that comes after its request.

use super::*;
use crate::wire::http::{
    Fields, HttpAnswer, HttpBody, HttpRequest, RequestBody, RequestTarget, Scheme,
};
use crate::wire::lane::ErrorCode;

/// An HTTP client connects.
fn connect_http(router: &mut Router, token: Option<Bytes>) -> (SessionId, Welcome) {
    let session = router.handle_connected();
    router.handle_http_client(now(0), session, token);
    let said = outputs(router);
    let welcome = said.iter().find_map(|output| match output {
        Output::ToSession { frame, .. } => Welcome::decode(frame.payload()).ok(),
        _ => None,
    });
    let closed = said.iter().any(|output| matches!(output, Output::CloseSession { .. }));
    assert!(!closed, "{said:?}");
    (session, welcome.expect("a server is at hand"))
}

fn request(request_id: u64, method: &str, body: RequestBody) -> Frame {
    let request = HttpRequest {
        request_id,
        idempotent: method != "POST",
        method: method.to_owned(),
        scheme: Scheme::Https,
        authority: "localhost".to_owned(),
        target: RequestTarget::new(Bytes::from_static(b"/a")).unwrap(),
        fields: Fields::default(),
        body,
    };
    request.encode()
}

fn ask_http(router: &mut Router, session: SessionId, frame: Frame) -> (ServerIndex, u64, Forward) {
    router.handle_lane_frame(now(0), session, HTTP_LANE, frame);
    let mut forwards = forwards(outputs(router));
    assert_eq!(forwards.len(), 1, "{forwards:?}");
    forwards.remove(0)
}

fn answer(request_id: u64, inner_id: u64, status: u16, body: HttpBody) -> Message {
    let answer = HttpAnswer { status, fields: Fields::default(), body };
    let inner = Reply { request_id: inner_id, outcome: Outcome::Http(answer) }.encode();
    Message::Reply { request_id, assignment: None, by: None, inner }
}

/// The requests that servers are told nobody waits for.
fn cancelled(outputs: &[Output]) -> Vec<u64> {
    let cancel = |output: &Output| match output {
        Output::ToServer { frame, .. } => match Message::decode(frame) {
            Ok(Message::Cancel { request_id }) => Some(request_id),
            _ => None,
        },
        _ => None,
    };
    outputs.iter().filter_map(cancel).collect()
}

#[test]
fn a_client_may_have_several_connections_that_speak_http() {
    let [mut one, mut other] = workers();
    let (first, welcome) = connect_http(&mut one, None);
    let (second, again) = connect_http(&mut one, Some(welcome.token.clone()));
    let (third, elsewhere) = connect_http(&mut other, Some(welcome.token));
    assert_eq!((welcome.client, welcome.client), (again.client, elsewhere.client));
    for session in [first, second] {
        let (_, _, forward) = ask_http(&mut one, session, request(1, "GET", RequestBody::None));
        assert_eq!(forward.client, welcome.client);
    }
    ask_http(&mut other, third, request(1, "GET", RequestBody::None));
}

#[test]
fn nobody_but_the_front_may_say_who_asks_what() {
    let [mut router, _] = workers();
    let (native, ..) = connect(&mut router, None);
    router.handle_lane_frame(now(0), native, LANE, request(1, "GET", RequestBody::None));
    let said = outputs(&mut router);
    assert!(matches!(said[..], [Output::CloseSession { session, .. }] if session == native));
}

#[test]
fn a_request_that_is_taken_back_is_taken_back_at_its_server() {
    let [mut router, _] = workers();
    let (session, _) = connect_http(&mut router, None);
    let (x, worker, kept) = ask_http(&mut router, session, request(1, "GET", RequestBody::None));
    let (_, _, forward) = ask_http(&mut router, session, request(2, "GET", RequestBody::None));
    router.handle_cancelled(session, 2);
    assert_eq!(cancelled(&outputs(&mut router)), [forward.request_id]);
    router.handle_cancelled(session, 2);
    assert!(outputs(&mut router).is_empty(), "once");
    let late = answer(forward.request_id, 2, 200, HttpBody::None);
    router.handle_server_message(now(0), x, worker, late);
    assert!(outputs(&mut router).is_empty());

    // A connection that ends takes all of its requests back.
    router.handle_disconnected(now(0), session);
    assert_eq!(cancelled(&outputs(&mut router)), [kept.request_id]);
    assert_eq!(router.requests.len(), 0);
}

#[test]
fn content_goes_to_the_server_that_has_taken_the_request() {
    let [mut router, _] = workers();
    let (session, _) = connect_http(&mut router, None);
    let asked = ask_http(&mut router, session, request(3, "POST", RequestBody::Stream));
    let (x, worker, forward) = asked;
    let want = Message::WantBody { request_id: forward.request_id };
    router.handle_server_message(now(0), x, worker, want.clone());
    let said = outputs(&mut router);
    let [Output::SendContent { session: of, inner_id: 3, server, number, .. }] = said[..] else {
        panic!("{said:?}");
    };
    assert_eq!((of, server, number), (session, x, forward.request_id));
    // What was begun is never sent elsewhere.
    router.handle_server_down(now(0), x);
    let said = outputs(&mut router);
    assert_eq!(on_lanes(&said), [FrameType::FateUnknown]);
    assert!(forwards(said).is_empty());
    router.handle_server_message(now(0), x, worker, want);
    assert!(outputs(&mut router).is_empty(), "nobody has that content any more");
}

#[test]
fn a_read_goes_to_the_alternate_when_its_server_is_lost() {
    let [mut router, _] = workers();
    let (session, _) = connect_http(&mut router, None);
    let (x, _, _) = ask_http(&mut router, session, request(1, "GET", RequestBody::None));
    router.handle_server_down(now(0), x);
    // Nothing is known of an alternate: all are asked who holds the client, and then it is
    // assigned afresh. The client is not told of any of this.
    assert!(!on_lanes(&outputs(&mut router)).contains(&FrameType::Error));
}

#[test]
fn a_server_that_does_not_know_http_is_not_asked() {
    let mut router = worker(1, &Arc::default());
    let old = VERSION - 1;
    router.handle_server_up(now(0), (&name("x"), None), 1, old).expect("a place");
    link_status(&mut router);
    let (session, _) = connect_http(&mut router, None);
    router.handle_lane_frame(now(0), session, HTTP_LANE, request(1, "GET", RequestBody::None));
    let said = outputs(&mut router);
    let replies: Vec<_> = said
        .iter()
        .filter_map(|output| match output {
            Output::ToLane { frame, .. } => Some(Reply::decode(frame).expect("a reply").outcome),
            _ => None,
        })
        .collect();
    let [Outcome::Error { code: ErrorCode::NotSupported, .. }] = &replies[..] else {
        panic!("{said:?}");
    };
}

fn link_status(router: &mut Router) {
    let index = router.assignments.shared().names.find(&name("x")).expect("it was linked");
    router.handle_server_message(now(0), index, 0, Message::Status(status("x")));
    outputs(router);
}
