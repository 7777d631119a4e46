//! One HTTP client's connection, whatever version of HTTP it speaks: its session, and its requests
//! from their heads to the heads of their answers.

use super::answer::{Answer, told};
use super::content::{Content, Pieces, send_content};
use super::cookie;
use super::fields::Arrivals;
use super::io::{Answered, HttpIo};
use crate::h3::{Code, Error};
use crate::http::forward::Protocol;
use crate::net::router::Shell;
use crate::net::router::clients::SessionIo;
use crate::node::router::{HTTP_LANE, PoolIndex, SessionId};
use crate::wire::ClientId;
use crate::wire::http::{Fields, FieldsBuilder, HttpRequest, RequestBody, RequestTarget, Scheme};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::task::JoinHandle;

/// A request as the front hands it in: its fields are those of the client, checked.
pub(super) struct Ask {
    pub(super) method: String,
    pub(super) scheme: Scheme,
    pub(super) authority: String,
    pub(super) target: RequestTarget,
    pub(super) fields: Fields,
    pub(super) content: Content,
    /// The version of HTTP in which it came.
    pub(super) protocol: Protocol,
}

/// One client's connection.
pub(super) struct HttpClient {
    shell: Rc<Shell>,
    /// Where the client is.
    peer: SocketAddr,
    /// Of HTTP/3.
    connection: Option<quinn::Connection>,
    /// One for each pool that was asked; few.
    sessions: RefCell<Vec<PoolSession>>,
    next_id: Cell<u64>,
    requests: Cell<u64>,
    taken_back: Cell<u32>,
    arrivals: Arrivals,
}

/// A session of a connection: those of all pools have their own, with a token and a client id.
struct PoolSession {
    pool: PoolIndex,
    io: Rc<HttpIo>,
    /// What the client was given, or gave, as its cookie last.
    cookie: Option<bytes::Bytes>,
}

impl HttpClient {
    pub(super) fn new(
        shell: Rc<Shell>,
        peer: SocketAddr,
        connection: Option<quinn::Connection>,
    ) -> Self {
        Self {
            shell,
            peer,
            connection,
            sessions: RefCell::default(),
            next_id: Cell::default(),
            requests: Cell::default(),
            taken_back: Cell::default(),
            arrivals: Arrivals::default(),
        }
    }

    pub(super) fn shell(&self) -> &Rc<Shell> {
        &self.shell
    }

    /// Where the client is.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Who the client is, once that is known.
    pub(super) fn id(&self) -> Option<ClientId> {
        self.sessions.borrow().first()?.io.client()
    }

    /// Asks a server. The answer's body may still be on its way.
    pub(super) async fn ask(&self, ask: Ask) -> Answer {
        let pools = &self.shell.pools;
        let Some(pool) = pools.of_request(&ask.authority, ask.target.path()) else {
            return told(404, "no pool serves this host and path");
        };
        let shown = cookie::token_of(&ask.fields, pools.cookie(pool));
        let Some((session, io)) = self.session(pool, shown.clone()).await else {
            return told(503, "no server can be reached: try again later");
        };
        let authorized = ask.fields.has("authorization");
        let (request, content) = match self.request(ask) {
            Ok(request) => request,
            Err(answer) => return answer,
        };
        let going = Going {
            shell: Rc::clone(&self.shell),
            io: Rc::clone(&io),
            session,
            id: request.request_id,
            sending: None,
            is_over: false,
        };
        let answered = self.ask_server(going, &request, content).await;
        let mut answer = match answered {
            Some(answered) => answered,
            None => told(503, "the request was not answered: try again"),
        };
        self.give_cookie(&mut answer, (pool, &io), (shown, authorized));
        answer
    }

    async fn ask_server(
        &self,
        mut going: Going,
        request: &HttpRequest,
        content: Option<Box<dyn Pieces>>,
    ) -> Option<Answer> {
        let reply = going.io.expect(request.request_id);
        if let Some(content) = content {
            let taken = going.io.expect_taken(request.request_id);
            going.sending = Some(tokio::task::spawn_local(send_content(content, taken)));
        }
        let (session, frame) = (going.session, request.encode());
        self.shell.with(|node, now| node.handle_lane_frame(now, session, HTTP_LANE, frame));
        let Answered { outcome, feed } = reply.await.ok()?;
        Some(Answer::of(outcome, feed, going))
    }

    /// The session of this connection in a pool; it begins with the first request for it, which
    /// shows the token.
    async fn session(
        &self,
        pool: PoolIndex,
        token: Option<bytes::Bytes>,
    ) -> Option<(SessionId, Rc<HttpIo>)> {
        let (io, is_first) = self.io_of(pool, &token);
        if io.session().is_none() {
            let session = self.shell.with(|node, _| node.handle_connected_for(pool));
            io.set_session(session);
            // What goes over the connection is counted once.
            let connection = self.connection.clone().filter(|_| is_first);
            let beside = SessionIo::Http(Rc::clone(&io), connection);
            self.shell.sessions.borrow_mut().insert(session.0, beside);
            self.shell.with(|node, now| node.handle_http_client(now, session, token));
        }
        let session = io.session()?;
        io.may_ask().await.then_some((session, io))
    }

