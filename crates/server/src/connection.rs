//! Connections: how many, how long one may say nothing, and how they end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tower_service::Service;

/// The wait after a failure that has to do with the machine, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections there are, and how patient the server is with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The most at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// The longest that one may take for the head of a request, or be without one.
    pub head_time: Duration,
    /// The longest that one may take nothing of an answer that waits for it.
    pub write_time: Duration,
}

impl Default for ConnectionLimits {
    /// Returns a thousand connections and a minute for either.
    fn default() -> Self {
        let minute = Duration::from_mins(1);
        Self { max_connections: 1024, head_time: minute, write_time: minute }
    }
}

/// A connection that fails if what is written to it is not taken for too long.
type Patient = Pin<Box<TimeoutStream<TcpStream>>>;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Serves until `stop` is ready, then lets the requests that run come to their end.
///
/// # Errors
/// If the listener cannot say where it listens.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    listener.local_addr()?;
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accept = async {
            let place = place.await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut stop => break,
            accepted = accept => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let connection = graceful.watch(connection(stream, peer.ip(), router.clone(), limits));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Clients that go away, and such as do not speak HTTP.
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

fn connection(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    limits: ConnectionLimits,
) -> hyper::server::conn::http1::Connection<
    TokioIo<Patient>,
    impl hyper::service::Service<
        hyper::Request<hyper::body::Incoming>,
        Response = axum::response::Response,
        Error = Infallible,
        Future: Send,
    > + Send,
> {
    // Tokens are small and come one by one. A connection that cannot be told so works too.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: hyper::Request<_>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request)
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_time));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
}
