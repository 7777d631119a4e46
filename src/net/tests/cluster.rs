//! A router and servers on threads of this process.

use crate::config::{ServerConfig, bundled, load_router, load_server};
use crate::net::inspect::Inspectors;
use crate::net::{router, server};
use crate::source::{Sample, SharedSource};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Long enough for any machine. A test that passes does not wait for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A part that runs until it is dropped.
pub(super) struct Part {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Part {
    pub(super) fn run(run: impl FnOnce(oneshot::Receiver<()>) + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || run(stopped));
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("it ends once").expect("it does not panic");
        }
    }
}

/// A server that runs.
pub(super) struct RunningServer {
    pub(super) address: SocketAddr,
    pub(super) inspectors: Inspectors<server::Shell>,
    _part: Part,
}

/// A router that runs, and its servers.
pub(super) struct Cluster {
    pub(super) router: SocketAddr,
    pub(super) inspectors: Inspectors<router::Shell>,
    pub(super) servers: Vec<RunningServer>,
    _router: Part,
    _files: TempDir,
}

/// What the sample source serves.
pub(super) fn sample() -> SharedSource {
    Arc::new(Sample::new())
}

impl RunningServer {
    /// Starts a server that knows of no other.
    pub(super) fn start(
        files: &Path,
        name: &str,
        address: SocketAddr,
        workers: usize,
        source: SharedSource,
    ) -> Self {
        let text = format!(
            "name = \"{name}\"\nlisten = \"{address}\"\nworkers = {workers}\n[backplane]\n\
             ca = \"backplane-ca.pem\"\ncert = \"backplane-server.pem\"\n\
             key = \"backplane-server.key\"\n[[pool]]\nname = \"default\"\n\
             source = {{ program = true }}\n"
        );
        let path = files.join(format!("{name}.toml"));
        std::fs::write(&path, text).expect("a file in a directory of our own");
        Self::run(load_server(&path).expect("a good configuration"), source)
    }

    /// Starts a server from a configuration.
    pub(super) fn run(config: ServerConfig, source: SharedSource) -> Self {
        let service = server::ServerService::bind(config, source, String::new());
        let service = service.expect("a free port");
        let address = service.local_address().expect("a bound port");
        let inspectors = service.inspectors();
        let part = Part::run(move |stop| {
            service.run(async move { drop(stop.await) }).expect("workers start and end");
        });
        Self { address, inspectors, _part: part }
    }
}

impl Cluster {
    /// Starts a router and one server, of so many workers each, and waits until they are linked.
    pub(super) fn start(workers: usize, source: SharedSource) -> Self {
        let files = tempfile::tempdir().expect("a temporary directory");
        bundled::write_to(files.path()).expect("the bundled certificates");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = RunningServer::start(files.path(), "server-1", any, workers, source);
        let text = format!(
            "name = \"router-1\"\nlisten = \"{any}\"\nworkers = {workers}\n[tls]\n\
             cert = \"server.pem\"\nkey = \"server.key\"\n[backplane]\n\
             ca = \"backplane-ca.pem\"\ncert = \"backplane-router.pem\"\n\
             key = \"backplane-router.key\"\nseeds = [\"{}\"]\n",
            server.address
        );
        let path = files.path().join("router.toml");
        std::fs::write(&path, text).expect("a file in a directory of our own");
        let config = load_router(&path).expect("a good configuration");
        let service = router::RouterService::bind(config).expect("a free port");
        let address = service.local_address().expect("a bound port");
        let inspectors = service.inspectors();
        let part = Part::run(move |stop| {
            service.run(async move { drop(stop.await) }).expect("workers start and end");
        });
        let cluster = Self {
            router: address,
            inspectors,
            servers: vec![server],
            _router: part,
            _files: files,
        };
        block_on(cluster.wait_until_ready());
        cluster
    }

    /// Replaces the server by a new run of it, at the same address, with so many workers.
    pub(super) fn restart_server(&mut self, workers: usize, source: SharedSource) {
        let address = self.servers.remove(0).address;
        let files = self._files.path();
        let server = RunningServer::start(files, "server-1", address, workers, source);
        self.servers.push(server);
    }

    /// Waits until every worker of the router is linked to the server as it is now.
    async fn wait_until_ready(&self) {
        wait_until(async || {
            let look = |shell: &std::rc::Rc<router::Shell>| {
                shell.with(|node, _| node.ready_pools().iter().all(|(_, is_ready)| *is_ready))
            };
            self.inspectors.look(look).await.is_some_and(|all| all.into_iter().all(|ready| ready))
        })
        .await;
    }
}

/// Looks again and again until something is so.
pub(super) async fn wait_until(mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "it never came about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for something that another thread's event loop does.
pub(super) fn block_on<R>(future: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("an event loop").block_on(future)
}