    /// Who waits in a pool, and whether that was the first to be asked. One that is new has the
    /// cookie that the request shows.
    fn io_of(&self, pool: PoolIndex, token: &Option<bytes::Bytes>) -> (Rc<HttpIo>, bool) {
        let mut sessions = self.sessions.borrow_mut();
        let place = sessions.iter().position(|known| known.pool == pool);
        if let Some(known) = place.and_then(|place| sessions.get(place))
            && !known.io.is_closed()
        {
            return (Rc::clone(&known.io), place == Some(0));
        }
        let io = Rc::default();
        let new = PoolSession { pool, io: Rc::clone(&io), cookie: token.clone() };
        match place {
            Some(place) => sessions[place] = new,
            None => sessions.push(new),
        }
        (io, place.unwrap_or(sessions.len() - 1) == 0)
    }

    /// The request as it goes to a server, and its content if that comes after it.
    fn request(&self, ask: Ask) -> Result<(HttpRequest, Option<Box<dyn Pieces>>), Answer> {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let mut fields = self.arrivals.for_server(&ask, self.peer)?;
        if matches!(ask.content, Content::None) && fields.has("content-length") {
            // The content was not read, so nobody is to wait for it.
            fields = without_length(&fields);
        }
        let (body, content) = match ask.content {
            Content::None => (RequestBody::None, None),
            Content::Whole(bytes) if bytes.is_empty() => (RequestBody::None, None),
            Content::Whole(bytes) => (RequestBody::Inline(bytes), None),
            Content::Pieces(pieces) => (RequestBody::Stream, Some(pieces)),
        };
        // What goes on a stream of its own cannot be sent again.
        let idempotent = content.is_none() && crate::http::method::is_idempotent(&ask.method);
        let request = HttpRequest {
            request_id: id,
            idempotent,
            method: ask.method,
            scheme: ask.scheme,
            authority: ask.authority,
            target: ask.target,
            fields,
            body,
        };
        Ok((request, content))
    }

    /// Tells a client who it is, on an answer that no cache gives to another one.
    fn give_cookie(
        &self,
        answer: &mut Answer,
        (pool, io): (PoolIndex, &HttpIo),
        (shown, authorized): (Option<bytes::Bytes>, bool),
    ) {
        let newest = io.token();
        if !self.shell.cookies || newest.is_none() || newest == shown {
            return;
        }
        let mut sessions = self.sessions.borrow_mut();
        let Some(known) = sessions.iter_mut().find(|known| known.pool == pool) else {
            return;
        };
        let given = known.cookie == newest;
        if let Some(token) = newest.filter(|_| !given)
            && cookie::may_stand_in(&answer.fields, authorized)
        {
            let name = self.shell.pools.cookie(pool);
            answer.add("set-cookie", &cookie::value_of(name, &token));
            known.cookie = Some(token);
        }
    }

    /// The client has opened a stream for a request.
    pub(super) fn begun(&self, stream: u64) {
        self.requests.set(self.requests.get().max(stream + 4));
    }

    /// The first stream that was not opened.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// A request was answered: one more may be taken back.
    pub(super) fn answered(&self) {
        self.taken_back.set(self.taken_back.get().saturating_sub(1));
    }

    /// A request was taken back. Fails where that happens all the time.
    pub(super) fn taken_back(&self, limit: u32) -> Result<(), Error> {
        self.taken_back.set(self.taken_back.get() + 1);
        if self.taken_back.get() > limit {
            let why = "too many requests were taken back";
            return Err(Error::connection(Code::ExcessiveLoad, why));
        }
        Ok(())
    }

    /// The connection has ended.
    pub(super) fn end(&self) {
        // What went over the connection is counted with its first session, and once.
        if let Some(connection) = &self.connection
            && !self.sessions.borrow().is_empty()
        {
            self.shell.gone.borrow_mut().add_connection(&connection.stats());
        }
        for PoolSession { io, .. } in self.sessions.take() {
            io.close();
            if let Some(session) = io.session() {
                self.shell.sessions.borrow_mut().remove(session.0);
                self.shell.with(|node, now| node.handle_disconnected(now, session));
            }
        }
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        self.end();
    }
}

fn without_length(fields: &Fields) -> Fields {
    let mut builder = FieldsBuilder::with_capacity(fields.as_bytes().len());
    builder.extend(fields, |name| name != "content-length").expect("there are fewer than before");
    builder.finish()
}

/// A request under way, up to the end of its answer's body. Whoever drops it before does not want
/// the rest.
pub(super) struct Going {
    shell: Rc<Shell>,
    io: Rc<HttpIo>,
    session: SessionId,
    id: u64,
    /// Sends the content of the request.
    sending: Option<JoinHandle<()>>,
    is_over: bool,
}

impl Going {
    /// All has come.
    pub(super) fn finish(mut self) {
        self.is_over = true;
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if let Some(sending) = &self.sending {
            sending.abort();
        }
        if !self.is_over {
            self.io.forget(self.id);
            let (session, id) = (self.session, self.id);
            self.shell.with(|node, _| node.handle_cancelled(session, id));
        }
    }
}
